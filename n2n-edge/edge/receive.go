package edge

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/udp"
)

// receiveBatch is how many messages are read at once, of up to 64 KiB each.
const receiveBatch = 16

// receiver brings packets of the socket to the kernel.
type receiver struct {
	e       *Edge
	join    *offload.Joiner
	last    *station
	replays map[netip.AddrPort]*n2n.Replay // of supernodes
}

// receive is the way in, until the socket is closed.
func (e *Edge) receive(ctx context.Context) error {
	open, err := e.newOpener()
	if err != nil {
		return err
	}
	r := &receiver{e: e, replays: map[netip.AddrPort]*n2n.Replay{}}
	r.join = offload.NewJoiner(r)
	come := make([]udp.Received, receiveBatch)
	for i := range come {
		come[i].Buf = make([]byte, udp.MaxReceive)
	}
	var list []arrival
	for {
		n, err := e.doors.Socket.Receive(come)
		switch {
		case errors.Is(err, udp.ErrClosed):
			return ctx.Err()
		case err != nil:
			return err
		}
		now := time.Now()
		open.grown = open.grown[:0]
		for i := range come[:n] {
			list = open.open(list[:0], &come[i])
			for k := range list {
				r.deliver(now, &list[k], come[i].From)
			}
		}
		if err := r.join.Flush(); err != nil {
			e.log.Debug("to the device", "err", err)
		}
	}
}

// deliver takes an opened packet, in the order in which they came.
func (r *receiver) deliver(now time.Time, a *arrival, from netip.AddrPort) {
	e := r.e
	if a.fromSupernode {
		if list := e.supernodes.Load(); a.frame != nil && (list == nil || !slices.Contains(*list, from)) {
			e.count.drop(dropStranger)
			return
		}
	}
	if a.message != nil {
		if a.sealed && !r.fresh(now, a, from, nil) {
			e.count.drop(dropReplay)
			return
		}
		e.mu.Lock()
		e.machine.Message(now, from, a.message)
		e.perform()
		e.mu.Unlock()
		return
	}
	st := r.last
	if st == nil || st.mac != a.src {
		st = e.table.get(a.src)
		r.last = st
	}
	if a.sealed && !r.fresh(now, a, from, st) {
		e.count.drop(dropReplay)
		return
	}
	if st != nil {
		r.note(now, a, from, st)
	}
	if !e.mayEnter(a.frame) {
		e.count.drop(dropFiltered)
		return
	}
	if err := r.join.Add(a.frame); err != nil {
		e.log.Debug("to the device", "err", err)
	}
}

// note counts a frame, and tells the machine now and then which way they come.
func (r *receiver) note(now time.Time, a *arrival, from netip.AddrPort, st *station) {
	st.ReceivedBytes.Add(uint64(len(a.frame)))
	tell := due(&st.heard, now)
	if a.fromSupernode {
		st.ReceivedRelay.Add(1)
		if tell || a.sock != st.sock {
			st.sock = a.sock
			src, sock := a.src, a.sock
			r.e.tell(func(now time.Time) { r.e.machine.Relayed(now, src, sock) })
		}
		return
	}
	st.ReceivedDirect.Add(1)
	if tell {
		src := a.src
		r.e.tell(func(now time.Time) { r.e.machine.Heard(now, src, from) })
	}
}

// fresh says whether a sealed packet is no replay.
func (r *receiver) fresh(now time.Time, a *arrival, from netip.AddrPort, st *station) bool {
	replay, order := (*n2n.Replay)(nil), n2n.OrderOf(a.kind)
	switch {
	case a.fromSupernode:
		// A supernode stamps what it passes on. Who only says to be one is not remembered.
		if list := r.e.supernodes.Load(); list != nil && slices.Contains(*list, from) {
			if replay = r.replays[from]; replay == nil {
				replay = new(n2n.Replay)
				r.replays[from] = replay
			}
		}
	case st != nil:
		replay = &st.replay
	default:
		if src, ok := sourceOf(a.message, a.kind); ok {
			if s := r.e.table.find(src); s != nil {
				replay = &s.replay
			}
		}
	}
	if replay == nil {
		return n2n.Fresh(a.stamp, n2n.StampAt(now)) == nil
	}
	return replay.Accept(a.stamp, n2n.StampAt(now), order) == nil
}

// sourceOf gives the edge that sent a message straight.
func sourceOf(b []byte, kind n2n.Type) (n2n.MAC, bool) {
	switch kind {
	case n2n.TypeRegister:
		var m n2n.Register
		err := m.Decode(b)
		return m.Src, err == nil
	case n2n.TypeRegisterAck:
		var m n2n.RegisterAck
		err := m.Decode(b)
		return m.Src, err == nil
	}
	return n2n.MAC{}, false
}

// WriteFrame gives a joined frame to the kernel.
func (r *receiver) WriteFrame(h *offload.Header, pieces [][]byte) error {
	r.e.count.written.Add(1)
	err := r.e.doors.Device.WriteFrame(h, pieces)
	if err != nil {
		r.e.count.drop(dropTAP)
	}
	return err
}
