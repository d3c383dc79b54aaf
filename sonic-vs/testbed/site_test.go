package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const sites = `
name: sites
internet: 198.51.100.0/24
sites:
  s1: {address: 198.51.100.1}
  s2: {address: 198.51.100.2}
  s3: {address: 198.51.100.3}
  open: {address: 198.51.100.11}
  full: {address: 198.51.100.12, nat: full-cone}
  restricted: {address: 198.51.100.13, nat: restricted}
  symmetric: {address: 198.51.100.14, nat: symmetric}
  far: {address: 198.51.100.15, delay: 20ms, jitter: 5ms}
  bad: {address: 198.51.100.16, loss: 30}
  slow: {address: 198.51.100.17, nat: full-cone, rate: 10}
`

// raiseSites gives plain hosts, which take no time to raise.
func raiseSites(t *testing.T, instance string) (*Testbed, Options) {
	t.Helper()
	clean(t, instance)
	file := filepath.Join(t.TempDir(), "sites.yaml")
	if err := os.WriteFile(file, []byte(sites), 0o644); err != nil {
		t.Fatal(err)
	}
	o := Options{Topology: file, Instance: instance}
	tb, err := Up(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tb, o
}

// listen opens a UDP socket at a site.
func listen(t *testing.T, tb *Testbed, site string, port uint16) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := tb.InNetns(site, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: int(port)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// pass sends a word and says what of it arrived, and from where.
func pass(t *testing.T, from *net.UDPConn, to netip.AddrPort, at *net.UDPConn, word string) (netip.AddrPort, bool) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte(word), to); err != nil {
		t.Fatal(err)
	}
	at.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	for b := make([]byte, 100); ; {
		n, who, err := at.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return netip.AddrPort{}, false
		}
		if err != nil {
			t.Fatal(err)
		}
		if string(b[:n]) == word {
			return netip.AddrPortFrom(who.Addr().Unmap(), who.Port()), true
		}
	}
}

// TestNATs: how each kind of box maps a host's port for three that it sends to, and who may send back.
func TestNATs(t *testing.T) {
	tb, _ := raiseSites(t, "tbnat")
	for _, c := range []struct {
		site           string
		onePort        bool // the same for all
		anyone, others bool // may send to it: hosts that were not sent to, and other ports of those that were
	}{
		{"open", true, true, true},
		{"full", true, true, true},
		{"restricted", true, false, false},
		{"symmetric", false, false, false},
	} {
		t.Run(c.site, func(t *testing.T) {
			site, err := tb.Site(c.site)
			if err != nil {
				t.Fatal(err)
			}
			host := listen(t, tb, c.site, 4000)
			other := listen(t, tb, "s3", 6000)
			seen := map[string]netip.AddrPort{}
			for i, name := range []string{"s1", "s2"} {
				server, _ := tb.Site(name)
				conn := listen(t, tb, name, 5000)
				from, ok := pass(t, host, netip.AddrPortFrom(server.Public, 5000), conn, "out")
				if !ok || from.Addr() != site.Public {
					t.Fatalf("%s saw %v (%v), want it from %s", name, from, ok, site.Public)
				}
				seen[name] = from
				if _, ok := pass(t, conn, from, host, fmt.Sprint("back", i)); !ok {
					t.Errorf("the answer of %s does not come in", name)
				}
				odd := listen(t, tb, name, 5001)
				if _, ok := pass(t, odd, from, host, "odd"+name); ok != c.others {
					t.Errorf("from another port of %s: came in is %v", name, ok)
				}
			}
			if same := seen["s1"] == seen["s2"]; same != c.onePort {
				t.Errorf("seen as %v: one port for all is %v, want %v", seen, same, c.onePort)
			}
			if _, ok := pass(t, other, seen["s1"], host, "stranger"); ok != c.anyone {
				t.Errorf("from a stranger: came in is %v", ok)
			}
			// The stranger's packet must not have moved the mapping of what the host sends it afterwards.
			server, _ := tb.Site("s3")
			if from, ok := pass(t, host, netip.AddrPortFrom(server.Public, 6000), other, "late"); !ok || c.onePort && from != seen["s1"] {
				t.Errorf("the stranger saw %v (%v), others %v", from, ok, seen["s1"])
			}
		})
	}
}

// TestLines: delay, loss and rate are there and come back after the carrier was killed; nothing is left of it all.
func TestLines(t *testing.T) {
	tb, o := raiseSites(t, "tbline")
	rtt := func(site string) time.Duration {
		t.Helper()
		host, server := listen(t, tb, site, 4000), listen(t, tb, "s1", 5000)
		defer host.Close()
		defer server.Close()
		s1, _ := tb.Site("s1")
		start := time.Now()
		from, ok := pass(t, host, netip.AddrPortFrom(s1.Public, 5000), server, "ping")
		if !ok {
			t.Fatalf("nothing comes from %s", site)
		}
		if _, ok := pass(t, server, from, host, "pong"); !ok {
			t.Fatalf("nothing comes back to %s", site)
		}
		return time.Since(start)
	}
	for range 5 {
		if d := rtt("far"); d < 30*time.Millisecond {
			t.Errorf("round trip over 20±5 ms each way took %v", d)
		}
	}

	host, server := listen(t, tb, "bad", 4000), listen(t, tb, "s1", 5000)
	s1, _ := tb.Site("s1")
	for known := false; !known; { // the question for the MAC may get lost as well, and packets wait for its answer
		_, known = pass(t, host, netip.AddrPortFrom(s1.Public, 5000), server, "hello")
	}
	for i := range 400 {
		if _, err := host.WriteToUDPAddrPort([]byte{byte(i)}, netip.AddrPortFrom(s1.Public, 5000)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	got := 0
	server.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for b := make([]byte, 10); ; got++ {
		if _, _, err := server.ReadFromUDPAddrPort(b); err != nil {
			break
		}
	}
	if got < 200 || got > 350 {
		t.Errorf("%d of 400 packets came through a loss of 30 %%", got)
	}

	server.Close()

	// TCP, whose segments come half done and many at once, at 10 Mbit/s.
	var ln net.Listener
	if err := tb.InNetns("s1", func() (err error) { ln, err = net.Listen("tcp4", ":5000"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			conn.Write(make([]byte, 1_000_000))
			conn.Close()
		}
	}()
	start := time.Now()
	err := tb.InNetns("slow", func() error {
		conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(s1.Public, 5000).String(), 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		n, err := conn.(*net.TCPConn).WriteTo(counter{})
		if n != 1_000_000 {
			return fmt.Errorf("%d bytes came: %w", n, err)
		}
		return err
	})
	if took := time.Since(start); err != nil || took < 600*time.Millisecond {
		t.Errorf("1 MB at 10 Mbit/s: %v in %v", err, took)
	}

	pids, err := processesIn(netnsPath(tb.Instance, siteLine("far")))
	if err != nil || len(pids) != 1 {
		t.Fatalf("carriers of far: %v, %v", pids, err)
	}
	unix.Kill(pids[0], unix.SIGKILL)
	for limit := time.Now().Add(5 * time.Second); len(pids) > 0 && time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		pids, _ = processesIn(netnsPath(tb.Instance, siteLine("far")))
	}
	if _, err := Up(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	rtt("far")

	if err := Down(context.Background(), tb.Instance); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(netnsPath(tb.Instance, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	all, err := Instances()
	if err != nil || strings.Contains(strings.Join(all, " "), tb.Instance) {
		t.Errorf("instances after down: %v, %v", all, err)
	}
}

// counter takes bytes for nothing.
type counter struct{}

func (counter) Write(b []byte) (int, error) { return len(b), nil }
