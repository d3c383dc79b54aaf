package n2n

import (
	"net/netip"
	"testing"
)

func TestOursTravels(t *testing.T) {
	o := Ours{Fast: true, Draws: true, Fan: true, NAT: NATSymmetric}
	o.AddAddr(netip.MustParseAddrPort("192.0.2.1:7000"))
	o.AddAddr(netip.MustParseAddrPort("[2001:db8::1]:7000"))
	m := Register{Header: Header{TTL: 2}, Rest: o.Append(nil)}
	var got Register
	if err := got.Decode(m.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if back, ok := ParseOurs(got.Rest); !ok || back != o {
		t.Errorf("%+v, %v: want %+v", back, ok, o)
	}
}

func TestOursOfNobody(t *testing.T) {
	whole := (&Ours{}).Append(nil)
	var many Ours
	for range MaxAddrs + 1 {
		many.AddAddr(netip.MustParseAddrPort("192.0.2.1:1"))
	}
	long := append((&many).Append(nil), 1, 2, 3) // of a newer version
	for _, c := range []struct {
		rest []byte
		ok   bool
	}{{nil, false}, {whole, true}, {whole[:6], false}, {make([]byte, 16), false}, {long, true}, {long[:20], false}} {
		if _, ok := ParseOurs(c.rest); ok != c.ok {
			t.Errorf("%x: ok %v", c.rest, ok)
		}
	}
}

func FuzzOurs(f *testing.F) {
	f.Add((&Ours{Fast: true}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, ok := ParseOurs(b)
		if !ok {
			return
		}
		if back, ok := ParseOurs(o.Append(nil)); !ok || back != o {
			t.Errorf("%+v became %+v", o, back)
		}
	})
}
