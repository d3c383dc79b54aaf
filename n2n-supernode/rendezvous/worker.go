package rendezvous

import (
	"time"

	"sonic-netservices/internal/n2n"
)

// Worker takes packets in, one after the other. Each reader has its own.
type Worker struct {
	m      *Machine
	random n2n.Random
	count  counters
	hints  [256]hint // which community an encrypted header from somewhere was of

	// The packet at hand.
	arrival
	packet   n2n.Packet
	register n2n.Register
	super    n2n.RegisterSuper
	query    n2n.QueryPeer
	info     n2n.PeerInfo
	ack      n2n.RegisterSuperAck
	list     n2n.SupernodeList
}

type hint struct {
	from      Path
	community *community
}

// arrival is what is known of a packet before it is read.
type arrival struct {
	now       time.Time
	from      Path
	bytes     []byte // clear by now
	header    n2n.Header
	community *community // nil: one that does not exist yet, or the federation's
	federal   bool       // of the supernodes' own community
	encrypted bool
	stamp     n2n.Stamp // of an encrypted header
	peer      *peer     // the supernode it comes from, if it says that it comes from one

	// Of a registration in a community with users.
	static  bool // opened with the community's name
	trailer n2n.Trailer
	secret  *n2n.Secret // of its user, who has proved it
}

// Worker makes a worker. Its random numbers are for headers and cookies.
func (m *Machine) Worker(random n2n.Random) *Worker {
	w := &Worker{m: m, random: random}
	m.mu.Lock()
	m.workers = append(m.workers, w)
	m.mu.Unlock()
	return w
}

// Packet takes one packet in; b is overwritten. What is to be sent because of it is added to out. The answer says whether it
// was refused, and has been counted already.
func (w *Worker) Packet(now time.Time, from Path, b []byte, out *Out) Refusal {
	w.count.received.Add(1)
	w.count.receivedBytes.Add(uint64(len(b)))
	w.arrival = arrival{now: now, from: from, bytes: b}
	why := w.take(out)
	if why != accepted {
		w.count.refused[why].Add(1)
	}
	return why
}

func (w *Worker) take(out *Out) Refusal {
	if why := w.open(); why != accepted {
		return why
	}
	if w.header.Flags&n2n.FromSupernode != 0 && !(w.federal && w.header.Type == n2n.TypeRegisterSuper) {
		if w.peer = w.m.federal.peerAt(w.from); w.peer == nil {
			return NotSupernode
		}
		if w.encrypted {
			if err := w.peer.replay.accept(w.stamp, n2n.StampAt(w.now), n2n.OrderOf(w.header.Type)); err != nil {
				return refusalOf(err)
			}
		}
	}
	if w.federal && w.header.Type != n2n.TypeRegisterSuper && w.header.Type != n2n.TypeRegisterSuperAck {
		return NotForUs // supernodes among themselves do nothing but register
	}
	switch w.header.Type {
	case n2n.TypePacket:
		return w.forward(out)
	case n2n.TypeRegister:
		return w.handshake(out)
	case n2n.TypeRegisterSuper, n2n.TypeUnregisterSuper, n2n.TypeQueryPeer, n2n.TypePeerInfo, n2n.TypeRegisterSuperAck, n2n.TypeRegisterSuperNak:
	default:
		return NotForUs
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	switch w.header.Type {
	case n2n.TypeRegisterSuper:
		return w.registerSuper(out)
	case n2n.TypeUnregisterSuper:
		return w.unregisterSuper()
	case n2n.TypeQueryPeer:
		return w.queryPeer(out)
	case n2n.TypePeerInfo:
		return w.peerInfo(out)
	case n2n.TypeRegisterSuperAck:
		return w.supernodeAck(out)
	default:
		return w.supernodeNak(out)
	}
}

// open makes the packet clear and finds out whose it is.
func (w *Worker) open() Refusal {
	if !n2n.IsClear(w.bytes) {
		return w.decrypt()
	}
	var err error
	if w.header, err = n2n.ParseHeader(w.bytes); err != nil {
		return refusalOf(err)
	}
	w.community = (*w.m.communities.Load())[w.header.Community]
	switch {
	case w.community == nil && w.header.Type != n2n.TypeRegisterSuper && w.header.Type != n2n.TypeQueryPeer:
		return UnknownCommunity
	case w.community != nil && !w.community.holds(ClearHeader):
		return WrongHeader
	}
	return accepted
}

// decrypt tries the keys that there are. Who sent from here before is asked first.
func (w *Worker) decrypt() Refusal {
	if len(w.bytes) < n2n.HeaderLen {
		return Refusal(n2n.ReasonShort)
	}
	w.encrypted = true
	why := Refusal(n2n.ReasonKey)
	h := &w.hints[hashPath(w.from)]
	if h.from == w.from && h.community != nil && w.openWith(h.community, &why) {
		return w.opened()
	}
	for _, c := range *w.m.encrypting.Load() {
		if w.openWith(c, &why) {
			*h = hint{w.from, c}
			return w.opened()
		}
	}
	if key := w.m.federal.key; key != nil {
		stamp, _, err := key.Open(w.bytes)
		if err == nil {
			w.federal, w.stamp = true, stamp
			return w.opened()
		}
		why = worse(why, err)
	}
	return why
}

// worse keeps the reason of the key that came nearest.
func worse(why Refusal, err error) Refusal {
	if r := refusalOf(err); r != Refusal(n2n.ReasonKey) {
		return r
	}
	return why
}

// opened reads the header that was encrypted, and refuses what is not of now.
func (w *Worker) opened() Refusal {
	var err error
	if w.header, err = n2n.ParseHeader(w.bytes); err == nil {
		err = n2n.Fresh(w.stamp, n2n.StampAt(w.now))
	}
	return refusalOf(err)
}

func hashPath(p Path) uint8 {
	a := p.Addr.Addr().As16()
	return a[15] ^ a[14]*3 ^ a[13]*5 ^ a[12]*7 ^ uint8(p.Addr.Port()) ^ uint8(p.Addr.Port()>>8)*3
}

// edgeAt gives the edge that mac names, if it is registered at the address the packet comes from, and takes its stamp.
func (w *Worker) edgeAt(mac n2n.MAC) (*edge, Refusal) {
	e := w.community.edges.get(mac)
	switch {
	case e == nil:
		return nil, Unregistered
	case e.to() != w.from:
		return nil, WrongAddress
	}
	return e, w.fresh(e)
}

// fresh refuses replays of what an edge sent.
func (w *Worker) fresh(e *edge) Refusal {
	if !w.encrypted {
		return accepted
	}
	return refusalOf(e.replay.accept(w.stamp, n2n.StampAt(w.now), n2n.OrderOf(w.header.Type)))
}

// headerHere is the kind of header that the packet at hand came with.
func (w *Worker) headerHere() Header {
	if w.encrypted {
		return EncryptedHeader
	}
	return ClearHeader
}

// seal encrypts what was written to out from start on as the packet at hand was.
func (w *Worker) seal(out *Out, start, headerLen int, order n2n.Order) {
	switch {
	case w.federal:
		w.m.federal.key.Seal(out.Bytes[start:], headerLen, w.m.stamps.next(w.now, order), uint32(w.random.Uint64()))
	case w.encrypted:
		key, d := w.community.static, w.community.dynamic.Load()
		if d != nil && !w.static {
			key = d.header
			headerLen = min(headerLen+payloadIV, len(out.Bytes)-start)
		}
		key.Seal(out.Bytes[start:], headerLen, w.m.stamps.next(w.now, order), uint32(w.random.Uint64()))
		if w.static {
			out.Bytes = append(out.Bytes[:start], w.trail(out.Bytes[start:])...)
		}
	}
}

// trail adds the trailer of a registration's answer; without a user it only takes its room.
func (w *Worker) trail(sealed []byte) []byte {
	if w.secret == nil {
		return append(sealed, make([]byte, n2n.TrailerLen)...)
	}
	return w.secret.AppendTrailer(sealed)
}

// payloadIV is how much of a frame's payload is encrypted with the header where there are users.
const payloadIV = 16

// message is what the codec writes.
type message interface{ Append([]byte) []byte }

// reply adds a message, sealed as the packet at hand was, on one way.
func (w *Worker) reply(out *Out, to Path, order n2n.Order, m message) {
	start := len(out.Bytes)
	out.Bytes = m.Append(out.Bytes)
	w.seal(out, start, len(out.Bytes)-start, order)
	out.send(to, start)
}

// ours is the header of a message of this supernode's own.
func (w *Worker) ours() n2n.Header {
	return n2n.Header{TTL: n2n.DefaultTTL, Flags: n2n.FromSupernode, Community: w.header.Community}
}
