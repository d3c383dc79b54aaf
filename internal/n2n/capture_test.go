package n2n

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// datagram is a payload of a capture.
type datagram struct {
	at       time.Time
	from, to netip.AddrPort
	data     []byte
}

// capture reads the UDP datagrams and the TCP segments with data of testdata/<name>.pcap (microseconds, little-endian, Ethernet, IPv4), in order.
func capture(t testing.TB, name string) (list []datagram) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for b = b[24:]; len(b) > 16; {
		at := time.Unix(int64(binary.LittleEndian.Uint32(b)), 1000*int64(binary.LittleEndian.Uint32(b[4:])))
		n := int(binary.LittleEndian.Uint32(b[8:]))
		p := b[16+14 : 16+n]
		b = b[16+n:]
		p = p[:binary.BigEndian.Uint16(p[2:])]
		l4 := p[int(p[0]&15)*4:]
		data := l4[8:]
		if p[9] == 6 { // TCP
			if data = l4[l4[12]>>4*4:]; len(data) == 0 {
				continue
			}
		}
		end := func(ip, port []byte) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip)), binary.BigEndian.Uint16(port))
		}
		list = append(list, datagram{at, end(p[12:], l4), end(p[16:], l4[2:]), data})
	}
	return list
}

// Two ntop edges and a supernode, clear, null transform: every packet is read, and written again as the same bytes. In
// prefer.pcap the edges prefer local sockets; in nak.pcap bob has come with alice's MAC, and she is refused.
func TestClearCaptures(t *testing.T) {
	for name, want := range map[string]map[Type]int{
		"plain": {TypeRegister: 7, TypePacket: 28, TypeRegisterAck: 3, TypeRegisterSuper: 18, TypeUnregisterSuper: 2,
			TypeRegisterSuperAck: 18, TypePeerInfo: 11, TypeQueryPeer: 11},
		"prefer": {TypeRegister: 4, TypePacket: 13, TypeRegisterAck: 2, TypeRegisterSuper: 2, TypeUnregisterSuper: 2,
			TypeRegisterSuperAck: 2, TypePeerInfo: 2, TypeQueryPeer: 2},
		"nak": {TypePacket: 2, TypeRegisterSuper: 5, TypeUnregisterSuper: 2, TypeRegisterSuperAck: 1, TypeRegisterSuperNak: 4,
			TypePeerInfo: 2, TypeQueryPeer: 2},
	} {
		counts := map[Type]int{}
		for i, d := range capture(t, name) {
			if !IsClear(d.data) {
				t.Fatalf("%s, packet %d is not clear: %x", name, i, d.data)
			}
			h, err := ParseHeader(d.data)
			if err != nil {
				t.Fatalf("%s, packet %d: %v: %x", name, i, err, d.data)
			}
			m := blank[h.Type]()
			if err := m.Decode(d.data); err != nil {
				t.Fatalf("%s, packet %d: %v: %x", name, i, err, d.data)
			}
			if again := m.Append(nil); !bytes.Equal(again, d.data) {
				t.Fatalf("%s, packet %d, %v: written again as\n%x, was\n%x", name, i, h.Type, again, d.data)
			}
			if h.Community.String() != "n2nf" {
				t.Errorf("%s, packet %d: community %q", name, i, h.Community)
			}
			switch m := m.(type) {
			case *PeerInfo:
				// To a query it is memory of ntop's process.
				if m.MAC.IsZero() && m.Version.String() != "3.1.1" {
					t.Errorf("%s, packet %d: version %q", name, i, m.Version)
				}
			case *Packet:
				if m.Compression != CompressionNone || m.Transform != TransformNull {
					t.Errorf("%s, packet %d: %v, %v", name, i, m.Compression, m.Transform)
				}
				checkFrame(t, m, m.Payload)
			case *RegisterSuper:
				subnet := m.Subnet.Prefix().Masked().String()
				if subnet != "10.99.0.0/24" || m.Auth.Scheme != AuthID || len(m.Auth.Token()) != 16 {
					t.Errorf("%s, packet %d: subnet %s, auth %v", name, i, subnet, m.Auth)
				}
				if m.Sock.IsValid() && m.Sock != d.from {
					t.Errorf("%s, packet %d: prefers %v, sent from %v", name, i, m.Sock, d.from)
				}
			}
			counts[h.Type]++
		}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What ntop's supernode passed on is what Relay makes of something that came to it, byte for byte.
func TestRelayAsCaptured(t *testing.T) {
	relayed := 0
	var came []datagram
	for i, d := range capture(t, "plain") {
		h, err := ParseHeader(d.data)
		switch {
		case err != nil:
			t.Fatal(err)
		case h.Type != TypePacket && h.Type != TypeRegister:
		case d.to.Port() == DefaultPort:
			came = append(came, d)
		case d.from.Port() == DefaultPort:
			if !slices.ContainsFunc(came, func(c datagram) bool {
				buf := append(make([]byte, MaxSockLen), c.data...)
				start, err := Relay(buf, MaxSockLen, c.from)
				return err == nil && bytes.Equal(buf[start:], d.data)
			}) {
				t.Errorf("packet %d is nothing that Relay makes: %x", i, d.data)
			}
			relayed++
		}
	}
	if relayed != 6 {
		t.Errorf("%d packets were passed on", relayed)
	}
}

// The edges talk by TCP alone.
func TestTCPAsCaptured(t *testing.T) {
	streams := map[[2]netip.AddrPort][]byte{}
	counts := map[Type]int{}
	for _, d := range capture(t, "tcp") {
		way := [2]netip.AddrPort{d.from, d.to}
		pending := append(streams[way], d.data...)
		for {
			b, rest, err := NextTCP(pending)
			if err != nil {
				t.Fatal(err)
			}
			if pending = rest; b == nil {
				break
			}
			h, err := ParseHeader(b)
			if err != nil {
				t.Fatalf("%v: %x", err, b)
			}
			m := blank[h.Type]()
			if err := m.Decode(b); err != nil {
				t.Fatalf("%v: %v", h.Type, err)
			}
			if again := m.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("%v: written again as\n%x, was\n%x", h.Type, again, b)
			}
			counts[h.Type]++
		}
		streams[way] = pending
	}
	want := map[Type]int{TypePacket: 32, TypeRegisterSuper: 4, TypeRegisterSuperAck: 4, TypePeerInfo: 2, TypeQueryPeer: 2}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
}

// Some of them field by field.
func TestGolden(t *testing.T) {
	for _, c := range []struct{ name, wire string }{
		{"REGISTER_SUPER", "030200056e326e6600000000000000000000000000000000" + "c4c8854b" + "02000000000b" + "0a63000318" +
			"626f6200000000000000000000000000" + "00010010d5ce12ca4a28529ce4cef9e1d9c35149" + "00000000"},
		{"REGISTER_SUPER_ACK", "030200676e326e6600000000000000000000000000000000" + "c4c8854b" + "020000000001" + "0000000000" + "000f" +
			"0000860cc0000203" + "00000000" + "00" + "00000000"},
		{"PEER_INFO", "0302002a6e326e6600000000000000000000000000000000" + "0000" + "020000000001" + "000000000000" + "0000860cc0000203" +
			"00000000" + "0000000f" + "332e312e310001d19cd1d3c81068990a00000000"},
	} {
		wire, err := hex.DecodeString(c.wire)
		if err != nil {
			t.Fatal(err)
		}
		h, err := ParseHeader(wire)
		if err != nil || h.Type.String() != c.name {
			t.Fatalf("%s: %v, %v", c.name, h.Type, err)
		}
		m := blank[h.Type]()
		if err := m.Decode(wire); err != nil {
			t.Fatal(err)
		}
		if again := m.Append(nil); !bytes.Equal(again, wire) {
			t.Errorf("%s: written again as\n%x, was\n%x", c.name, again, wire)
		}
	}
}
