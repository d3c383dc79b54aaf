package edge

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/udp"
)

// receiveBatch is how many messages are read at once, of up to 64 KiB each.
const receiveBatch = 16

// receiver brings packets of the sockets to the kernel.
type receiver struct {
	e *Edge

	mu      sync.Mutex // guards what follows: a peer that was found by a fan has a socket of its own, and a goroutine
	open    *opener    // of who has no workers
	list    []arrival
	join    *offload.Joiner
	last    *station
	replays map[netip.AddrPort]*n2n.Replay // of supernodes
}

// incoming is what workers open.
type incoming struct {
	udp.Received
	list []arrival
	open *opener // whose memory the list may lie in, where frames came compressed
}

// receive is the way in, until the socket is closed.
func (e *Edge) receive(ctx context.Context) error {
	if e.cfg.Workers > 0 {
		return e.receiveWithWorkers(ctx)
	}
	err := e.receiver.from(e.doors.Socket)
	if errors.Is(err, udp.ErrClosed) {
		return ctx.Err()
	}
	return err
}

func (e *Edge) newReceiver() (*receiver, error) {
	open, err := e.newOpener()
	if err != nil {
		return nil, err
	}
	r := &receiver{e: e, open: open, replays: map[netip.AddrPort]*n2n.Replay{}}
	r.join = offload.NewJoiner(r)
	return r, nil
}

// from brings what comes by a socket to the kernel, until the socket is closed.
func (r *receiver) from(sock udp.Socket) error {
	come := make([]udp.Received, receiveBatch)
	for i := range come {
		come[i].Buf = make([]byte, udp.MaxReceive)
	}
	for {
		n, err := sock.Receive(come)
		if err != nil {
			return err
		}
		r.take(come[:n])
	}
}

// take opens and delivers what has come at once.
func (r *receiver) take(come []udp.Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.open.grown = r.open.grown[:0]
	for i := range come {
		r.list = r.open.open(r.list[:0], &come[i])
		r.all(now, r.list, come[i].From)
	}
	r.flush()
}

func (r *receiver) all(now time.Time, list []arrival, from netip.AddrPort) {
	for i := range list {
		r.deliver(now, &list[i], from)
	}
}

func (r *receiver) flush() {
	if err := r.join.Flush(); err != nil {
		r.e.log.Debug("to the device", "err", err)
	}
}

// receiveWithWorkers reads, lets workers open what came, and delivers it in the order in which it came.
func (e *Edge) receiveWithWorkers(ctx context.Context) error {
	// A task has an opener of its own, as what was decompressed has to last until the kernel has it.
	openers := make([]*opener, receiveBatch+4*e.cfg.Workers)
	for i := range openers {
		var err error
		if openers[i], err = e.newOpener(); err != nil {
			return err
		}
	}
	next := 0
	l := newLine(len(openers), func() incoming {
		next++
		return incoming{Received: udp.Received{Buf: make([]byte, udp.MaxReceive)}, open: openers[next-1]}
	})
	var all sync.WaitGroup
	for range e.cfg.Workers {
		all.Go(func() {
			l.workOn(func(in *incoming) {
				in.open.grown = in.open.grown[:0]
				in.list = in.open.open(in.list[:0], &in.Received)
			})
		})
	}
	all.Go(func() { e.deliverOpened(l) })
	defer func() { l.close(); all.Wait() }()

	var tasks [receiveBatch]*task[incoming]
	var come [receiveBatch]udp.Received
	for {
		for i := range tasks {
			if tasks[i] == nil {
				tasks[i] = l.take()
				come[i].Buf = tasks[i].of.Buf
			}
		}
		n, err := e.doors.Socket.Receive(come[:])
		switch {
		case errors.Is(err, udp.ErrClosed):
			return ctx.Err()
		case err != nil:
			return err
		}
		for i := range n {
			tasks[i].of.Received = come[i]
			l.give(tasks[i])
			tasks[i] = nil
		}
	}
}

// deliverOpened gives the kernel what workers have opened, and joins as much as has come at once.
func (e *Edge) deliverOpened(l *line[incoming]) {
	r := e.receiver
	var tasks []*task[incoming]
	for t := l.next(true); t != nil; t = l.next(true) {
		r.mu.Lock()
		now := time.Now()
		for ; t != nil; t = l.next(false) {
			r.all(now, t.of.list, t.of.From)
			tasks = append(tasks, t)
			if len(tasks) == receiveBatch/2 {
				break
			}
		}
		r.flush()
		r.mu.Unlock()
		for _, t := range tasks {
			l.back(t)
		}
		tasks = tasks[:0]
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

// fresh says whether a sealed packet is no replay. Only what comes by a peer's own way is remembered: somebody else who knows
// the community's name could stamp ahead of time, and shut the peer out.
func (r *receiver) fresh(now time.Time, a *arrival, from netip.AddrPort, st *station) bool {
	stamp, order := n2n.StampAt(now), n2n.OrderOf(a.kind)
	if a.fromSupernode {
		// A supernode stamps what it passes on. Who only says to be one is not remembered.
		list := r.e.supernodes.Load()
		if list == nil || !slices.Contains(*list, from) {
			return n2n.Fresh(a.stamp, stamp) == nil
		}
		replay := r.replays[from]
		if replay == nil {
			replay = new(n2n.Replay)
			r.replays[from] = replay
		}
		return replay.Accept(a.stamp, stamp, order) == nil
	}
	if src, ok := sourceOf(a.message, a.kind); ok {
		st = r.e.table.find(src)
	}
	if st == nil {
		return n2n.Fresh(a.stamp, stamp) == nil
	}
	if w := st.way.Load(); w == nil || w.to != from {
		return st.replay.Check(a.stamp, stamp, order) == nil
	}
	return st.replay.Accept(a.stamp, stamp, order) == nil
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
