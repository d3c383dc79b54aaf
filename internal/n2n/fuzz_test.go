package n2n

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// captures are the seeds.
var captures = []string{"plain", "aes16", "twofish", "chacha20", "speck", "lzo", "header", "login"}

func seed(f *testing.F) {
	for _, name := range captures {
		for _, d := range capture(f, name) {
			f.Add(d.data)
		}
	}
}

// decodeAny decodes what b says it is, nil when it is refused.
func decodeAny(t *testing.T, b []byte) message {
	h, err := ParseHeader(b)
	if err != nil {
		if ReasonOf(err) == ReasonNone {
			t.Fatalf("%v is no refusal", err)
		}
		return nil
	}
	m := blank[h.Type]()
	if err := m.Decode(b); err != nil {
		if ReasonOf(err) == ReasonNone {
			t.Fatalf("%v is no refusal", err)
		}
		return nil
	}
	return m
}

// Whatever is decoded is encoded as something that decodes to the same.
func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := decodeAny(t, b)
		if m == nil {
			return
		}
		if ack, ok := m.(*RegisterSuperAck); ok {
			for i := range ack.Supernodes.Len() {
				ack.Supernodes.At(i)
			}
			if ack.Supernodes.Len() > MaxSupernodes {
				return // the list is cut
			}
		}
		wire := m.Append(nil)
		if len(wire) > len(b) { // an IPv4 address in IPv6 clothes becomes shorter, and nothing longer
			t.Fatalf("%x became longer: %x", b, wire)
		}
		again := decodeAny(t, wire)
		if diff := cmp.Diff(m, again, compare, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Flags" },
			cmp.Ignore())); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What Relay passes on is what decoding, changing and encoding makes.
func FuzzRelay(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		sock := netip.MustParseAddrPort("[2001:db8::1]:7654")
		buf := append(make([]byte, MaxSockLen), b...)
		start, err := Relay(buf, MaxSockLen, sock)
		if err != nil {
			if !bytes.Equal(buf[MaxSockLen:], b) {
				t.Fatalf("%v, but changed to %x", err, buf)
			}
			return
		}
		switch m := decodeAny(t, b).(type) {
		case *Packet:
			m.TTL, m.Flags, m.Sock = m.TTL-1, m.Flags|FromSupernode, sock
			b = m.Append(nil)
		case *Register:
			m.TTL, m.Flags, m.Sock = m.TTL-1, m.Flags|FromSupernode, sock
			b = m.Append(nil)
		default:
			return // a PACKET or REGISTER that is refused behind the sock is for its receiver to refuse
		}
		if !bytes.Equal(buf[start:], b) {
			t.Fatalf("relayed as\n%x, want\n%x", buf[start:], b)
		}
	})
}

func FuzzNextTCP(f *testing.F) {
	for _, d := range capture(f, "tcp") {
		f.Add(d.data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; ; {
			m, next, err := NextTCP(rest)
			if err != nil || m == nil {
				return
			}
			if want := AppendTCP(nil, m); !bytes.HasPrefix(rest, want) || len(next) != len(rest)-len(want) {
				t.Fatalf("%x and %x of %x", m, next, rest)
			}
			decodeAny(t, m)
			rest = next
		}
	})
}

// A header that is refused is left as it came. One that is sealed, over however much, is opened, and only then decoded.
func FuzzOpenHeader(f *testing.F) {
	for _, name := range captures {
		for _, d := range capture(f, name) {
			f.Add(d.data, uint16(len(d.data)), uint64(d.at.UnixNano()), uint32(1))
		}
	}
	key, other := NewHeaderKey(Community{'n', '2', 'n', 'c', 'r', 'y', 'p', 't'}), NewHeaderKey(Community{'o'})
	f.Fuzz(func(t *testing.T, b []byte, headerLen uint16, stamp uint64, nonce uint32) {
		for _, key := range []*HeaderKey{key, other} {
			got := bytes.Clone(b)
			if _, _, err := key.Open(got); err != nil && !bytes.Equal(got, b) {
				t.Fatalf("%v, but %x became %x", err, b, got)
			} else if err == nil {
				decodeAny(t, got)
			}
		}
		if len(b) < HeaderLen || len(b) > 0xffff {
			return
		}
		n := max(HeaderLen, min(int(headerLen), len(b)))
		community := key.Community()
		copy(b[4:], community[:])
		sealed := bytes.Clone(b)
		key.Seal(sealed, n, Stamp(stamp), nonce)
		gotStamp, gotLen, err := key.Open(sealed)
		if err != nil || gotStamp != Stamp(stamp) || gotLen != n || !bytes.Equal(sealed, b) {
			t.Fatalf("%v: stamp %x (%x), header %d (%d): %x, want %x", err, gotStamp, stamp, gotLen, n, sealed, b)
		}
		decodeAny(t, sealed)
	})
}

// Any bytes are a payload that opens or is too short, and any bytes are a frame that comes back.
func FuzzOpenPayload(f *testing.F) {
	for _, c := range captured {
		for _, d := range capture(f, c.name) {
			var p Packet
			if p.Decode(d.data) == nil {
				f.Add(byte(c.id), p.Payload)
			}
		}
	}
	transforms := map[byte]Transform{}
	for _, id := range allTransforms {
		transforms[byte(id)] = newTransform(f, id, swordfish)
	}
	f.Fuzz(func(t *testing.T, id byte, b []byte) {
		tr := transforms[id%5+1]
		opened, err := tr.Open(nil, bytes.Clone(b))
		if err != nil {
			if len(b) >= tr.Overhead() || ReasonOf(err) != ReasonShort {
				t.Fatalf("%d bytes: %v", len(b), err)
			}
		} else if len(opened) != len(b)-tr.Overhead() {
			t.Fatalf("%d bytes of %d", len(opened), len(b))
		}
		over := tr.Overhead()
		buf := append(make([]byte, over, over+len(b)), b...)
		sealed := tr.Seal(buf[:0], buf[over:])
		got, err := tr.Open(sealed[:over], sealed)
		if err != nil || !bytes.Equal(got[over:], b) {
			t.Fatalf("%v: %x, want %x", err, got, b)
		}
	})
}

func FuzzLZO(f *testing.F) {
	list, _ := lzoVectors(f)
	for _, c := range list {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		front := []byte("front")
		got, err := Decompress(front, CompressionLZO, b)
		if !bytes.HasPrefix(got, front) || len(got)-len(front) > MaxPacket || err != nil && len(got) != len(front) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

func FuzzLogin(f *testing.F) {
	for _, d := range capture(f, "login") {
		f.Add(d.data, d.data[:min(MaxToken, len(d.data))])
	}
	secret, err := UserKey("alice", "wonderland").Share(PublicKey{31: 9})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, packet, token []byte) {
		if sealed, trailer, err := CutTrailer(packet); err == nil {
			err := secret.Verify(trailer)
			if own := secret.AppendTrailer(bytes.Clone(sealed)); bytes.Equal(own, packet) != (err == nil) {
				t.Fatalf("%x: %v", packet, err)
			}
		}
		a, err := AuthOf(AuthLogin, token)
		if err != nil {
			return
		}
		if answer, err := secret.Answer(&a, DynamicKey{1}); err == nil {
			var c Challenge
			copy(c[:], a.Token()[32:])
			secret.block.decrypt((*[speckBlock]byte)(&c))
			if key, err := secret.DynamicKey(&answer, c); err != nil || key != (DynamicKey{1}) {
				t.Fatalf("%v: %x", err, key)
			}
		}
		secret.DynamicKey(&a, Challenge{})
		a.User()
	})
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add("6wSAUofwI7AnM5mHTK31o6Ai9sdUcBZ6-cn70v2f1dq")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParsePublicKey(s); err == nil && k.String() != s {
			t.Fatalf("%q became %q", s, k)
		}
	})
}
