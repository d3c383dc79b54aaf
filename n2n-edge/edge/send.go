package edge

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/tap"
	"sonic-netservices/n2n-edge/edge/udp"
)

// flushAt is how many bytes wait for company before they are sent. The receiver can begin while the next ones are made.
const flushAt = 1 << 16

// sender brings frames of the kernel to the socket.
type sender struct {
	e      *Edge
	seal   *sealer
	out    *batch
	paced  bool // something waits in the pacer
	last   *station
	relays []netip.AddrPort

	line *line[outgoing] // nil: no workers
	now  *task[outgoing] // what the frame was read into
	gone bool            // it was given to the workers
}

// outgoing is a frame that workers make packets of.
type outgoing struct {
	buf   []byte
	h     offload.Header
	frame []byte
	dst   n2n.MAC
	to    netip.AddrPort
	batch *batch
}

// send is the way out, until the device is closed.
func (e *Edge) send(ctx context.Context) error {
	seal, err := e.newSealer()
	if err != nil {
		return err
	}
	s := &sender{e: e, seal: seal, out: newBatch()}
	buf := make([]byte, tap.MaxFrame)
	if e.cfg.Workers > 0 {
		end, err := s.hire()
		if err != nil {
			return err
		}
		defer end()
		s.now = s.line.take()
		buf = s.now.of.buf
	}
	for {
		n, err := e.doors.Device.Read(buf, false)
		if err == nil && n == 0 {
			s.flush()
			n, err = e.doors.Device.Read(buf, true)
		}
		switch {
		case errors.Is(err, tap.ErrClosed):
			return ctx.Err()
		case err != nil:
			return err
		case n < offload.HeaderLen+14:
			e.count.drop(dropFrame)
			continue
		}
		e.count.read.Add(1)
		var h offload.Header
		h.Decode(buf)
		s.frame(h, buf[offload.HeaderLen:n])
		if len(s.out.out) >= flushAt {
			s.flush()
		}
		if s.gone {
			s.line.give(s.now)
			s.now, s.gone = s.line.take(), false
			buf = s.now.of.buf
		}
	}
}

// hire starts workers that seal, and one that sends what they have made. The end waits for them.
func (s *sender) hire() (end func(), err error) {
	e := s.e
	s.line = newLine(4*e.cfg.Workers, func() outgoing { return outgoing{buf: make([]byte, tap.MaxFrame), batch: newBatch()} })
	var all sync.WaitGroup
	for range e.cfg.Workers {
		seal, err := e.newSealer()
		if err != nil {
			s.line.close()
			return nil, err
		}
		all.Go(func() {
			s.line.workOn(func(o *outgoing) {
				if seal.split.Start(o.h, o.frame) == nil {
					seal.seal(time.Now(), o.batch, o.dst, o.to)
				}
			})
		})
	}
	all.Go(func() { e.sendMade(s.line) })
	return func() { s.line.close(); all.Wait() }, nil
}

// sendMade sends what workers have made, in order, as much as there is at once.
func (e *Edge) sendMade(l *line[outgoing]) {
	var tasks []*task[outgoing]
	var bursts []udp.Burst
	for t := l.next(true); t != nil; t = l.next(true) {
		for ; t != nil; t = l.next(false) {
			tasks, bursts = append(tasks, t), append(bursts, t.of.batch.bursts...)
			if len(bursts) >= udp.MaxSegments {
				break
			}
		}
		if err := e.transmit(bursts); err != nil {
			e.count.drop(dropSend)
			e.log.Debug("send", "err", err)
		}
		for _, t := range tasks {
			t.of.batch.reset()
			l.back(t)
		}
		tasks, bursts = tasks[:0], bursts[:0]
	}
}

// frame sends one frame of the kernel.
func (s *sender) frame(h offload.Header, frame []byte) {
	e := s.e
	dst := n2n.MAC(frame[:6])
	if !e.mayLeave(frame, dst) {
		e.count.drop(dropFiltered)
		return
	}
	if e.isOwn(frame) {
		e.count.drop(dropLoop)
		return
	}
	now := time.Now()
	relay := e.relay.Load()
	if dst.IsBroadcast() {
		if relay != nil {
			s.to(now, h, frame, dst, nil, relay.to, relay.fast)
			return
		}
		s.relays = s.relays[:0]
		e.table.direct(func(w *way) { s.relays = append(s.relays, w.to) })
		for _, to := range s.relays {
			s.to(now, h, frame, dst, nil, to, false)
		}
		return
	}
	st := s.last
	if st == nil || st.mac != dst {
		st = e.table.get(dst)
		s.last = st
	}
	var w *way
	if st != nil {
		if due(&st.told, now) {
			e.tell(func(now time.Time) { e.machine.Wanted(now, dst) })
		}
		w = st.way.Load()
	}
	switch {
	case w != nil:
		s.to(now, h, frame, dst, st, w.to, w.fast)
	case relay != nil:
		s.to(now, h, frame, dst, st, relay.to, relay.fast && (st == nil || !st.paced.Load()))
	default:
		e.count.drop(dropNoWay)
	}
}

// to makes packets of a frame, for one address.
func (s *sender) to(now time.Time, h offload.Header, frame []byte, dst n2n.MAC, st *station, to netip.AddrPort, fast bool) {
	e := s.e
	if !e.ready() {
		e.count.drop(dropNoWay)
		return
	}
	if err := s.seal.split.Start(h, frame); err != nil {
		e.count.drop(dropFrame)
		return
	}
	var n int
	if fast && s.now != nil && st != nil {
		// All that goes to a peer goes this way, so that it keeps its order.
		o := &s.now.of
		o.h, o.frame, o.dst, o.to = h, frame, dst, to
		s.gone, n = true, s.seal.split.Count()
	} else if count := s.seal.split.Count(); fast || e.pacer.direct(now, count, count*s.seal.split.Size()) {
		if !s.seal.fits(s.out) {
			s.flush()
		}
		n = s.seal.seal(now, s.out, dst, to)
	} else if n = s.pace(now, dst, to); n == 0 {
		e.count.drop(dropPace)
	}
	e.count.sent.Add(uint64(n))
	if st == nil {
		return
	}
	st.SentBytes.Add(uint64(len(frame)))
	if w := st.way.Load(); w != nil && w.to == to {
		st.SentDirect.Add(uint64(n))
	} else {
		st.SentRelay.Add(uint64(n))
	}
}

// pace leaves a frame to the pacer.
func (s *sender) pace(now time.Time, dst n2n.MAC, to netip.AddrPort) int {
	p := s.e.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.room(s.seal)
	if b == nil {
		return 0
	}
	s.paced = true
	return s.seal.seal(now, b, dst, to)
}

// flush sends what has been made.
func (s *sender) flush() {
	if len(s.out.bursts) > 0 {
		if err := s.e.transmit(s.out.bursts); err != nil {
			s.e.count.drop(dropSend)
			s.e.log.Debug("send", "err", err)
		}
		s.out.reset()
	}
	if s.paced {
		s.paced = false
		s.e.pacer.ring()
	}
}

// mayLeave says whether a frame is of this host: an edge is no router, unless it was told to be one.
func (e *Edge) mayLeave(frame []byte, dst n2n.MAC) bool {
	if dst[0]&1 == 1 && !e.cfg.Multicast && dst != (n2n.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
		return false
	}
	p := e.address.Load()
	if e.cfg.Routing || p == nil || !isIPv4(frame) {
		return true
	}
	return netip.AddrFrom4([4]byte(frame[26:])) == p.Addr()
}

// isOwn says whether a frame is a packet of this edge: from its address and its port. Each one that went on would come back as
// another.
func (e *Edge) isOwn(frame []byte) bool {
	if !isIPv4(frame) || len(frame) < 42 || frame[23] != 17 || binary.BigEndian.Uint16(frame[34:]) != e.doors.Socket.Port() {
		return false
	}
	p := e.address.Load()
	return p != nil && frame[14] == 0x45 && binary.BigEndian.Uint16(frame[20:])&0x1fff == 0 && netip.AddrFrom4([4]byte(frame[26:])) == p.Addr()
}

// mayEnter says whether a frame is for this host.
func (e *Edge) mayEnter(frame []byte) bool {
	if frame[0]&1 == 1 {
		return e.cfg.Multicast || n2n.MAC(frame) == n2n.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	p := e.address.Load()
	if e.cfg.Routing || p == nil || !isIPv4(frame) {
		return true
	}
	return netip.AddrFrom4([4]byte(frame[30:])) == p.Addr()
}

func isIPv4(frame []byte) bool { return len(frame) >= 34 && frame[12] == 0x08 && frame[13] == 0 }
