package edge

import (
	"net/netip"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/udp"
)

// outBuffer is how many bytes of packets are made before they are sent: room for what the largest frame becomes.
const outBuffer = 4 << 16

// batch is packets on their way out.
type batch struct {
	out    []byte // room for outBuffer bytes
	bursts []udp.Burst
}

func newBatch() *batch {
	return &batch{out: make([]byte, 0, outBuffer), bursts: make([]udp.Burst, 0, 64)}
}

func (b *batch) reset() { b.out, b.bursts = b.out[:0], b.bursts[:0] }

// add makes the last n bytes of out a packet to an address: part of the last burst where it fits, else a new one.
func (b *batch) add(to netip.AddrPort, n int) {
	end := len(b.out)
	if k := len(b.bursts) - 1; k >= 0 {
		last := &b.bursts[k]
		size := last.Segment
		if size == 0 {
			size = len(last.Data)
		}
		// The burst is open as long as all its packets are of one size.
		if last.To == to && n <= size && len(last.Data)%size == 0 && len(last.Data)/size < udp.MaxSegments && len(last.Data)+n <= udp.MaxBurst {
			last.Data = b.out[end-n-len(last.Data) : end]
			last.Segment = size
			return
		}
	}
	b.bursts = append(b.bursts, udp.Burst{To: to, Data: b.out[end-n : end : end]})
}

// sealer makes packets of frames. Each goroutine that does has one.
type sealer struct {
	e         *Edge
	transform n2n.Transform
	split     offload.Splitter
	random    n2n.Random
	packet    n2n.Packet
}

func (e *Edge) newSealer() (*sealer, error) {
	random := e.newRandom()
	t, err := n2n.NewTransform(e.cfg.transform, []byte(e.cfg.Key), random)
	if err != nil {
		return nil, err
	}
	return &sealer{e: e, transform: t, random: random, packet: n2n.Packet{
		Header: n2n.Header{TTL: n2n.DefaultTTL, Community: e.cfg.community}, Src: e.mac,
		Compression: n2n.CompressionNone, Transform: e.cfg.transform}}, nil
}

// fits says whether the packets of a frame have room in a batch.
func (s *sealer) fits(b *batch) bool {
	return s.split.Count()*(s.split.Size()+n2n.PacketHeaderLen+s.transform.Overhead()) <= cap(b.out)-len(b.out)
}

// seal appends the packets of the frame that split has begun with, for dst, to each of the addresses. They are written where
// they are sent from: the payload is copied once and encrypted in place.
func (s *sealer) seal(now time.Time, b *batch, dst n2n.MAC, to netip.AddrPort) (packets int) {
	s.packet.Dst = dst
	overhead := s.transform.Overhead()
	key, cover := s.e.packetKey()
	for {
		start := len(b.out)
		head := s.packet.AppendHeader(b.out)
		frameAt := len(head) + overhead
		if frameAt+s.split.Size() > cap(b.out) {
			s.e.count.drop(dropFrame)
			return packets
		}
		n := s.split.Next(b.out[frameAt : frameAt+s.split.Size()])
		if n == 0 {
			return packets
		}
		b.out = s.transform.Seal(head, b.out[frameAt:frameAt+n])
		if key != nil {
			whole := b.out[start:]
			header := s.packet.HeaderLen()
			key.Seal(whole, header+min(cover, len(whole)-header), s.e.stamp(now), uint32(s.random.Uint64()))
		}
		b.add(to, len(b.out)-start)
		packets++
	}
}
