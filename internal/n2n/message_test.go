package n2n

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// message is what all messages can do.
type message interface {
	Decode([]byte) error
	Append([]byte) []byte
}

// blank gives an empty message of each type.
var blank = map[Type]func() message{
	TypeRegister:         func() message { return new(Register) },
	TypePacket:           func() message { return new(Packet) },
	TypeRegisterAck:      func() message { return new(RegisterAck) },
	TypeRegisterSuper:    func() message { return new(RegisterSuper) },
	TypeUnregisterSuper:  func() message { return new(UnregisterSuper) },
	TypeRegisterSuperAck: func() message { return new(RegisterSuperAck) },
	TypeRegisterSuperNak: func() message { return new(RegisterSuperNak) },
	TypePeerInfo:         func() message { return new(PeerInfo) },
	TypeQueryPeer:        func() message { return new(QueryPeer) },
	TypeReRegisterSuper:  func() message { return new(ReRegisterSuper) },
}

func drawMAC(t *rapid.T, label string) MAC { return MAC(drawBytes(t, 6, label)) }

func drawBytes(t *rapid.T, n int, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label)
}

func drawSock(t *rapid.T, label string, optional bool) netip.AddrPort {
	kind := rapid.IntRange(0, 2).Draw(t, label+" kind")
	if kind == 0 && optional {
		return netip.AddrPort{}
	}
	port := rapid.Uint16().Draw(t, label+" port")
	if kind == 1 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(drawBytes(t, 16, label))).Unmap(), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(drawBytes(t, 4, label))), port)
}

func drawAuth(t *rapid.T) Auth {
	a, err := AuthOf(AuthScheme(rapid.Uint16().Draw(t, "scheme")), rapid.SliceOfN(rapid.Byte(), 0, MaxToken).Draw(t, "token"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func drawSubnet(t *rapid.T) Subnet {
	return Subnet{[4]byte(drawBytes(t, 4, "address")), uint8(rapid.IntRange(0, 32).Draw(t, "bits"))}
}

// drawMessage draws a message as Decode gives it back: with its own type, HasSock where a sock is, and no nil slices.
func drawMessage(t *rapid.T) message {
	h := Header{TTL: rapid.Byte().Draw(t, "ttl")}
	if rapid.Bool().Draw(t, "from supernode") {
		h.Flags = FromSupernode
	}
	copy(h.Community[:19], drawBytes(t, 19, "community"))
	rest := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "rest")
	sock := drawSock(t, "sock", true)
	has := func(s netip.AddrPort) {
		if s.IsValid() {
			h.Flags |= HasSock
		}
	}
	cookie := rapid.Uint32().Draw(t, "cookie")
	a, b := drawMAC(t, "a"), drawMAC(t, "b")
	h.Type = rapid.SampledFrom([]Type{1, 3, 4, 5, 6, 7, 8, 10, 11, 12}).Draw(t, "type")
	switch h.Type {
	case TypeRegister:
		has(sock)
		return &Register{h, Rank(cookie), a, b, sock, drawSubnet(t), Desc(drawBytes(t, 16, "desc")), rest}
	case TypePacket:
		has(sock)
		return &Packet{h, a, b, sock, Compression(rapid.Byte().Draw(t, "compression")), TransformID(rapid.Byte().Draw(t, "transform")), rest}
	case TypeRegisterAck:
		has(sock)
		return &RegisterAck{h, Rank(cookie), a, b, sock, rest}
	case TypeRegisterSuper:
		has(sock)
		return &RegisterSuper{h, cookie, a, sock, drawSubnet(t), Desc(drawBytes(t, 16, "desc")), drawAuth(t), rapid.Uint32().Draw(t, "key time"), rest}
	case TypeUnregisterSuper:
		return &UnregisterSuper{h, drawAuth(t), a, rest}
	case TypeRegisterSuperAck:
		h.Flags |= HasSock
		list := SupernodeList{}
		for range rapid.IntRange(0, MaxSupernodes).Draw(t, "supernodes") {
			list = list.Append(Supernode{drawSock(t, "supernode", false), drawMAC(t, "supernode MAC")})
		}
		return &RegisterSuperAck{h, cookie, a, drawSubnet(t), rapid.Uint16().Draw(t, "lifetime"), drawSock(t, "sock", false), drawAuth(t), list, rapid.Uint32().Draw(t, "key time"), rest}
	case TypeRegisterSuperNak:
		h.Flags |= HasSock
		return &RegisterSuperNak{h, cookie, a, drawAuth(t), rest}
	case TypePeerInfo:
		has(sock)
		return &PeerInfo{h, uint16(cookie), a, b, drawSock(t, "public", false), sock, cookie, rapid.Uint32().Draw(t, "uptime"), VersionText(drawBytes(t, 20, "version")), rest}
	case TypeQueryPeer:
		return &QueryPeer{h, a, b, uint16(cookie), rest}
	}
	return &ReRegisterSuper{h, rest}
}

var compare = cmp.Options{cmp.AllowUnexported(Auth{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}

// Whatever is written is read again, and is written again as the same bytes.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		wire := m.Append(nil)
		h, err := ParseHeader(wire)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		got := blank[h.Type]()
		if err := got.Decode(wire); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if diff := cmp.Diff(m, got, compare); diff != "" {
			t.Fatal(diff)
		}
		if again := got.Append(nil); !bytes.Equal(again, wire) {
			t.Fatalf("%T: written again as\n%x, was\n%x", m, again, wire)
		}
	})
}

// A message that is cut anywhere before its end is refused as short (what may follow it, and payloads, can be missing), and
// every other type's Decode refuses it as another type.
func TestCutAndMistaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		wire := m.Append(nil)
		h, _ := ParseHeader(wire)
		for typ, other := range blank {
			if err := other().Decode(wire); typ != h.Type && ReasonOf(err) != ReasonType {
				t.Fatalf("%v read as %v: %v", h.Type, typ, err)
			}
		}
		full := len(wire)
		switch m := m.(type) {
		case *Packet:
			full -= len(m.Payload)
		case *Register:
			full -= len(m.Rest)
		case *RegisterAck:
			full -= len(m.Rest)
		case *RegisterSuper:
			full -= len(m.Rest)
		case *UnregisterSuper:
			full -= len(m.Rest)
		case *RegisterSuperAck:
			full -= len(m.Rest)
		case *RegisterSuperNak:
			full -= len(m.Rest)
		case *PeerInfo:
			full -= len(m.Rest)
		case *QueryPeer:
			full -= len(m.Rest)
		case *ReRegisterSuper:
			full -= len(m.Rest)
		}
		for n := range full {
			if err := blank[h.Type]().Decode(wire[:n]); ReasonOf(err) != ReasonShort {
				t.Fatalf("%v, %d of %d bytes: %v", h.Type, n, full, err)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	c, err := CommunityOf("n2nf")
	if err != nil {
		t.Fatal(err)
	}
	h := Header{TTL: 2, Community: c}
	super := (&RegisterSuper{Header: h}).Append(nil)
	ack := (&RegisterSuperAck{Header: h}).Append(nil)
	register := (&Register{Header: h, Sock: netip.MustParseAddrPort("192.0.2.1:7654")}).Append(nil)
	for _, c := range []struct {
		what   string
		packet []byte
		at     int
		byte   byte
		want   Error
	}{
		{"version 2", super, 0, 2, Error{ReasonVersion, FieldVersion}},
		{"flag 0x80", super, 3, 0x85, Error{ReasonFlags, FieldFlags}},
		{"flag 0x100", super, 2, 1, Error{ReasonFlags, FieldFlags}},
		{"DEREGISTER", super, 3, 2, Error{ReasonType, FieldFlags}},
		{"FEDERATION", super, 3, 9, Error{ReasonType, FieldFlags}},
		{"type 31", super, 3, 31, Error{ReasonType, FieldFlags}},
		{"type 0", super, 3, 0, Error{ReasonType, FieldFlags}},
		{"a community without an end", super, 23, 'x', Error{ReasonCommunity, FieldCommunity}},
		{"subnet /33", super, 38, 33, Error{ReasonValue, FieldSubnet}},
		{"token of 49", super, 58, 49, Error{ReasonTooLong, FieldAuthSize}},
		{"token of 48 that is not there", super, 58, 48, Error{ReasonShort, FieldAuthToken}},
		{"token of 65280", super, 57, 255, Error{ReasonTooLong, FieldAuthSize}},
		{"family 1", register, 41, 1, Error{ReasonValue, FieldSockFamily}},
		{"an IPv6 sock that is not there", ack, 41, 0x80, Error{ReasonShort, FieldSock}},
		{"255 supernodes that are not there", ack, 53, 255, Error{ReasonShort, FieldSupernodes}},
	} {
		b := bytes.Clone(c.packet)
		b[c.at] = c.byte
		m := blank[Type(c.packet[3]&typeMask)]()
		err := m.Decode(b)
		if fmt.Sprint(err) != c.want.Error() {
			t.Errorf("%s: %v, want %v", c.what, err, &c.want)
		}
	}
}

func TestSupernodeOfUnknownFamily(t *testing.T) {
	list := SupernodeList{}.Append(Supernode{Addr: netip.MustParseAddrPort("192.0.2.1:7654"), MAC: MAC{2, 0, 0, 0, 0, 1}})
	if want := "0200e61dc000020100000000000000000000000002000000000" + "1"; fmt.Sprintf("%x", []byte(list)) != want {
		t.Errorf("entry %x, want %s", []byte(list), want)
	}
	list[0] = 3
	if _, err := list.At(0); ReasonOf(err) != ReasonValue {
		t.Errorf("family 3: %v", err)
	}
	if n := list.Append(Supernode{}).Len(); n != 1 {
		t.Errorf("%d supernodes after one without an address was added", n)
	}
}

func TestLongListIsCut(t *testing.T) {
	var list SupernodeList
	for range 200 {
		list = list.Append(Supernode{Addr: netip.MustParseAddrPort("192.0.2.1:7654")})
	}
	wire := (&RegisterSuperAck{Supernodes: list}).Append(nil)
	var m RegisterSuperAck
	if err := m.Decode(wire); err != nil || m.Supernodes.Len() != MaxSupernodes || len(m.Rest) != 0 {
		t.Errorf("%v: %d supernodes, %d bytes behind", err, m.Supernodes.Len(), len(m.Rest))
	}
}
