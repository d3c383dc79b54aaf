package offload

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tcp makes a frame with right checksums, or with the pseudo header's sum alone as the kernel hands it over.
type tcp struct {
	v6      bool
	port    uint16
	seq     uint32
	ack     uint32
	flags   byte
	window  uint16
	options []byte
	payload []byte
	partial bool
}

func (t tcp) frame() []byte {
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	length := tcpLen + len(t.options) + len(t.payload)
	if t.v6 {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
		b = append(b, protoTCP, 64)
		for i := range 32 {
			b = append(b, byte(0x20+i))
		}
	} else {
		b = append(b, 0x08, 0x00, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(ipv4Len+length))
		b = append(b, 0x12, 0x34, 0x40, 0, 64, protoTCP, 0, 0, 10, 99, 0, 2, 10, 99, 0, 3)
		put(b[ethernetLen+10:], sum(b[ethernetLen:], 0))
	}
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, 4000)
	b = binary.BigEndian.AppendUint16(b, t.port)
	b = binary.BigEndian.AppendUint32(b, t.seq)
	b = binary.BigEndian.AppendUint32(b, t.ack)
	b = append(b, byte((tcpLen+len(t.options))/4)<<4, t.flags)
	b = binary.BigEndian.AppendUint16(b, t.window)
	b = append(b, 0, 0, 0, 0)
	b = append(append(b, t.options...), t.payload...)
	p := pseudo(b[ethernetLen:], t.v6, protoTCP, length)
	if t.partial {
		binary.NativeEndian.PutUint16(b[at+16:], fold(p))
	} else {
		put(b[at+16:], sum(b[at:], p))
	}
	return b
}

// header is what the kernel says of a frame that it wants cut.
func (t tcp) header(size int) Header {
	start := ethernetLen + ipv4Len
	h := Header{Flags: needsChecksum, GSO: gsoTCPv4, SegmentSize: uint16(size), ChecksumOffset: 16}
	if t.v6 {
		start, h.GSO = ethernetLen+ipv6Len, gsoTCPv6
	}
	h.ChecksumStart, h.HeaderLen = uint16(start), uint16(start+tcpLen+len(t.options))
	return h
}

// written are the frames a Joiner gave away.
type written struct {
	headers []Header
	frames  [][]byte
}

func (w *written) WriteFrame(h *Header, pieces [][]byte) error {
	w.headers = append(w.headers, *h)
	w.frames = append(w.frames, bytes.Join(pieces, nil))
	return nil
}

// cut gives all segments of a frame.
func cut(t testing.TB, h Header, frame []byte) (list [][]byte) {
	t.Helper()
	var s Splitter
	if err := s.Start(h, frame); err != nil {
		t.Fatal(err)
	}
	count, size := s.Count(), s.Size()
	for {
		b := make([]byte, size)
		n := s.Next(b)
		if n == 0 {
			break
		}
		if len(list) < count-1 && n != size {
			t.Errorf("segment %d of %d has %d bytes, all but the last shall have %d", len(list), count, n, size)
		}
		list = append(list, b[:n])
	}
	if len(list) != count {
		t.Errorf("%d segments, announced %d", len(list), count)
	}
	return list
}

func payload(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSegmentsAreWhatTheSenderWouldHaveSent(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		data := payload(3000)
		options := []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
		big := tcp{v6: v6, port: 80, seq: 0xfffffff0, ack: 7, flags: tcpACK | tcpPSH | tcpFIN | tcpCWR, window: 500, options: options, payload: data, partial: true}
		got := cut(t, big.header(1200), big.frame())
		for i, part := range [][]byte{data[:1200], data[1200:2400], data[2400:]} {
			one := big
			one.partial, one.payload, one.seq = false, part, big.seq+uint32(1200*i)
			one.flags = tcpACK
			if i == 0 {
				one.flags |= tcpCWR
			}
			if i == 2 {
				one.flags |= tcpPSH | tcpFIN
			}
			want := one.frame()
			if !v6 { // each segment has an identification of its own
				binary.BigEndian.PutUint16(want[ethernetLen+4:], 0x1234+uint16(i))
				want[ethernetLen+10], want[ethernetLen+11] = 0, 0
				put(want[ethernetLen+10:], sum(want[ethernetLen:ethernetLen+ipv4Len], 0))
			}
			if diff := cmp.Diff(want, got[i]); diff != "" {
				t.Errorf("v6 %v, segment %d (-want +got):\n%s", v6, i, diff)
			}
		}
	}
}

func TestChecksumIsCompleted(t *testing.T) {
	half, whole := tcp{port: 1, flags: tcpACK, payload: payload(101), partial: true}, tcp{port: 1, flags: tcpACK, payload: payload(101)}
	h := half.header(0)
	h.GSO = gsoNone
	if got := cut(t, h, half.frame()); len(got) != 1 || !bytes.Equal(got[0], whole.frame()) {
		t.Errorf("%x, want %x", got, whole.frame())
	}
	if got := cut(t, Header{}, whole.frame()); len(got) != 1 || !bytes.Equal(got[0], whole.frame()) {
		t.Errorf("a finished frame became %x", got)
	}
}

func TestFramesThatCannotBeCut(t *testing.T) {
	big := tcp{port: 1, payload: payload(3000)}
	h, frame := big.header(1000), big.frame()
	v6 := big
	v6.v6 = true
	udp := append([]byte(nil), frame...)
	udp[ethernetLen+9] = 17
	long := append([]byte(nil), frame...)
	long[ethernetLen+2] = 0xff
	for name, c := range map[string]struct {
		h     Header
		frame []byte
	}{
		"short":          {Header{}, frame[:13]},
		"no TCP":         {h, udp},
		"another family": {v6.header(1000), frame},
		"no size":        {big.header(0), frame},
		"longer than it": {h, long},
		"checksum out":   {Header{Flags: needsChecksum, ChecksumStart: 3000, ChecksumOffset: 300}, frame},
		"unknown":        {Header{GSO: 5, SegmentSize: 1000}, frame},
	} {
		var s Splitter
		if err := s.Start(c.h, c.frame); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// What was cut and joined again is what it was, and the other way round.
func TestJoinIsTheOppositeOfCut(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		big := tcp{v6: v6, port: 80, seq: 5, flags: tcpACK | tcpPSH, payload: payload(40_000), partial: true}
		h, frame := big.header(1200), big.frame()
		var w written
		j := NewJoiner(&w)
		for _, one := range cut(t, h, frame) {
			if err := j.Add(one); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
		if len(w.frames) != 1 || !bytes.Equal(w.frames[0], frame) || w.headers[0] != h {
			t.Errorf("v6 %v: %d frames, header %+v, want one with %+v, the bytes as they were", v6, len(w.frames), w.headers, h)
		}
	}
}

func TestWhatIsNotJoined(t *testing.T) {
	first := tcp{port: 80, seq: 100, ack: 1, flags: tcpACK, window: 9, payload: payload(500)}
	next := first
	next.seq = 600
	with := func(f func(*tcp)) []byte {
		n := next
		n.payload = append([]byte(nil), n.payload...)
		f(&n)
		return n.frame()
	}
	broken := next.frame()
	broken[len(broken)-1] ^= 1
	brokenIP := next.frame()
	brokenIP[ethernetLen+8]-- // the time to live, and the sum stays
	tos := next.frame()
	tos[ethernetLen+1] = 3
	tos[ethernetLen+10], tos[ethernetLen+11] = 0, 0
	put(tos[ethernetLen+10:], sum(tos[ethernetLen:ethernetLen+ipv4Len], 0))
	for name, c := range map[string]struct {
		frame  []byte
		frames int
	}{
		"next":             {next.frame(), 1},
		"with PSH":         {with(func(n *tcp) { n.flags |= tcpPSH }), 1},
		"shorter":          {with(func(n *tcp) { n.payload = n.payload[:10] }), 1},
		"longer":           {with(func(n *tcp) { n.payload = append(n.payload, 1) }), 2},
		"gap":              {with(func(n *tcp) { n.seq++ }), 2},
		"FIN":              {with(func(n *tcp) { n.flags |= tcpFIN }), 2},
		"CWR":              {with(func(n *tcp) { n.flags |= tcpCWR }), 2},
		"URG":              {with(func(n *tcp) { n.flags |= tcpURG }), 2},
		"other ack":        {with(func(n *tcp) { n.ack++ }), 2},
		"other window":     {with(func(n *tcp) { n.window++ }), 2},
		"options":          {with(func(n *tcp) { n.options = []byte{1, 1, 1, 1} }), 2},
		"empty":            {with(func(n *tcp) { n.payload = nil }), 2},
		"other flow":       {with(func(n *tcp) { n.port++ }), 2},
		"broken":           {broken, 2},
		"broken IP header": {brokenIP, 2},
		"congestion mark":  {tos, 2},
	} {
		var w written
		j := NewJoiner(&w)
		for _, f := range [][]byte{first.frame(), c.frame} {
			if err := j.Add(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
		if len(w.frames) != c.frames {
			t.Errorf("%s: %d frames, want %d", name, len(w.frames), c.frames)
		}
		if c.frames == 2 && (!bytes.Equal(w.frames[0], first.frame()) || !bytes.Equal(w.frames[1], c.frame)) {
			t.Errorf("%s: not the frames, or not in their order", name)
		}
	}
}

// Flows that are mixed up on the way are joined each for itself, and keep their order.
func TestFlowsAreJoinedBesideEachOther(t *testing.T) {
	var w written
	j := NewJoiner(&w)
	const flows, each = maxFlows + 2, 5
	for i := range each {
		for f := range flows {
			one := tcp{v6: f%2 == 1, port: uint16(f), seq: uint32(100 * i), flags: tcpACK, payload: bytes.Repeat([]byte{byte(i)}, 100)}
			if err := j.Add(one.frame()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	streams := make([][]byte, flows)
	for i, f := range w.frames {
		p, ok := parseTCP(f)
		if !ok {
			t.Fatalf("frame %d is no TCP", i)
		}
		flow := binary.BigEndian.Uint16(f[p.tcp+2:])
		streams[flow] = append(streams[flow], f[p.payload:p.end]...)
	}
	for f, s := range streams {
		if len(s) != 100*each || !slicesSorted(s) {
			t.Errorf("flow %d: %d bytes, or out of order", f, len(s))
		}
	}
}

func slicesSorted(b []byte) bool {
	for i := 1; i < len(b); i++ {
		if b[i] < b[i-1] {
			return false
		}
	}
	return true
}

// FuzzCut: whatever the kernel might say, cutting keeps within its frame, and what is cut as TCP has right checksums and all
// the payload.
func FuzzCut(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		big := tcp{v6: v6, port: 80, flags: tcpACK, payload: payload(30), partial: true}
		h := big.header(7)
		b := make([]byte, HeaderLen)
		h.Encode(b)
		f.Add(append(b, big.frame()...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderLen || len(b) > 1<<16 {
			return
		}
		var h Header
		h.Decode(b)
		frame := b[HeaderLen:]
		var s Splitter
		if s.Start(h, frame) != nil {
			return
		}
		var w written
		j := NewJoiner(&w)
		var data []byte
		size, count := s.Size(), 0
		for {
			one := make([]byte, size)
			n := s.Next(one)
			if n == 0 {
				break
			}
			count++
			if p, ok := parseTCP(one[:n]); ok && h.GSO&^gsoECN != gsoNone {
				if !p.checksumsHold(one[:n]) {
					t.Errorf("segment %d has a wrong checksum", count)
				}
				data = append(data, one[p.payload:p.end]...)
			}
			if err := j.Add(one[:n]); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
		if h.GSO&^gsoECN == gsoNone {
			return
		}
		whole, _ := parseTCP(frame)
		if !bytes.Equal(data, frame[whole.payload:whole.end]) {
			t.Errorf("the payload is not what it was")
		}
		var joined []byte
		for _, one := range w.frames {
			p, ok := parseTCP(one)
			if !ok {
				t.Fatal("a joined frame is no TCP")
			}
			joined = append(joined, one[p.payload:p.end]...)
		}
		if !bytes.Equal(joined, data) {
			t.Errorf("the payload is not what it was, once joined")
		}
	})
}

// FuzzJoin: frames of anybody go through unharmed: the same bytes come out, whole or joined.
func FuzzJoin(f *testing.F) {
	one := tcp{port: 80, flags: tcpACK, payload: payload(10)}
	two := one
	two.seq = 10
	f.Add(one.frame(), two.frame())
	f.Add([]byte{1, 2, 3}, one.frame()[:40])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		wantA, wantB := append([]byte(nil), a...), append([]byte(nil), b...)
		var w written
		j := NewJoiner(&w)
		for _, frame := range [][]byte{a, b} {
			if err := j.Add(frame); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
		if len(w.frames) == 2 && !(bytes.Equal(w.frames[0], wantA) && bytes.Equal(w.frames[1], wantB)) &&
			!(bytes.Equal(w.frames[0], wantB) && bytes.Equal(w.frames[1], wantA)) {
			t.Errorf("frames changed")
		}
		if len(w.frames) == 1 && len(w.frames[0]) >= len(wantA)+len(wantB) {
			t.Errorf("joined into more than there was")
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	big := tcp{port: 80, flags: tcpACK, payload: payload(30_000), partial: true}
	h, frame := big.header(1200), big.frame()
	segments := cut(t, h, frame)
	out := make([]byte, 2000)
	var s Splitter
	j := NewJoiner(discard{})
	if n := testing.AllocsPerRun(50, func() {
		if err := s.Start(h, frame); err != nil {
			t.Fatal(err)
		}
		for s.Next(out) > 0 {
		}
		for _, one := range segments {
			if err := j.Add(one); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type discard struct{}

func (discard) WriteFrame(*Header, [][]byte) error { return nil }

func BenchmarkCut(b *testing.B) {
	big := tcp{port: 80, flags: tcpACK, payload: payload(60_000), partial: true}
	h, frame := big.header(1200), big.frame()
	out := make([]byte, 2000)
	var s Splitter
	b.SetBytes(int64(len(big.payload)))
	for b.Loop() {
		if err := s.Start(h, frame); err != nil {
			b.Fatal(err)
		}
		for s.Next(out) > 0 {
		}
	}
}
