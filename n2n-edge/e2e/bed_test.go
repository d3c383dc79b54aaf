// Package e2e runs n2n-edge as a process among ntop's edges and supernodes, each in a network namespace of its own.
//
// It reads out/ntop, which build/setup.sh has unpacked, makes namespaces and takes them away again, and is told by go test.
package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sonic-netservices/n2n-edge/edge"
)

var (
	ntop = "../../out/ntop"
	ours string // our program
)

func TestMain(m *testing.M) {
	if role := os.Getenv("E2E_ROLE"); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "n2n-edge-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ours = filepath.Join(dir, "n2n-edge")
	if out, err := exec.Command("go", "build", "-o", ours, "sonic-netservices/n2n-edge").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	if ntop, err = filepath.Abs(ntop); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// play is what this program does inside a namespace: serve ADDR BYTES answers each connection with so many bytes; fetch ADDR
// prints the checksum of what it gets.
func play(role string, args []string) error {
	if role == "serve" {
		ln, err := net.Listen("tcp", args[0])
		if err != nil {
			return err
		}
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, content(args[1])) // the other end finds out
			}()
		}
	}
	c, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	h := sha256.New()
	if _, err := io.Copy(h, c); err != nil {
		return err
	}
	fmt.Println(hex.EncodeToString(h.Sum(nil)))
	return nil
}

// content is so many bytes, always the same.
func content(n string) io.Reader {
	var size int64
	fmt.Sscan(n, &size)
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
}

// bed is a bridge with hosts at 192.0.2.1, .2, ...
type bed struct {
	t     *testing.T
	name  string
	dir   string
	hosts map[string]string // by name: namespace
}

var beds int

func raise(t *testing.T, hosts ...string) *bed {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	if _, err := os.Stat(filepath.Join(ntop, "edge")); err != nil {
		t.Fatalf("ntop's programs are not there, run build/setup.sh: %v", err)
	}
	beds++ // names are free again only some time after a namespace is gone
	b := &bed{t: t, name: fmt.Sprintf("n2e%d-%d", os.Getpid()%100000, beds), dir: t.TempDir(), hosts: map[string]string{}}
	b.space("br")
	b.in("br", "ip", "link", "add", "br0", "type", "bridge")
	b.in("br", "ip", "link", "set", "br0", "up")
	for i, h := range hosts {
		b.space(h)
		b.in("br", "ip", "link", "add", "p"+h, "type", "veth", "peer", "name", "eth0", "netns", b.hosts[h])
		b.in("br", "ip", "link", "set", "p"+h, "master", "br0", "up")
		b.in(h, "ip", "addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "eth0")
		b.in(h, "ip", "link", "set", "eth0", "up")
	}
	return b
}

func (b *bed) space(host string) {
	b.t.Helper()
	b.hosts[host] = b.name + host
	if out, err := exec.Command("ip", "netns", "add", b.hosts[host]).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	b.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", b.hosts[host]).Run() })
	b.in(host, "ip", "link", "set", "lo", "up")
}

func (b *bed) command(host, program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", b.hosts[host], program}, args...)...)
}

func (b *bed) in(host, program string, args ...string) string {
	b.t.Helper()
	out, err := b.command(host, program, args...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %s %s: %v\n%s", host, program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is one that runs until the test ends it.
type process struct {
	*exec.Cmd
	log *bytes.Buffer
}

func (b *bed) start(cmd *exec.Cmd) *process {
	b.t.Helper()
	p := &process{cmd, &bytes.Buffer{}}
	p.Stdout, p.Stderr = p.log, p.log
	if err := p.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if b.t.Failed() {
			b.t.Logf("%s:\n%s", strings.Join(p.Args, " "), p.log)
		}
	})
	return p
}

// end ends a process that may have ended.
func (p *process) end(s os.Signal) {
	if p.ProcessState == nil {
		_ = p.Process.Signal(s)
		_ = p.Wait()
	}
}

// mac of a host's edge, and its address in the overlay.
func mac(n int) string     { return fmt.Sprintf("02:00:00:00:00:%02x", n) }
func overlay(n int) string { return fmt.Sprintf("10.99.0.%d", n) }

func (b *bed) ntopSupernode(host string, args ...string) *process {
	return b.start(b.command(host, filepath.Join(ntop, "supernode"), append([]string{"-f", "-p", "7654", "-m", "02:00:00:00:01:01"}, args...)...))
}

func (b *bed) ntopEdge(host string, n int, args ...string) *process {
	return b.start(b.command(host, filepath.Join(ntop, "edge"), append([]string{"-f", "-c", "net", "-l", "192.0.2.1:7654", "-a",
		"static:" + overlay(n) + "/24", "-m", mac(n), "-d", "tap0", "-I", host}, args...)...))
}

// edge starts ours, as edge n.
func (b *bed) edge(host string, n int, args ...string) *process {
	return b.start(b.command(host, ours, append([]string{"-community", "net", "-supernodes", "192.0.2.1:7654", "-address", overlay(n) + "/24",
		"-mac", mac(n), "-device", "tap0", "-description", host, "-redis-root", "", "-state", filepath.Join(b.dir, host), "-status", b.socket(host)}, args...)...))
}

func (b *bed) socket(host string) string { return filepath.Join(b.dir, host+".sock") }

// status asks one of ours.
func (b *bed) status(host string) (s edge.Status, err error) {
	out, err := exec.Command(ours, "status", "-json", "-status", b.socket(host)).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// direct waits until one of ours knows a straight way to a peer.
func (b *bed) direct(host, peer string) {
	b.t.Helper()
	b.eventually(20*time.Second, fmt.Sprintf("%s straight to %s", host, peer), func() error {
		s, err := b.status(host)
		for _, p := range s.Peering.Peers {
			if p.MAC == peer && p.Path == "direct" {
				return nil
			}
		}
		if err == nil {
			err = fmt.Errorf("%+v", s.Peering)
		}
		return err
	})
}

func (b *bed) eventually(limit time.Duration, what string, f func() error) {
	b.t.Helper()
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// reach waits until an address answers.
func (b *bed) reach(limit time.Duration, from, to string) {
	b.t.Helper()
	b.eventually(limit, from+" reaches "+to, func() error {
		out, err := b.command(from, "ping", "-c", "1", "-W", "1", to).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}

// noLoss pings, and wants every answer.
func (b *bed) noLoss(from, to string) {
	b.t.Helper()
	if out := b.in(from, "ping", "-c", "20", "-i", "0.05", "-W", "5", to); !strings.Contains(out, " 0% packet loss") {
		b.t.Errorf("%s to %s:\n%s", from, to, out)
	}
}

// transfer fetches over TCP, and compares the checksums.
func (b *bed) transfer(server, client, addr string, bytes string) {
	b.t.Helper()
	role := func(host, what string, args ...string) *exec.Cmd {
		cmd := b.command(host, os.Args[0], args...)
		cmd.Env = append(os.Environ(), "E2E_ROLE="+what)
		return cmd
	}
	p := b.start(role(server, "serve", addr, bytes))
	defer p.end(syscall.SIGKILL)
	h := sha256.New()
	if _, err := io.Copy(h, content(bytes)); err != nil {
		b.t.Fatal(err)
	}
	want := hex.EncodeToString(h.Sum(nil))
	b.eventually(60*time.Second, "transfer from "+addr, func() error {
		out, err := role(client, "fetch", addr).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			return fmt.Errorf("checksum %s, want %s: %v", got, want, err)
		}
		return nil
	})
}
