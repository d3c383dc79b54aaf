package address

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var serviceAddr = netip.MustParseAddr(service)

// udp opens a socket in a namespace, with room for all that a release delivers at once.
func (f fabric) udp(ns, network, local string) *net.UDPConn {
	f.t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
		})
		return errors.Join(err, failed)
	}}
	var c net.PacketConn
	must(f.t, within(f.ns(ns), func() (err error) {
		c, err = config.ListenPacket(f.t.Context(), network, local)
		return err
	}))
	f.t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

// numbers collects what arrives at a socket until it is closed.
type numbers struct {
	mu  sync.Mutex
	got []uint64
}

func (n *numbers) collect(c *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		size, _, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if size == 8 {
			n.mu.Lock()
			n.got = append(n.got, binary.BigEndian.Uint64(buf))
			n.mu.Unlock()
		}
	}
}

func (n *numbers) list() []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

// TestMove moves the address while datagrams stream and a client connects: everything arrives once, at the one holder or the other.
func TestMove(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	f.listen("h2", "h2")
	at1, at2, client := f.udp("h1", "udp4", ":90"), f.udp("h2", "udp4", ":90"), f.udp("c", "udp4", ":91")
	var got1, got2 numbers
	go got1.collect(at1)
	go got2.collect(at2)
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(serviceAddr, 90))
	sent, stop := make(chan uint64), make(chan struct{})
	go func() {
		for n := uint64(0); ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			case <-time.After(time.Millisecond):
				client.WriteTo(binary.BigEndian.AppendUint64(nil, n), to)
			}
		}
	}()
	eventually(t, "stream at the first holder", func() bool { return len(got1.list()) > 20 })

	held, err := Hold(f.ns("h2"))
	must(t, err)
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddr))
	answer := make(chan string)
	go func() {
		a, err := f.ask("c", service, "", []byte("held"), 5*time.Second)
		answer <- a + errorText(err)
	}()
	// What the service sends is held as well.
	if _, err := at2.WriteTo([]byte("too early"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.20.0.100:91"))); err != nil {
		t.Error(err)
	}
	time.Sleep(300 * time.Millisecond) // the freeze
	must(t, Announce(f.ns("h2"), serviceAddr))
	if n := len(got2.list()); n != 0 {
		t.Errorf("%d datagrams came through the hold", n)
	}
	client.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, _, err := client.ReadFrom(make([]byte, 64)); err == nil {
		t.Errorf("an answer of %d bytes came through the hold", n)
	}
	before := held.Counts()
	if before.In < 20 || before.Out != 1 {
		t.Errorf("held %+v, want many in and 1 out", before)
	}
	counts, err := held.Release()
	if err != nil || counts.Lost != 0 {
		t.Fatalf("release: %+v, %v", counts, err)
	}
	if a := <-answer; a != "h2 held" {
		t.Errorf("connection made during the hold: %q", a)
	}
	client.SetReadDeadline(time.Now().Add(time.Second))
	buf := make([]byte, 64)
	if n, _, err := client.ReadFrom(buf); err != nil || string(buf[:n]) != "too early" {
		t.Errorf("held answer: %q, %v", buf[:n], err)
	}
	close(stop)
	total := <-sent
	eventually(t, "all datagrams", func() bool { return len(got1.list())+len(got2.list()) >= int(total) })
	arrived := append(got1.list(), got2.list()...)
	// One that comes while the rule goes may overtake the one before it; what was held before Release may not. (Ten of it are the connection's.)
	if ordered := arrived[:len(got1.list())+before.In-10]; !slices.IsSorted(ordered) {
		t.Errorf("held datagrams out of order: %v", ordered)
	}
	slices.Sort(arrived)
	for i, n := range arrived {
		if n != uint64(i) {
			t.Fatalf("datagram %d arrived twice or not at all", i)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return " " + err.Error()
}

// TestAbort takes the address back: the client's connection goes on, and the target stays silent until its rules are reset.
func TestAbort(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	c, err := f.dial("c", service, "", 5*time.Second)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("client got %q, %v, want %q", got, err, want)
		}
	}
	expect("h1 ")

	held, err := Hold(f.ns("h2"))
	must(t, err)
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddr))
	must(t, Mute(f.ns("h1")))
	io.WriteString(c, "to the wrong one, ")
	eventually(t, "a packet at the target", func() bool { return held.Counts().In > 0 })

	must(t, Unmute(f.ns("h1")))
	must(t, Yield(f.ns("h2")))
	must(t, Own(f.ns("h1"), serviceAddr))
	if _, err := held.Drop(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "to the right one")
	expect("to the wrong one, to the right one")

	// Shut: a connection to the second holder is neither made nor refused.
	f.listen("h2", "h2")
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddr))
	var timeout net.Error
	if a, err := f.ask("c", service, "", nil, 200*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("shut holder: %q, %v, want silence", a, err)
	}
	if a, err := f.ask("h2", "10.20.0.100", "", nil, 200*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("shut holder sends: %q, %v, want silence", a, err)
	}
	if a, err := f.ask("h2", "127.0.0.1", "", []byte("lo"), time.Second); err != nil || a != "h2 lo" {
		t.Errorf("loopback of a shut holder: %q, %v", a, err)
	}
	must(t, Reset(f.ns("h2")))
	must(t, Reset(f.ns("h2")))
	if a, err := f.ask("c", service, "", []byte("x"), 5*time.Second); err != nil || a != "h2 x" {
		t.Errorf("after Reset: %q, %v", a, err)
	}
	if rules := f.ip("netns exec @h2 nft list ruleset"); strings.Contains(rules, tableName) {
		t.Errorf("rules after Reset:\n%s", rules)
	}
}

// TestMute checks that a muted source sends no IP, but is muted only.
func TestMute(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	must(t, Mute(f.ns("h1")))
	must(t, Mute(f.ns("h1")))
	if a, err := f.ask("c", service, "", nil, 200*time.Millisecond); err == nil {
		t.Errorf("muted holder answered %q", a)
	}
	if a, err := f.ask("h1", "127.0.0.1", "", []byte("lo"), time.Second); err != nil || a != "h1 lo" {
		t.Errorf("loopback of a muted holder: %q, %v", a, err)
	}
	must(t, Unmute(f.ns("h1")))
	if a, err := f.ask("c", service, "", []byte("x"), 5*time.Second); err != nil || a != "h1 x" {
		t.Errorf("after Unmute: %q, %v", a, err)
	}
}

// TestYield checks both halves: no answer to ARP, and no question that would name the address.
func TestYield(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	must(t, Yield(f.ns("h1")))
	if a, err := f.ask("c", service, "", nil, 200*time.Millisecond); err == nil {
		t.Errorf("yielded address answered %q", a)
	}
	f.ask("h1", "10.20.0.100", "", nil, 100*time.Millisecond)
	if n := f.ip("-n @c neigh show " + service); strings.Contains(n, "lladdr") {
		t.Errorf("the client knows the yielded address: %s", n)
	}
	must(t, Own(f.ns("h1"), serviceAddr))
	if a, err := f.ask("c", service, "", []byte("x"), 5*time.Second); err != nil || a != "h1 x" {
		t.Errorf("after Own: %q, %v", a, err)
	}
}

// TestHoldAgain lets the process behind a hold die: its socket closes while the rule stays.
func TestHoldAgain(t *testing.T) {
	f := up(t)
	f.listen("h1", "h1")
	first, err := Hold(f.ns("h1"))
	must(t, err)
	if _, err := Hold(f.ns("h1")); !errors.Is(err, errQueueTaken) {
		t.Errorf("second hold: %v, want %v", err, errQueueTaken)
	}
	answer := make(chan string)
	go func() {
		a, err := f.ask("c", service, "", []byte("x"), 5*time.Second)
		answer <- a + errorText(err)
	}()
	eventually(t, "a held packet", func() bool { return first.Counts().In > 0 })
	first.close()

	second, err := Hold(f.ns("h1"))
	must(t, err)
	eventually(t, "a held packet, sent again", func() bool { return second.Counts().In > 0 })
	if counts, err := second.Release(); err != nil || counts.Lost != 0 {
		t.Errorf("release: %+v, %v", counts, err)
	}
	if a := <-answer; a != "h1 x" {
		t.Errorf("connection: %q", a)
	}
}

// TestReleaseUnderLoad releases while packets pour in: none is lost between the verdict, the rule and the queue.
func TestReleaseUnderLoad(t *testing.T) {
	f := up(t)
	var got numbers
	at := f.udp("h1", "udp4", ":90")
	go got.collect(at)
	client := f.udp("c", "udp4", ":0")
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(serviceAddr, 90))
	sent, stop := make(chan int), make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				sent <- n
				return
			default:
				client.WriteTo(binary.BigEndian.AppendUint64(nil, uint64(n)), to)
				if n%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}
	}()
	eventually(t, "stream at the holder", func() bool { return len(got.list()) > 0 })
	held := 0
	for range 5 {
		h, err := Hold(f.ns("h1"))
		must(t, err)
		eventually(t, "held packets", func() bool { return h.Counts().In > 100 })
		counts, err := h.Release()
		if err != nil || counts.Lost != 0 {
			t.Fatalf("release: %+v, %v", counts, err)
		}
		held += counts.In
	}
	close(stop)
	total := <-sent
	eventually(t, "all datagrams", func() bool { return len(got.list()) >= total })
	list := got.list()
	slices.Sort(list)
	if n := len(slices.Compact(list)); n != total {
		t.Errorf("%d different datagrams of %d, %d were held", n, total, held)
	}
}

// FuzzPackets reads messages of the packet queue: any bytes give an answer.
func FuzzPackets(f *testing.F) {
	packet := attribute(nil, attrPacketHeader, []byte{0, 0, 0, 7, 8, 0, unix.NF_INET_LOCAL_OUT})
	message := binary.NativeEndian.AppendUint32(nil, uint32(20+len(packet)))
	message = binary.NativeEndian.AppendUint16(message, msgPacket)
	message = append(message, make([]byte, 14)...)
	message = append(message, packet...)
	want := waiting{id: 7, hook: unix.NF_INET_LOCAL_OUT}
	if got := parsePackets(append(message, message...), nil); !slices.Equal(got, []waiting{want, want}) {
		f.Fatalf("parsed %+v, want twice %+v", got, want)
	}
	f.Add(message)
	f.Add(message[:len(message)-3])
	f.Add([]byte{3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(parsePackets(b, nil)); n > len(b)/unix.NLMSG_HDRLEN {
			t.Errorf("%d packets in %d bytes", n, len(b))
		}
	})
}
