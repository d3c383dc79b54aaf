package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Keys of the users, as n2n-keygen prints them for their names and passwords, and of ntop's default federation.
const (
	alice      = "* alice 07K7kHCix+RHQo609cIycRQB29ADj-EvKHReDiMGrMO\n"
	bob        = "* bob ADTwbGhxzmHKz48puNtJBcEEo0Z-u6NDAtbRkytwWKm\n"
	federation = "i0IuBFO0RC22m2Ya32uUUFUA2yfQSwsxVZ3-S5F2k7O"
)

// Our edge and ntop's, at ntop's supernode: a straight way, no ping lost, TCP unharmed both ways.
func TestWithNtop(t *testing.T) {
	for _, c := range []struct{ name, ntop, ours, communities string }{
		{"null", "-A1", "-transform null", ""},
		{"twofish", "-A2 -k secret", "-transform twofish -key secret", ""},
		{"aes", "-A3 -k secret", "-transform aes -key secret", ""},
		{"aes of 256 bits", "-A3 -k a-passphrase-of-more-than-32-bytes-in-all", "-transform aes -key a-passphrase-of-more-than-32-bytes-in-all", ""},
		{"chacha20", "-A4 -k secret", "-transform chacha20 -key secret", ""},
		{"speck", "-A5 -k secret", "-transform speck -key secret", ""},
		{"compressed", "-A3 -k secret -z1", "-transform aes -key secret", ""},
		{"encrypted header", "-A3 -k secret -H", "-transform aes -key secret -header-encryption", "net\n"},
		{"users", "-A5 -k secret -J pw2 -P " + federation, "-transform speck -key secret -user alice -password pw1", "net\n" + alice + bob},
		{"one by one", "-A3 -k secret", "-transform aes -key secret -no-offload", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := raise(t, "sn", "a", "bob")
			var args []string
			if c.communities != "" {
				file := filepath.Join(b.dir, "communities")
				if err := os.WriteFile(file, []byte(c.communities), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(b.dir, 0o755); err != nil { // the supernode gives up being root
					t.Fatal(err)
				}
				args = []string{"-c", file}
			}
			b.ntopSupernode("sn", args...)
			b.ntopEdge("bob", 3, strings.Fields(c.ntop)...)
			b.edge("a", 2, strings.Fields(c.ours)...)
			b.reach(20*time.Second, "a", overlay(3))
			b.direct("a", mac(3))
			b.noLoss("a", overlay(3))
			b.noLoss("bob", overlay(2))
			b.transfer("bob", "a", overlay(3)+":9000", "4000000")
			b.transfer("a", "bob", overlay(2)+":9000", "4000000")
		})
	}
}

// Two of ours: the fast path. Where one end does not join, its kernel verifies every checksum that the other end has made by
// cutting; where both do, that of what was joined.
func TestOurs(t *testing.T) {
	for _, c := range []struct{ args, b string }{{"-transform null", ""}, {"-transform null", " -no-offload"}, {"-transform aes -key secret", ""},
		{"-transform chacha20 -key secret -header-encryption", ""}, {"-transform speck -key secret -no-offload", ""},
		{"-transform speck -key secret -header-encryption -workers 2", ""}, {"-transform aes -key secret -relay-only", ""}} {
		args := c.args
		t.Run(args+c.b, func(t *testing.T) {
			b := raise(t, "sn", "a", "b")
			file := filepath.Join(b.dir, "communities")
			if err := os.WriteFile(file, []byte("net\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(b.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			b.ntopSupernode("sn", "-c", file)
			b.edge("a", 2, strings.Fields(args)...)
			b.edge("b", 3, strings.Fields(args+c.b)...)
			b.reach(20*time.Second, "a", overlay(3))
			size := "100000000"
			if strings.Contains(args, "relay-only") {
				size = "4000000"
			} else {
				b.direct("a", mac(3))
				b.direct("b", mac(2))
			}
			b.noLoss("a", overlay(3))
			b.transfer("b", "a", overlay(3)+":9000", size)
			for n, host := range []string{"a", "b"} {
				b.In(host, "ip", "addr", "add", fmt.Sprintf("fd99::%d/64", n+2), "dev", "tap0", "nodad")
			}
			b.reach(20*time.Second, "a", "fd99::3")
			b.transfer("b", "a", "[fd99::3]:9001", size)
			for _, host := range []string{"a", "b"} {
				if bad := checksumErrors(b.In(host, "cat", "/proc/net/snmp")); bad != "0" {
					t.Errorf("%s: %s TCP segments with a wrong checksum", host, bad)
				}
				s, err := b.status(host)
				if err != nil {
					t.Fatal(err)
				}
				for reason, n := range s.Drops {
					if n > 0 && reason != "pace" && reason != "no_way" && !strings.HasPrefix(reason, "control_") {
						t.Errorf("%s: %d drops, %s", host, n, reason)
					}
				}
			}
		})
	}
}

// checksumErrors finds Tcp InCsumErrors.
func checksumErrors(snmp string) string {
	var names []string
	for _, line := range strings.Split(snmp, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if name == "InCsumErrors" {
				return f[i]
			}
		}
	}
	return "unknown"
}

// A crash locks nobody out: the edge comes back under its MAC and address at once, while the supernode still remembers it.
func TestCrash(t *testing.T) {
	b := raise(t, "sn", "a", "b")
	b.ntopSupernode("sn")
	b.edge("b", 3, "-transform", "null")
	a := b.edge("a", 2, "-transform", "null")
	b.reach(20*time.Second, "a", overlay(3))
	a.End(syscall.SIGKILL)
	b.edge("a", 2, "-transform", "null")
	b.reach(10*time.Second, "a", overlay(3))
}

// The host's address changes, and later its supernode is gone for another one: nobody restarts the edge.
func TestUnderlayChanges(t *testing.T) {
	b := raise(t, "sn", "a", "b", "sn2")
	first := b.ntopSupernode("sn")
	b.ntopSupernode("sn2", "-l", "192.0.2.1:7654", "-m", "02:00:00:00:01:02")
	fast := []string{"-transform", "null", "-interval", "2s", "-supernodes", "192.0.2.1:7654,192.0.2.4:7654"}
	b.edge("a", 2, fast...)
	b.edge("b", 3, fast...)
	b.reach(20*time.Second, "a", overlay(3))
	b.direct("a", mac(3))
	b.In("a", "ip", "addr", "del", "192.0.2.2/24", "dev", "eth0")
	b.In("a", "ip", "addr", "add", "192.0.2.22/24", "dev", "eth0")
	b.eventually(15*time.Second, "a is seen at its new address", func() error {
		s, err := b.status("a")
		if err == nil && s.Peering.Public.Addr().String() != "192.0.2.22" {
			err = fmt.Errorf("%+v", s.Peering)
		}
		return err
	})
	b.reach(15*time.Second, "a", overlay(3))
	b.direct("b", mac(2))
	first.End(syscall.SIGKILL)
	b.eventually(30*time.Second, "both are at the other supernode", func() error {
		for _, host := range []string{"a", "b"} {
			if s, err := b.status(host); err != nil || !s.Peering.Registered || s.Peering.Supernode.String() != "192.0.2.4:7654" {
				return fmt.Errorf("%s: %v %+v", host, err, s.Peering)
			}
		}
		return nil
	})
	b.reach(15*time.Second, "b", overlay(2))
}

// A route of the host leads to the supernode through the overlay. The edge's packets do not run in circles, it says why it is not
// registered, and goes on when the route is gone.
func TestRouteThroughOverlay(t *testing.T) {
	b := raise(t, "sn", "a", "b")
	b.ntopSupernode("sn")
	b.edge("a", 2, "-transform", "null", "-interval", "2s")
	b.edge("b", 3, "-transform", "null")
	b.reach(20*time.Second, "a", overlay(3))
	b.In("a", "ip", "route", "add", "192.0.2.1/32", "via", overlay(3), "dev", "tap0")
	b.eventually(30*time.Second, "a says why it is not registered", func() error {
		s, err := b.status("a")
		if err == nil && (s.Peering.Registered || !strings.Contains(s.Peering.Refused, "overlay")) {
			err = fmt.Errorf("%+v", s.Peering)
		}
		return err
	})
	s, err := b.status("a")
	if err != nil {
		t.Fatal(err)
	}
	if n, read := s.Drops["loop"], s.Packets["tap_read"]; n == 0 || read > 1000 {
		t.Errorf("%d of its own packets were dropped, of %d frames in all", n, read)
	}
	b.In("a", "ip", "route", "del", "192.0.2.1/32")
	b.eventually(20*time.Second, "a is registered again", func() error {
		s, err := b.status("a")
		if err == nil && !s.Peering.Registered {
			err = fmt.Errorf("%+v", s.Peering)
		}
		return err
	})
	b.noLoss("a", overlay(3))
}

// The supernode chooses the address.
func TestAutoAddress(t *testing.T) {
	b := raise(t, "sn", "a", "b")
	b.ntopSupernode("sn")
	b.edge("a", 2, "-transform", "null", "-address", "auto")
	b.edge("b", 3, "-transform", "null", "-address", "auto")
	var addr string
	b.eventually(20*time.Second, "b has an address", func() error {
		s, err := b.status("b")
		if err == nil && (!s.Peering.Registered || !s.Peering.Address.IsValid()) {
			err = fmt.Errorf("%+v", s.Peering)
		}
		addr = s.Peering.Address.Addr().String()
		return err
	})
	b.reach(20*time.Second, "a", addr)
}

// Two of ours find each other by IPv6 where IPv4 is shut, although their supernode knows IPv4 only.
func TestIPv6Underlay(t *testing.T) {
	b := raise(t, "sn", "a", "b")
	for n, host := range []string{"a", "b"} {
		b.In(host, "ip", "addr", "add", fmt.Sprintf("2001:db8::%d/64", n+2), "dev", "eth0", "nodad")
	}
	b.In("a", "iptables", "-A", "INPUT", "-s", "192.0.2.3", "-j", "DROP")
	b.ntopSupernode("sn")
	b.edge("a", 2, "-transform", "null")
	b.edge("b", 3, "-transform", "null")
	b.reach(20*time.Second, "a", overlay(3))
	b.direct("a", mac(3))
	s, err := b.status("a")
	if err != nil {
		t.Fatal(err)
	}
	if p := s.Peering.Peers[0]; !p.Addr.Addr().Is6() || !p.Ours {
		t.Errorf("%+v: want an address of IPv6", p)
	}
	b.noLoss("a", overlay(3))
}
