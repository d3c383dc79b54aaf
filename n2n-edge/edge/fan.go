package edge

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/peering"
	"sonic-netservices/n2n-edge/edge/udp"
)

// fans are sockets beside the edge's own: those that wait to be found by a peer, and those that were and are its way
// (n2n-edge/edge/peering says what for).
type fans struct {
	ways      atomic.Pointer[map[netip.AddrPort]udp.Socket] // to peers that were; nil: there are none
	listeners sync.WaitGroup

	mu     sync.Mutex // guards what follows
	closed bool
	open   map[netip.AddrPort][]udp.Socket // that wait, by the peer's address
}

// spread opens sockets and sends the message from each.
func (e *Edge) spread(a peering.Fan) {
	for range a.Sockets {
		sock, err := e.doors.Open()
		if err != nil {
			e.log.Warn("open a socket of a fan", "err", err)
			return
		}
		if !e.fans.add(a.To, sock) {
			_ = sock.Close() // nobody is reached by it
			return
		}
		e.fans.listeners.Go(func() { e.listen(sock, a.To) })
		err = e.sealAndSend(bytes.Clone(a.Message), func(b []byte) error {
			return sock.Send([]udp.Burst{{To: a.To, Data: b}})
		})
		if err != nil {
			e.count.drop(dropSend)
			e.log.Debug("send", "err", err)
		}
	}
}

// listen waits for the peer to find a socket. Then it receives by it as by the edge's own, until that is closed.
func (e *Edge) listen(sock udp.Socket, from netip.AddrPort) {
	one := []udp.Received{{Buf: make([]byte, n2n.MaxPacket)}}
	for found := false; !found; {
		if _, err := sock.Receive(one); err != nil {
			return
		}
		found = one[0].From == from && e.receiver.found(sock, &one[0])
	}
	if err := e.receiver.from(sock); !errors.Is(err, udp.ErrClosed) {
		e.log.Warn("receive from a peer found by a fan", "peer", from, "err", err)
	}
}

// found looks whether a packet is the peer's that a fan waits for, and makes its socket the way there before the packet is
// answered.
func (r *receiver) found(sock udp.Socket, come *udp.Received) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = r.open.open(r.list[:0], come)
	registers := slices.ContainsFunc(r.list, func(a arrival) bool {
		return !a.fromSupernode && (a.kind == n2n.TypeRegister || a.kind == n2n.TypeRegisterAck)
	})
	if !registers || !r.e.fans.choose(sock, come.From) {
		return false
	}
	r.all(time.Now(), r.list, come.From)
	return true
}

// add lets a socket wait for a peer. It says no when the peer has found another one by now, and at the end.
func (f *fans) add(to netip.AddrPort, sock udp.Socket) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ways := f.ways.Load(); f.closed || ways != nil && (*ways)[to] != nil {
		return false
	}
	if f.open == nil {
		f.open = map[netip.AddrPort][]udp.Socket{}
	}
	f.open[to] = append(f.open[to], sock)
	return true
}

// choose makes a socket the way to an address and closes the others. It says no to one that is closed already.
func (f *fans) choose(sock udp.Socket, to netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.open[to], sock) {
		return false
	}
	for _, other := range f.open[to] {
		if other != sock {
			_ = other.Close() // nobody is reached by it
		}
	}
	delete(f.open, to)
	f.setWay(to, sock)
	return true
}

// setWay changes the way to an address; nil is the edge's own socket. mu is held.
func (f *fans) setWay(to netip.AddrPort, sock udp.Socket) {
	ways := map[netip.AddrPort]udp.Socket{}
	if had := f.ways.Load(); had != nil {
		maps.Copy(ways, *had)
	}
	ways[to] = sock
	if sock == nil {
		delete(ways, to)
	}
	if len(ways) == 0 {
		f.ways.Store(nil)
		return
	}
	f.ways.Store(&ways)
}

// fold closes all sockets towards an address.
func (f *fans) fold(to netip.AddrPort) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sock := range f.open[to] {
		err = errors.Join(err, sock.Close())
	}
	delete(f.open, to)
	if ways := f.ways.Load(); ways != nil && (*ways)[to] != nil {
		err = errors.Join(err, (*ways)[to].Close())
		f.setWay(to, nil)
	}
	return err
}

// close closes all, for good.
func (f *fans) close() (err error) {
	f.mu.Lock()
	f.closed = true
	all := slices.Collect(maps.Keys(f.open))
	if ways := f.ways.Load(); ways != nil {
		all = slices.AppendSeq(all, maps.Keys(*ways))
	}
	f.mu.Unlock()
	for _, to := range all {
		err = errors.Join(err, f.fold(to))
	}
	return err
}
