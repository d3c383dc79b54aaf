package n2n

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// What is sealed is opened by its own key alone, with its stamp; other keys leave it as it is.
func TestSealAndOpen(t *testing.T) {
	c, _ := CommunityOf("secret")
	other, _ := CommunityOf("secret2")
	key, stranger := NewHeaderKey(c), NewHeaderKey(other)
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b := m.Append(nil)
		copy(b[4:24], c[:])
		plain := bytes.Clone(b)
		n := len(b)
		if p, ok := m.(*Packet); ok {
			n = p.HeaderLen()
		}
		stamp := Stamp(rapid.Uint64().Draw(t, "stamp"))
		key.Seal(b, n, stamp, rapid.Uint32().Draw(t, "nonce"))
		sealed := bytes.Clone(b)
		if !bytes.Equal(b[n:], plain[n:]) {
			t.Fatal("the payload has changed")
		}
		if _, _, err := stranger.Open(b); ReasonOf(err) != ReasonKey || !bytes.Equal(b, sealed) {
			t.Fatalf("another key: %v", err)
		}
		// A changed byte is found, whichever it is; and the packet is left as it came.
		i := rapid.IntRange(0, len(b)-1).Draw(t, "changed byte")
		b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "changed bit")
		changed := bytes.Clone(b)
		if _, _, err := key.Open(b); err == nil || !bytes.Equal(b, changed) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		copy(b, sealed)
		gotStamp, gotLen, err := key.Open(b)
		if err != nil || gotStamp != stamp || gotLen != n || !bytes.Equal(b, plain) {
			t.Fatalf("opened: %v, stamp %x (%x), header %d (%d)\n%x, want\n%x", err, gotStamp, stamp, gotLen, n, b, plain)
		}
	})
}

// A header length that the packet does not have is refused before anything is touched.
func TestOpenLengths(t *testing.T) {
	c, _ := CommunityOf("secret")
	key := NewHeaderKey(c)
	for _, n := range []uint32{0, 1, 23, 25, 2000, 0xffff} {
		b := (&QueryPeer{Header: Header{Community: c}}).Append(nil)[:24]
		iv := [speckBlock]byte(b)
		binary.BigEndian.PutUint32(b[16:], headerMagic+n)
		key.stream.xor(b[16:], b[16:], &iv)
		before := bytes.Clone(b)
		if _, _, err := key.Open(b); ReasonOf(err) != ReasonKey || !bytes.Equal(b, before) {
			t.Errorf("length %d: %v", n, err)
		}
	}
	for n := range HeaderLen {
		if _, _, err := key.Open(make([]byte, n)); ReasonOf(err) != ReasonShort {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
