package n2n

import (
	"net/netip"
	"testing"
	"time"
)

// noAllocs fails when f allocates.
func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

func TestMessagesDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, MaxPacket)
	sock := netip.MustParseAddrPort("192.0.2.1:7654")
	auth, err := AuthOf(AuthID, make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	list := SupernodeList{}.Append(Supernode{sock, MAC{2}})
	for _, m := range []message{&Register{Sock: sock}, &Packet{Sock: sock, Payload: make([]byte, 1400)}, &RegisterAck{Sock: sock},
		&RegisterSuper{Sock: sock, Auth: auth}, &UnregisterSuper{Auth: auth}, &RegisterSuperAck{Sock: sock, Supernodes: list},
		&RegisterSuperNak{Auth: auth}, &PeerInfo{Sock: sock, Preferred: sock}, &QueryPeer{}, &ReRegisterSuper{}} {
		wire := m.Append(nil)
		h, err := ParseHeader(wire)
		if err != nil {
			t.Fatal(err)
		}
		got := blank[h.Type]()
		noAllocs(t, h.Type.String()+" Append", func() { m.Append(buf) })
		noAllocs(t, h.Type.String()+" Decode", func() { err = got.Decode(wire) })
		if err != nil {
			t.Fatal(err)
		}
		noAllocs(t, h.Type.String()+" refused", func() { err = got.Decode(wire[:20]) })
	}
	noAllocs(t, "SupernodeList", func() { _, err = list.At(0) })
	noAllocs(t, "SupernodeList.Append", func() { list = list[:0].Append(Supernode{sock, MAC{2}}) })
	p := (&Packet{Header: Header{TTL: 2}}).Append(make([]byte, MaxSockLen))
	noAllocs(t, "Relay", func() { _, err = Relay(buf[:copy(buf[:100], p)], MaxSockLen, sock) })
	if err != nil {
		t.Fatal(err)
	}
}

func TestHeaderKeyDoesNotAllocate(t *testing.T) {
	c, err := CommunityOf("secret")
	if err != nil {
		t.Fatal(err)
	}
	other, _ := CommunityOf("other")
	key, stranger := NewHeaderKey(c), NewHeaderKey(other)
	p := Packet{Header: Header{TTL: 2, Community: c}, Payload: make([]byte, 1400)}
	b := p.Append(nil)
	var stamper Stamper
	var replay Replay
	now := time.Unix(1_800_000_000, 0)
	noAllocs(t, "Seal and Open", func() {
		key.Seal(b, p.HeaderLen(), stamper.Next(now), 1)
		if _, _, err := stranger.Open(b); err == nil {
			t.Error("opened by a stranger")
		}
		stamp, _, err := key.Open(b)
		if err == nil {
			err = replay.Accept(stamp, StampAt(now), Jittered)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
