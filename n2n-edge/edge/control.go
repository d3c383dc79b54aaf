package edge

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-edge/edge/offload"
	"sonic-netservices/n2n-edge/edge/peering"
	"sonic-netservices/n2n-edge/edge/udp"
)

// tell tells the machine something, and does what it answers.
func (e *Edge) tell(what func(now time.Time)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	what(time.Now())
	e.perform()
}

// perform does what the machine wants until it wants nothing more; mu is held.
func (e *Edge) perform() {
	for actions := e.machine.Take(); len(actions) > 0; actions = e.machine.Take() {
		for _, a := range actions {
			e.do(a)
		}
	}
}

func (e *Edge) do(a peering.Action) {
	switch a := a.(type) {
	case peering.Send:
		if err := e.sendMessage(a); err != nil {
			e.count.drop(dropSend)
			e.log.Debug("send", "err", err)
		}
	case peering.Fan:
		e.spread(a)
	case peering.Fold:
		if err := e.fans.fold(a.To); err != nil {
			e.log.Warn("close a fan", "addr", a.To, "err", err)
		}
	case peering.Route:
		e.route(a)
	case peering.Pace:
		if s := e.table.get(a.MAC); s != nil {
			s.paced.Store(a.On)
		}
	case peering.Relay:
		if a.To.IsValid() {
			e.relay.Store(&way{a.To, a.Fast})
		} else {
			e.relay.Store(nil)
		}
	case peering.Supernodes:
		e.supernodes.Store(&a.Addrs)
	case peering.Assign:
		if err := e.assign(a.Subnet.Prefix()); err != nil {
			e.log.Error("set the address", "err", err)
		}
	case peering.Announce:
		e.announce()
	case peering.Resolve:
		select {
		case e.resolve <- a.Name:
		default: // it is being looked up
		}
	case peering.Rebind:
		if err := e.doors.Socket.Rebind(); err != nil {
			e.log.Error("replace the socket", "err", err)
		}
		e.lookAround(e.machine.Supernode())
	case peering.LookAround:
		e.lookAround(a.Towards)
	case peering.Key:
		e.keys.dynamic.Store(n2n.NewDynamicHeaderKey(e.cfg.community, a.Key))
	case peering.Note:
		e.log.Info(a.Text, a.Of...)
	}
}

// route changes the way to a peer.
func (e *Edge) route(r peering.Route) {
	s := e.table.get(r.MAC)
	switch {
	case s == nil:
	case r.To.IsValid():
		s.way.Store(&way{r.To, r.Fast})
	default:
		s.way.Store(nil)
	}
}

// assign gives the device its address.
func (e *Edge) assign(p netip.Prefix) error {
	if err := e.doors.Device.SetAddress(p); err != nil {
		return err
	}
	e.address.Store(&p)
	e.log.Info("address", "device", e.doors.Device.Name(), "address", p)
	return nil
}

// lookAround tells the machine where this host is.
func (e *Edge) lookAround(towards netip.AddrPort) {
	if !towards.IsValid() {
		return
	}
	source, err := e.doors.Socket.Source(towards)
	if err != nil {
		e.log.Debug("no way to the supernode", "err", err)
		return
	}
	addrs, err := e.doors.Host.Addrs()
	if err != nil {
		e.log.Warn("addresses of the host", "err", err)
	}
	if i := slices.Index(addrs, source); i > 0 { // the most likely to be of use
		addrs[0], addrs[i] = addrs[i], addrs[0]
	}
	e.machine.Local(time.Now(), source, addrs, e.doors.Socket.Port())
}

// transmit sends bursts by the sockets that their receivers are reached by.
func (e *Edge) transmit(bursts []udp.Burst) error {
	ways := e.fans.ways.Load()
	if ways == nil {
		return e.doors.Socket.Send(bursts)
	}
	var first error
	for n := 0; n < len(bursts); bursts = bursts[n:] {
		sock := e.socketTo(*ways, bursts[0].To)
		for n = 1; n < len(bursts) && e.socketTo(*ways, bursts[n].To) == sock; n++ {
		}
		if err := sock.Send(bursts[:n]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (e *Edge) socketTo(ways map[netip.AddrPort]udp.Socket, to netip.AddrPort) udp.Socket {
	if sock := ways[to]; sock != nil {
		return sock
	}
	return e.doors.Socket
}

// sendMessage seals and sends a control message.
func (e *Edge) sendMessage(a peering.Send) error {
	return e.sealAndSend(a.Message, func(b []byte) error {
		return e.transmit([]udp.Burst{{To: a.To, Data: b, TTL: a.TTL}})
	})
}

// sealAndSend encrypts a control message in place and has it sent, before a later one is stamped.
func (e *Edge) sealAndSend(b []byte, send func([]byte) error) error {
	if e.keys == nil {
		return send(b)
	}
	h, err := n2n.ParseHeader(b)
	if err != nil {
		return err
	}
	key, registers := e.keys.static, h.Type == n2n.TypeRegisterSuper
	if e.keys.secret != nil && !registers {
		if key = e.keys.dynamic.Load(); key == nil {
			return nil // it may not be said before the login
		}
	}
	e.keys.mu.Lock()
	defer e.keys.mu.Unlock()
	key.Seal(b, len(b), e.keys.stamper.Next(time.Now()), uint32(e.own.random.Uint64()))
	if e.keys.secret != nil && registers {
		b = e.keys.secret.AppendTrailer(b)
	}
	return send(b)
}

// announce tells everybody that this MAC has this address, by two gratuitous ARP replies: others find us by them.
func (e *Edge) announce() {
	p := e.address.Load()
	relay := e.relay.Load()
	if p == nil || relay == nil {
		return
	}
	ip := p.Addr().As4()
	frame := make([]byte, 0, 60)
	frame = append(frame, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	frame = append(frame, e.mac[:]...)
	frame = append(frame, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4)
	frame = binary.BigEndian.AppendUint16(frame, 2) // reply
	for range 2 {
		frame = append(append(frame, e.mac[:]...), ip[:]...)
	}
	for range 2 {
		if e.own.split.Start(offload.Header{}, frame) == nil {
			e.own.seal(time.Now(), e.ownOut, n2n.MAC(frame[:6]), relay.to)
		}
	}
	if err := e.transmit(e.ownOut.bursts); err != nil {
		e.log.Debug("announce", "err", err)
	}
	e.ownOut.reset()
}
