package address

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// askPort is ask at another port than 80.
func (f fabric) askPort(ns, to string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), timeout)
	defer cancel()
	c, err := Dial(ctx, f.ns(ns), "tcp4", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(timeout))
	b := make([]byte, 64)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// echo answers datagrams with its name.
func (f fabric) echo(ns, name string) {
	c := f.udp(ns, "udp4", ":90")
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort([]byte(name), from)
		}
	}()
}

// TestPublishedPorts: what reaches the switch's own address at a port reaches the replica, from outside the segment and
// from inside, and from the switch itself; after a move only at the other switch.
func TestPublishedPorts(t *testing.T) {
	f := up(t)
	f.ip("-n @c route add default via 10.20.0.1")
	for _, h := range []string{"h1", "h2"} {
		f.listen(h, h)
		f.echo(h, h)
	}
	ports := []Port{{"tcp", 8080, 80}, {"udp", 9090, 90}}
	s1, s2 := f.segment(1), f.segment(2)
	s1.Holders[0].Ports = ports
	f.set(1, s1)
	before := f.state(1)
	f.set(1, s1)
	if after := f.state(1); after != before {
		t.Errorf("a second Set changed the switch:\n%s\nwas:\n%s", after, before)
	}
	for _, from := range []string{"s3", "c", "s1", "h1"} {
		if a, err := f.askPort(from, "10.1.0.1:8080", 5*time.Second); err != nil || a != "h1 " {
			t.Errorf("%s at the published port: %q, %v", from, a, err)
		}
		if a, err := f.askPort(from, "10.1.0.2:8080", time.Second); err == nil {
			t.Errorf("%s at the switch that does not serve: %q", from, a)
		}
	}
	client := f.udp("s3", "udp4", "10.1.0.3:0")
	ask := func(to string) string {
		client.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		client.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		b := make([]byte, 64)
		n, _, err := client.ReadFrom(b)
		if err != nil {
			return ""
		}
		return string(b[:n])
	}
	// One flow that never pauses: it has begun at both switches before the move.
	eventually(t, "datagrams at the published port", func() bool { return ask("10.1.0.1:9090") == "h1" })
	if a := ask("10.1.0.2:9090"); a != "" {
		t.Errorf("datagram at the switch that does not serve: %q", a)
	}
	open, err := Dial(t.Context(), f.ns("s3"), "tcp4", "10.1.0.1:8080")
	must(t, err)
	defer open.Close()

	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddr))
	s1.Holders, s2.Holders[0].Ports = nil, ports
	f.set(1, s1)
	f.set(2, s2)
	if a, err := f.askPort("s3", "10.1.0.2:8080", 5*time.Second); err != nil || a != "h2 " {
		t.Errorf("published port after the move: %q, %v", a, err)
	}
	if a, err := f.askPort("s3", "10.1.0.1:8080", time.Second); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("old switch: %q, %v; want connection refused", a, err)
	}
	eventually(t, "datagrams at the new switch", func() bool { return ask("10.1.0.2:9090") == "h2" })
	if a := ask("10.1.0.1:9090"); a != "" {
		t.Errorf("datagram at the old switch: %q", a)
	}
	// Its connection is refused as well, so that the client knows.
	open.SetDeadline(time.Now().Add(5 * time.Second))
	open.Write([]byte("?"))
	b := make([]byte, 64)
	for err = nil; err == nil; _, err = open.Read(b) {
	}
	if !strings.Contains(err.Error(), "reset") {
		t.Errorf("connection by the old switch: %v, want reset", err)
	}
	if rules := f.ip("netns exec @s1 nft list ruleset ip"); strings.Contains(rules, tableName) {
		t.Errorf("rules without a published port:\n%s", rules)
	}
}

func TestPortsRefused(t *testing.T) {
	for _, bad := range []struct {
		ports []Port
		want  string
	}{
		{[]Port{{"sctp", 1, 1}}, "want tcp or udp"},
		{[]Port{{"tcp", 0, 1}}, "want 1 to 65535"},
		{[]Port{{"tcp", 80, 1}, {"tcp", 80, 2}}, "both publish tcp port 80"},
	} {
		s := fabric{}.segment(1)
		s.Holders[0].Ports = bad.ports
		if err := s.validate(); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v, want %q", bad.ports, err, bad.want)
		}
	}
	s := fabric{}.segment(1)
	s.Holders[0].Ports = []Port{{"tcp", 80, 1}, {"udp", 80, 1}}
	if err := s.validate(); err != nil {
		t.Error(err)
	}
}
