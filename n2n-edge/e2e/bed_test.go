// Package e2e runs n2n-edge as a process among ntop's edges and supernodes, each in a network namespace of its own.
//
// It reads out/ntop, which build/setup.sh has unpacked, makes namespaces and takes them away again, and is told by go test.
package e2e

import (
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

	"sonic-netservices/internal/n2n/bed"
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

// stage is a bed with the programs to run on it, and a folder for what they keep.
type stage struct {
	*bed.Bed
	dir string
}

func raise(t *testing.T, hosts ...string) *stage {
	t.Helper()
	if _, err := os.Stat(filepath.Join(ntop, "edge")); err != nil {
		t.Fatalf("ntop's programs are not there, run build/setup.sh: %v", err)
	}
	return &stage{bed.Raise(t, hosts...), t.TempDir()}
}

// mac of a host's edge, and its address in the overlay.
func mac(n int) string     { return fmt.Sprintf("02:00:00:00:00:%02x", n) }
func overlay(n int) string { return fmt.Sprintf("10.99.0.%d", n) }

func (b *stage) ntopSupernode(host string, args ...string) *bed.Process {
	return b.Start(b.Command(host, filepath.Join(ntop, "supernode"), append([]string{"-f", "-p", "7654", "-m", "02:00:00:00:01:01"}, args...)...))
}

func (b *stage) ntopEdge(host string, n int, args ...string) *bed.Process {
	return b.Start(b.Command(host, filepath.Join(ntop, "edge"), append([]string{"-f", "-c", "net", "-l", "192.0.2.1:7654", "-a",
		"static:" + overlay(n) + "/24", "-m", mac(n), "-d", "tap0", "-I", host}, args...)...))
}

// edge starts ours, as edge n.
func (b *stage) edge(host string, n int, args ...string) *bed.Process {
	return b.Start(b.Command(host, ours, append([]string{"-community", "net", "-supernodes", "192.0.2.1:7654", "-address", overlay(n) + "/24",
		"-mac", mac(n), "-device", "tap0", "-description", host, "-redis-root", "", "-state", filepath.Join(b.dir, host), "-status", b.socket(host)}, args...)...))
}

func (b *stage) socket(host string) string { return filepath.Join(b.dir, host+".sock") }

// status asks one of ours.
func (b *stage) status(host string) (s edge.Status, err error) {
	out, err := exec.Command(ours, "status", "-json", "-status", b.socket(host)).Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// direct waits until one of ours knows a straight way to a peer.
func (b *stage) direct(host, peer string) {
	b.T.Helper()
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

func (b *stage) eventually(limit time.Duration, what string, f func() error) {
	b.T.Helper()
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			b.T.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// reach waits until an address answers.
func (b *stage) reach(limit time.Duration, from, to string) {
	b.T.Helper()
	b.eventually(limit, from+" reaches "+to, func() error {
		out, err := b.Command(from, "ping", "-c", "1", "-W", "1", to).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %s", err, out)
		}
		return nil
	})
}

// noLoss pings, and wants every answer.
func (b *stage) noLoss(from, to string) {
	b.T.Helper()
	if out := b.In(from, "ping", "-c", "20", "-i", "0.05", "-W", "5", to); !strings.Contains(out, " 0% packet loss") {
		b.T.Errorf("%s to %s:\n%s", from, to, out)
	}
}

// transfer fetches over TCP, and compares the checksums.
func (b *stage) transfer(server, client, addr string, bytes string) {
	b.T.Helper()
	role := func(host, what string, args ...string) *exec.Cmd {
		cmd := b.Command(host, os.Args[0], args...)
		cmd.Env = append(os.Environ(), "E2E_ROLE="+what)
		return cmd
	}
	p := b.Start(role(server, "serve", addr, bytes))
	defer p.End(syscall.SIGKILL)
	h := sha256.New()
	if _, err := io.Copy(h, content(bytes)); err != nil {
		b.T.Fatal(err)
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
