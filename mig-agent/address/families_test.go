package address

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The replica of these tests has three addresses in two families.
const (
	service6 = "fd20::10"
	second   = "10.20.0.12"
)

var serviceAddrs = []netip.Addr{netip.MustParseAddr(service), netip.MustParseAddr(service6), netip.MustParseAddr(second)}

// both is what switch i shall have with IPv4 and IPv6.
func (f fabric) both(i int) Segment {
	s := f.segment(i)
	s.MTU, s.Gateways = 1280, append(s.Gateways, netip.MustParsePrefix("fd20::1/64"))
	for j := range s.Holders {
		s.Holders[j].Addresses = append(s.Holders[j].Addresses, netip.MustParsePrefix(service6+"/64"), netip.MustParsePrefix(second+"/24"))
	}
	return s
}

// upBoth is up with all three addresses; the client has both families too.
func upBoth(t *testing.T) fabric {
	f := newFabric(t)
	f.ip("netns exec @c sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0")
	f.ip("-n @c address add fd20::100/64 dev eth0 nodad")
	must(t, Yield(f.ns("h2")))
	for i := 1; i <= 3; i++ {
		f.set(i, f.both(i))
	}
	return f
}

// TestMoveTogether moves all addresses at once while datagrams stream to each of them: all arrive once, and those that
// were held in their order.
func TestMoveTogether(t *testing.T) {
	f := upBoth(t)
	f.listen("h2", "h2")
	at1, at2, client := f.udp("h1", "udp", "[::]:90"), f.udp("h2", "udp", "[::]:90"), f.udp("c", "udp", "[::]:91")
	var got1, got2 numbers
	go got1.collect(at1)
	go got2.collect(at2)
	sent, stop := make(chan uint64), make(chan struct{})
	go func() {
		for n := uint64(0); ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			case <-time.After(time.Millisecond):
				to := netip.AddrPortFrom(serviceAddrs[n%3], 90)
				client.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, n), to)
			}
		}
	}()
	eventually(t, "stream at the first holder", func() bool { return len(got1.list()) > 30 })

	held, err := Hold(f.ns("h2"))
	must(t, err)
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddrs...))
	answers := make(chan string)
	for _, to := range serviceAddrs {
		go func() {
			a, err := f.ask("c", to.String(), "", []byte("held"), 5*time.Second)
			answers <- a + errorText(err)
		}()
	}
	time.Sleep(20 * time.Millisecond) // drain
	must(t, Mute(f.ns("h1")))
	must(t, AwaitRead(t.Context(), f.ns("h1")))
	moved := len(got1.list())
	time.Sleep(200 * time.Millisecond) // the freeze
	if n := len(got1.list()); n != moved {
		t.Errorf("%d datagrams came to the first holder after it was drained", n-moved)
	}
	if n := len(got2.list()); n != 0 {
		t.Errorf("%d datagrams came through the hold", n)
	}
	before := held.Counts().In - 2*len(serviceAddrs) // at most so many packets are of the connections
	if counts, err := held.Release(); err != nil || counts.Lost != 0 || before < 60 {
		t.Fatalf("release: %+v, %v", counts, err)
	}
	for range serviceAddrs {
		if a := <-answers; a != "h2 held" {
			t.Errorf("connection made during the hold: %q", a)
		}
	}
	close(stop)
	total := int(<-sent)
	eventually(t, "all datagrams", func() bool { return len(got1.list())+len(got2.list()) >= total })
	late := got2.list()
	for k := range uint64(3) { // the addresses switch one after the other
		var of []uint64
		for _, n := range late[:before-10] {
			if n%3 == k {
				of = append(of, n)
			}
		}
		if !slices.IsSorted(of) {
			t.Errorf("datagrams held for %s out of order: %v", serviceAddrs[k], of)
		}
	}
	arrived := slices.Sorted(slices.Values(append(got1.list(), late...)))
	for i, n := range arrived {
		if n != uint64(i) {
			t.Fatalf("datagram %d arrived twice or not at all", i)
		}
	}
}

// TestMuteDatagrams: a muted source still sends the answers it owes by UDP, a silent one nothing.
func TestMuteDatagrams(t *testing.T) {
	f := upBoth(t)
	at, client := f.udp("h1", "udp", "[::]:90"), f.udp("c", "udp", "[::]:91")
	n := byte(0)
	comes := func(to string) bool {
		n++
		at.WriteToUDPAddrPort([]byte{n}, netip.MustParseAddrPort(to))
		client.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for b := make([]byte, 64); ; { // an answer from before may still come
			size, _, err := client.ReadFrom(b)
			if err != nil || size == 1 && b[0] == n {
				return err == nil
			}
		}
	}
	for _, to := range []string{"10.20.0.100:91", "[fd20::100]:91"} {
		eventually(t, "answer to "+to, func() bool { return comes(to) })
		must(t, Mute(f.ns("h1")))
		if !comes(to) {
			t.Errorf("a muted source keeps back its answer to %s", to)
		}
		must(t, Silence(f.ns("h1")))
		if comes(to) {
			t.Errorf("a silent holder answers %s", to)
		}
		must(t, Unmute(f.ns("h1")))
		if !comes(to) {
			t.Errorf("no answer to %s after Unmute", to)
		}
	}
}

// TestFamilies: a client of either family reaches the replica from inside the segment and from outside, and an address
// that is wanted no more goes.
func TestFamilies(t *testing.T) {
	f := upBoth(t)
	f.listen("h1", "h1")
	for _, i := range []string{"1", "3"} { // an underlay for the way back, which is routed
		f.ip("netns exec @s" + i + " sysctl -q -w net.ipv6.conf.all.forwarding=1 net.ipv6.conf.lo.disable_ipv6=0 net.ipv6.conf.Ethernet0.disable_ipv6=0")
		f.ip("-n @s" + i + " address add fd00::" + i + "/64 dev Ethernet0 nodad")
	}
	f.ip("-n @s3 address add fd99::3/128 dev lo")
	f.ip("-n @s1 route add fd99::3/128 via fd00::3")
	for _, from := range []struct{ ns, to, source string }{
		{"c", service, ""}, {"c", service6, ""}, {"c", second, ""},
		{"s3", service, "10.1.0.3"}, {"s3", service6, "fd99::3"},
		{"h1", "::1", ""},
	} {
		if a, err := f.ask(from.ns, from.to, from.source, []byte("x"), 5*time.Second); err != nil || a != "h1 x" {
			t.Errorf("%s to %s: %q, %v", from.ns, from.to, a, err)
		}
	}
	s := f.both(1)
	s.Holders[0].Addresses = s.Holders[0].Addresses[1:]
	f.set(1, s)
	if a, err := f.ask("c", service6, "", []byte("x"), 5*time.Second); err != nil || a != "h1 x" {
		t.Errorf("address that stays: %q, %v", a, err)
	}
	if a, err := f.ask("c", service, "", nil, 300*time.Millisecond); err == nil {
		t.Errorf("address that went answers %q", a)
	}
}

// TestAwaitRead waits for a service that is slow to read.
func TestAwaitRead(t *testing.T) {
	f := upBoth(t)
	at, client := f.udp("h1", "udp", "[::]:90"), f.udp("c", "udp", ":0")
	must(t, AwaitRead(t.Context(), f.ns("h1")))
	eventually(t, "a datagram in the queue", func() bool {
		client.WriteTo([]byte("x"), &net.UDPAddr{IP: net.ParseIP(service6), Port: 90})
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		return AwaitRead(short, f.ns("h1")) != nil
	})
	waited := make(chan error, 1)
	go func() { waited <- AwaitRead(t.Context(), f.ns("h1")) }()
	go new(numbers).collect(at)
	must(t, <-waited)
}
