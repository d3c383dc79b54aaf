package n2n

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// What Relay does in place is what decoding, changing and encoding does.
func TestRelay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		sock := drawSock(t, "seen at", true)
		wire := m.Append(make([]byte, MaxSockLen))
		start, err := Relay(wire, MaxSockLen, sock)
		var want message
		var ttl uint8
		put := func(h *Header, s *netip.AddrPort) {
			ttl = h.TTL
			h.TTL--
			h.Flags |= FromSupernode
			if sock.IsValid() {
				*s = sock
			}
		}
		switch m := m.(type) {
		case *Packet:
			put(&m.Header, &m.Sock)
			want = m
		case *Register:
			put(&m.Header, &m.Sock)
			want = m
		default:
			if ReasonOf(err) != ReasonType {
				t.Fatalf("%T: %v", m, err)
			}
			return
		}
		if ttl == 0 {
			if ReasonOf(err) != ReasonTTL {
				t.Fatalf("ttl 0: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if b := want.Append(nil); !bytes.Equal(b, wire[start:]) {
			t.Fatalf("relayed as\n%x, want\n%x", wire[start:], b)
		}
	})
}

func TestRelayWithoutRoom(t *testing.T) {
	wire := (&Packet{Header: Header{TTL: 2}}).Append(make([]byte, 7))
	before := bytes.Clone(wire)
	if _, err := Relay(wire, 7, netip.MustParseAddrPort("192.0.2.1:7654")); ReasonOf(err) != ReasonShort || !bytes.Equal(before, wire) {
		t.Errorf("7 bytes of room: %v", err)
	}
	wire = (&Register{Header: Header{TTL: 2}, Sock: netip.MustParseAddrPort("192.0.2.1:7654")}).Append(nil)
	for n := HeaderLen; n < HeaderLen+16+8; n++ {
		if _, err := Relay(bytes.Clone(wire[:n]), 0, netip.AddrPort{}); ReasonOf(err) != ReasonShort {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
