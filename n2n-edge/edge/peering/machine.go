// Package peering decides for an edge: at which supernode it registers, which way goes to each peer, and what to send to
// find a better one.
//
// It is a value machine: messages, the traffic that was seen and the time come in, actions come out. It has no socket, no
// clock and no goroutine. It is told by n2n-edge/edge, which does what the actions say; testdata/*.txt are its rules.
//
//	           PACKET by supernode, PEER_INFO,
//	           forwarded REGISTER                 REGISTER_ACK
//	(nobody) ─────────────────────────▶ punching ─────────────▶ direct
//	    ▲                                │    ▲                   │
//	    └── 60 s without a word ─────────┘    └── 10 s of silence ┘
//
// Frames go by the supernode until a peer is direct.
package peering

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"sonic-netservices/internal/n2n"
)

// Config is who the edge is and how it behaves.
type Config struct {
	Community n2n.Community
	MAC       n2n.MAC
	Desc      n2n.Desc
	Subnet    n2n.Subnet     // zero: the supernode chooses
	Token     n2n.Auth       // what supernodes know the edge by, in communities without users
	User      n2n.PublicKey  // who the edge is, in communities with users
	Secret    *n2n.Secret    // shared with their supernodes; nil: there are no users
	Preferred netip.AddrPort // an address that peers shall try first, told to everybody
	Interval  time.Duration  // between registrations
	Relayed   bool           // never straight to peers
	Ports     int            // ports guessed beyond the one a peer was seen at, where a NAT changes them
	Fan       int            // sockets opened towards a peer, from behind a NAT that draws ports by chance; 0: none
	Draws     int            // ports drawn of such a peer; 0: none
	Rate      int            // packets a second that fans and draws may cost
}

const (
	retry      = 3 * time.Second  // a registration without an answer
	attempts   = 3                // registrations without an answer before the next supernode
	bootstrap  = 3 * time.Second  // for pongs, before the first registration
	sweep      = 30 * time.Second // pings of all supernodes
	silence    = 10 * time.Second // of a direct peer, before frames go by the supernode again
	keepalive  = 4 * time.Second  // of silence, before a direct peer in use is asked whether it is there
	forget     = 60 * time.Second // a peer that nothing was heard of
	forgetPong = 90 * time.Second // a supernode that answers no more
	resolve    = 300 * time.Second
	rebindAt   = 15 // registrations without an answer before the socket is replaced

	maxPeers      = 1 << 16
	maxStrangers  = 1024 // peers that were never direct: anybody may send a name
	maxSupernodes = 64
)

// Random is where cookies come from.
type Random interface{ Uint64() uint64 }

// Machine is the edge's knowledge.
type Machine struct {
	cfg    Config
	random Random
	header n2n.Header
	out    []Action

	names      []string // of supernodes, as configured
	resolvedAt time.Time
	supernodes []*supernode // in the order in which they were learnt
	current    *supernode
	registered bool
	relayed    netip.AddrPort // by whom frames without a straight way go
	waiting    bool
	cookie     uint32
	challenge  n2n.Challenge
	dynamic    n2n.DynamicKey
	tries      int // registrations at the current supernode without an answer
	misses     int // in all, since the last answer
	nextTry    time.Time
	sentAt     time.Time
	sweepAt    time.Time
	started    time.Time
	announced  bool
	subnet     n2n.Subnet
	refused    string // why the supernode said no

	local    netip.AddrPort // where the system sends from, towards the current supernode
	looped   bool           // that is the overlay
	addrs    []netip.Addr   // of this host
	port     uint16
	fullCone bool // somebody got in whom we had not sent to

	peers     map[n2n.MAC]*peer
	strangers int
	fanned    *peer     // towards whom there is a fan whose end is open
	tickedAt  time.Time // what fans and draws may cost is counted from there
	budget    int       // packets that they may cost until the next tick
	toldNAT   n2n.NAT   // what peers were told
	purgeAt   time.Time
	Counts    Counts
}

// Counts are messages that changed nothing, by the reason.
type Counts struct {
	Community uint64 // of another one
	Stranger  uint64 // says it is from a supernode and is not
	Cookie    uint64 // answers a question that was not asked
	NotForUs  uint64
	Loop      uint64 // would lead through the overlay itself
	Full      uint64 // no room for another peer
	Malformed [n2n.Reasons]uint64
}

// New makes an edge that knows the names of its supernodes, nothing else.
func New(cfg Config, supernodes []string, random Random) *Machine {
	return &Machine{cfg: cfg, random: random, names: supernodes, subnet: cfg.Subnet, peers: map[n2n.MAC]*peer{},
		header: n2n.Header{TTL: n2n.DefaultTTL, Community: cfg.Community}}
}

// Take gives the actions since the last call, in their order.
func (m *Machine) Take() []Action {
	out := m.out
	m.out = nil
	return out
}

func (m *Machine) do(a Action) { m.out = append(m.out, a) }

func (m *Machine) note(text string, of ...any) { m.do(Note{text, of}) }

// Start begins: it asks for the supernodes' addresses.
func (m *Machine) Start(now time.Time) {
	m.started, m.sweepAt, m.purgeAt = now, now.Add(sweep), now
	m.lookUp(now)
}

func (m *Machine) lookUp(now time.Time) {
	m.resolvedAt = now
	for _, name := range m.names {
		m.do(Resolve{name})
	}
}

// Tick lets time pass. Call it a few times a second.
func (m *Machine) Tick(now time.Time) {
	if now.Sub(m.resolvedAt) >= resolve {
		m.lookUp(now)
	}
	m.tickSupernodes(now)
	m.tellNAT(now)
	m.budget = m.cfg.Rate * int(min(now.Sub(m.tickedAt), time.Second/2)/time.Millisecond) / 1000
	m.tickedAt = now
	m.tickPeers(now)
}

// Local says where the edge is: the address the system sends from towards the current supernode, all addresses of the host,
// and the socket's port. When that changed, everybody has to hear it.
func (m *Machine) Local(now time.Time, source netip.Addr, addrs []netip.Addr, port uint16) {
	m.addrs, m.port = addrs, port
	local := netip.AddrPortFrom(source, port)
	if local == m.local {
		return
	}
	if m.looped = m.inOverlay(source); m.looped {
		m.note("a route leads to the supernode through the overlay itself", "from", local)
	}
	moved := m.local.IsValid() && m.local.Addr().IsValid()
	m.local, m.fullCone = local, false
	for _, s := range m.supernodes {
		s.public = netip.AddrPort{}
	}
	if moved {
		m.note("the underlay changed", "local", local)
		m.startOver(now)
	}
}

// Changed says that addresses or routes of the host have changed.
func (m *Machine) Changed(now time.Time) {
	m.do(LookAround{m.currentAddr()})
	if !m.registered {
		m.lookUp(now)
		m.nextTry = now
	}
}

// startOver registers at once and finds the ways to all peers anew.
func (m *Machine) startOver(now time.Time) {
	m.tries, m.nextTry, m.sweepAt = 0, now, now
	for _, mac := range m.sortedPeers() {
		p := m.peers[mac]
		m.loseDirect(p)
		m.fold(p)
		if p.public.IsValid() {
			m.punch(now, p)
		}
	}
	m.tickSupernodes(now)
}

// Stop says goodbye.
func (m *Machine) Stop(time.Time) {
	if m.current == nil || !m.registered {
		return
	}
	m.leave()
}

func (m *Machine) send(to netip.AddrPort, message []byte) { m.do(Send{To: to, Message: message}) }

// auth proves who the edge is. Each login has a challenge of its own.
func (m *Machine) auth() n2n.Auth {
	if m.cfg.Secret == nil {
		return m.cfg.Token
	}
	binary.LittleEndian.PutUint64(m.challenge[:], m.random.Uint64())
	binary.LittleEndian.PutUint64(m.challenge[8:], m.random.Uint64())
	return m.cfg.Secret.Login(m.cfg.User, m.challenge)
}

// inside says whether an address is of the overlay itself, or one that nobody else can reach: packets to it would go round
// in circles.
func (m *Machine) inside(a netip.AddrPort) bool {
	ip := a.Addr().Unmap()
	return !ip.IsValid() || a.Port() == 0 || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || m.inOverlay(ip)
}

func (m *Machine) inOverlay(ip netip.Addr) bool {
	return m.subnet.Bits > 0 && ip.Is4() && m.subnet.Prefix().Masked().Contains(ip)
}

// acceptable is inside for addresses that others tell us: a loopback of theirs is not ours.
func (m *Machine) acceptable(a netip.AddrPort) bool {
	if m.inside(a) || a.Addr().Unmap().IsLoopback() {
		return false
	}
	own := a.Port() == m.port && slices.Contains(m.addrs, a.Addr().Unmap())
	return !own
}

// ours is what peers of our own make read behind REGISTER and REGISTER_ACK. p is nil where it is for a supernode.
func (m *Machine) ours(p *peer) []byte {
	o := n2n.Ours{Fast: true, NAT: m.NAT(), Draws: m.cfg.Draws > 0 && !m.cfg.Relayed, Fan: p != nil && p == m.fanned}
	if !m.cfg.Relayed {
		for _, a := range m.addrs {
			if at := netip.AddrPortFrom(a, m.port); !m.inside(at) && !a.IsLoopback() {
				o.AddAddr(at)
			}
		}
	}
	return o.Append(nil)
}
