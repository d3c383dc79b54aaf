package edge

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/udp"
)

// FuzzReceive gives an edge whatever may come by its socket, joined by the kernel or not, clear and with a true seal. It must not
// fall, and all that came is delivered or counted.
func FuzzReceive(f *testing.F) {
	var edges []*Edge
	for _, args := range []string{"-transform null", "-transform aes", "-transform chacha20", "-transform twofish", "-transform speck",
		"-transform speck -header-encryption", "-transform chacha20 -password secret -supernode-key i0IuBFO0RC22m2Ya32uUUFUA2yfQSwsxVZ3-S5F2k7O"} {
		e, _ := pathOf(f, strings.Fields(args)...)
		if e.keys != nil && e.keys.secret != nil {
			e.keys.dynamic.Store(n2n.NewDynamicHeaderKey(e.cfg.community, n2n.DynamicKey{7}))
		}
		edges = append(edges, e)
	}
	h := n2n.Header{TTL: 2, Community: edges[0].cfg.community}
	f.Add(byte(0), uint16(0), (&n2n.Packet{Header: h, Src: mac(2), Dst: mac(1), Compression: n2n.CompressionNone, Transform: n2n.TransformNull,
		Payload: frame(100, 1)}).Append(nil))
	f.Add(byte(1), uint16(90), (&n2n.Packet{Header: h, Src: mac(2), Dst: mac(1), Compression: n2n.CompressionLZO, Transform: n2n.TransformAES,
		Payload: frame(200, 1)}).Append(nil))
	f.Add(byte(5), uint16(0), (&n2n.Register{Header: h, Rank: n2n.RankRegular, Src: mac(2), Dst: mac(1), Rest: (&n2n.Ours{Fast: true}).Append(nil)}).Append(nil))
	f.Fuzz(func(t *testing.T, which byte, segment uint16, b []byte) {
		if len(b) > udp.MaxReceive {
			return
		}
		e := edges[int(which)%len(edges)]
		from := netip.AddrPortFrom(at(2), 5000)
		come := udp.Received{Buf: bytes.Clone(b), N: len(b), From: from}
		if int(segment) < len(b) {
			come.Segment = int(segment)
		}
		if e.keys != nil && which&0x80 != 0 && come.Segment == 0 && len(b) >= n2n.HeaderLen && b[23] == 0 {
			key, _ := e.packetKey()
			key.Seal(come.Buf, min(len(b), 38), n2n.StampAt(time.Now()), 1)
		}
		e.receiver.take([]udp.Received{come})
	})
}
