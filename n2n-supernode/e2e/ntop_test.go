package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var transforms = []struct{ name, flag string }{{"null", "-A1"}, {"aes", "-A3"}, {"chacha20", "-A4"}, {"speck", "-A5"}}

// Two edges of ntop reach each other by our supernode, whatever they encrypt with: straight, once they have met, and through
// it, when they are told to.
func TestEdges(t *testing.T) {
	list := "office\nsecret encrypted\n" + users
	for _, tr := range transforms {
		for _, header := range []string{"clear", "encrypted", "users"} {
			if header == "users" && tr.flag != "-A4" && tr.flag != "-A5" {
				continue // ntop has these two only where there are users
			}
			for _, way := range []string{"straight", "relayed"} {
				if way == "relayed" && tr.name != "speck" {
					continue // payloads are not looked at: one will do
				}
				t.Run(tr.name+"/"+header+"/"+way, func(t *testing.T) {
					b := raise(t, "sn", "alice", "bob")
					b.supernode("sn", "-dir", "none", "-communities", b.file("communities", list))
					args := []string{"-l", "192.0.2.1:7654", tr.flag}
					if tr.name != "null" {
						args = append(args, "-k", "swordfish")
					}
					if way == "relayed" {
						args = append(args, "-S1")
					}
					more := map[string][]string{}
					switch header {
					case "clear":
						args = append(args, "-c", "office")
					case "encrypted":
						args = append(args, "-c", "secret", "-H")
					case "users":
						args = append(args, "-c", "login", "-H", "-P", federationKey)
						more = map[string][]string{"alice": {"-J", "wonderland"}, "bob": {"-J", "builder"}}
					}
					b.edge("alice", 2, append(args, more["alice"]...)...)
					b.edge("bob", 3, append(args, more["bob"]...)...)
					b.both()
					relayed := b.metric("sn", `n2n_supernode_sent_packets_total{to="edge"}`)
					b.ping("alice", "10.99.0.3")
					after := b.metric("sn", `n2n_supernode_sent_packets_total{to="edge"}`)
					if (relayed == after) != (way == "straight") {
						t.Errorf("%s: the supernode had passed on %s, then %s frames", way, relayed, after)
					}
				})
			}
		}
	}
}

// A wrong password does not get in.
func TestWrongPassword(t *testing.T) {
	b := raise(t, "sn", "alice", "bob")
	b.supernode("sn", "-dir", "none", "-communities", b.file("communities", users))
	args := []string{"-l", "192.0.2.1:7654", "-A5", "-k", "swordfish", "-c", "login", "-H", "-P", federationKey}
	b.edge("alice", 2, append(args, "-J", "wonderland")...)
	b.edge("bob", 3, append(args, "-J", "wonderland")...)
	b.await("alice is in, bob is refused", 20*time.Second, func() error {
		edges, refused := b.metric("sn", "n2n_supernode_edges"), b.metric("sn", `n2n_supernode_refused_total{reason="login"}`)
		if edges != "1" || refused == "0" {
			return fmt.Errorf("%s edges, %s refused", edges, refused)
		}
		return nil
	})
}

// Edges whose network lets no UDP through come by TCP.
func TestTCP(t *testing.T) {
	b := raise(t, "sn", "alice", "bob")
	b.supernode("sn", "-dir", "none")
	b.edge("alice", 2, "-l", "192.0.2.1:7654", "-c", "office", "-A3", "-k", "swordfish", "-S2")
	b.edge("bob", 3, "-l", "192.0.2.1:7654", "-c", "office", "-A3", "-k", "swordfish")
	b.both()
}

// Edges that ask for an address get different ones of one subnet, and reach each other.
func TestAutoIP(t *testing.T) {
	b := raise(t, "sn", "alice", "bob")
	b.supernode("sn", "-dir", "none")
	addr := regexp.MustCompile(`inet (10\.[0-9.]+)/24`)
	got := map[string]string{}
	for _, host := range []string{"alice", "bob"} {
		b.start(host, ntop+"/edge", "-f", "-l", "192.0.2.1:7654", "-c", "office", "-A1", "-d", "n2n0", "-I", host)
		b.await(host+" has an address", 20*time.Second, func() error {
			out, err := b.Command(host, "ip", "-4", "addr", "show", "dev", "n2n0").Output()
			if m := addr.FindSubmatch(out); m != nil {
				got[host] = string(m[1])
				return nil
			}
			return fmt.Errorf("%v: %s", err, out)
		})
	}
	if got["alice"] == got["bob"] {
		t.Fatalf("both are %s", got["bob"])
	}
	b.ping("alice", got["bob"])
	b.ping("bob", got["alice"])
}

// A supernode that is killed, and started again, knows its edges at once. One that lost its memory has them back within one
// interval of registering, and nobody waits longer.
func TestKill(t *testing.T) {
	b := raise(t, "sn", "alice", "bob")
	dir := t.TempDir()
	sn := b.supernode("sn", "-dir", dir)
	for i, host := range []string{"alice", "bob"} {
		b.edge(host, i+2, "-l", "192.0.2.1:7654", "-c", "office", "-A1", "-S1")
	}
	b.both()
	b.await("the state is kept", 10*time.Second, func() error {
		text, err := os.ReadFile(dir + "/state.json")
		if err == nil && strings.Count(string(text), `"public"`) != 2 {
			err = fmt.Errorf("%s", text)
		}
		return err
	})
	if info, err := os.Stat(dir + "/state.json"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state.json: %v, %v", info.Mode(), err)
	}
	sn.End(syscall.SIGKILL)
	sn = b.supernode("sn", "-dir", dir)
	b.await("frames pass", 2*time.Second, func() error { return b.Command("alice", "ping", "-c1", "-W1", "10.99.0.3").Run() })

	sn.End(syscall.SIGKILL)
	if err := os.Remove(dir + "/state.json"); err != nil {
		t.Fatal(err)
	}
	b.supernode("sn", "-dir", dir)
	b.await("the edges are back", 35*time.Second, func() error { return b.Command("alice", "ping", "-c1", "-W1", "10.99.0.3").Run() })
}

// An edge at our supernode and one at ntop's reach each other, whichever of the two has been told of the other.
func TestFederation(t *testing.T) {
	list := "secret encrypted\n" + users
	for _, c := range []struct {
		name       string
		ours, ntop []string
		edge       []string
		more       map[string][]string
	}{
		{"they know us", []string{"-federation", "Federation"}, []string{"-l", "192.0.2.1:7654"}, []string{"-c", "office", "-A1"}, nil},
		{"we know them", []string{"-peers", "192.0.2.2:7654"}, nil, []string{"-c", "office", "-A1"}, nil},
		{"their -F", []string{"-peers", "192.0.2.2:7654", "-federation", "backbone", "-federation-as-ntop"}, []string{"-F", "backbone"},
			[]string{"-c", "office", "-A1"}, nil},
		{"users", []string{"-federation", "Federation"}, []string{"-l", "192.0.2.1:7654"},
			[]string{"-c", "login", "-A5", "-k", "swordfish", "-H", "-P", federationKey},
			map[string][]string{"alice": {"-J", "wonderland"}, "bob": {"-J", "builder"}}},
	} {
		for _, way := range []string{"straight", "relayed"} {
			t.Run(c.name+"/"+way, func(t *testing.T) {
				b := raise(t, "sn", "s2", "alice", "bob")
				ours := append([]string{"-dir", "none"}, c.ours...)
				theirs := append([]string{"-f", "-p", "7654", "-m", "02:00:00:00:00:02"}, c.ntop...)
				if c.name == "users" {
					ours = append(ours, "-communities", b.file("communities", list))
					theirs = append(theirs, "-c", b.file("communities", users))
				}
				b.supernode("sn", ours...)
				b.start("s2", ntop+"/supernode", theirs...)
				b.await("the supernodes know each other", 30*time.Second, func() error {
					if n := b.metric("sn", `n2n_supernode_supernodes{state="alive"}`); n != "1" {
						return fmt.Errorf("%s alive", n)
					}
					return nil
				})
				args := c.edge
				if way == "relayed" {
					args = append([]string{"-S1"}, args...)
				}
				b.edge("alice", 2, append(append([]string{"-l", "192.0.2.1:7654"}, args...), c.more["alice"]...)...)
				b.edge("bob", 3, append(append([]string{"-l", "192.0.2.2:7654"}, args...), c.more["bob"]...)...)
				b.both()
			})
		}
	}
}
