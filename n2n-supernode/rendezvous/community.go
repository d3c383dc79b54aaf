package rendezvous

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
)

// community is the edges of one name.
type community struct {
	name  n2n.Community
	entry Entry
	named bool // in the list: it stays without edges

	edges   index
	members atomic.Pointer[[]*edge] // for broadcasts; nil: to be made again
	header  atomic.Uint32           // Header that its edges have; EitherHeader as long as there is none
	static  *n2n.HeaderKey

	byAddress map[[4]byte]*edge
	elsewhere places           // edges at other supernodes
	drawn     map[[4]byte]draw // addresses that wait for their edge
	subnet    netip.Prefix     // where addresses come from; invalid until the first is asked for
	opened    atomic.Uint64    // encrypted packets, to try busy communities first

	users   bool                          // only they may register, by password
	secrets map[n2n.PublicKey]*n2n.Secret // of its users
	dynamic atomic.Pointer[dynamic]       // nil: it has no users
}

// draw is an address given to who has no device yet.
type draw struct {
	desc  n2n.Desc
	from  netip.Addr
	until time.Time
}

func (m *Machine) newCommunity(e Entry, named bool) *community {
	c := &community{name: e.Community, entry: e, named: named, static: n2n.NewHeaderKey(e.Community),
		byAddress: map[[4]byte]*edge{}, drawn: map[[4]byte]draw{}, subnet: e.Subnet}
	c.edges.seed = m.config.Seed
	c.header.Store(uint32(e.Header))
	if c.users = len(e.Users) > 0; c.users {
		c.login(m)
		c.rekey(m)
	}
	return c
}

// setSubnet gives an edge its address inside the overlay.
func (c *community) setSubnet(e *edge, s n2n.Subnet) {
	if c.byAddress[e.subnet.Addr] == e {
		delete(c.byAddress, e.subnet.Addr)
	}
	e.subnet = s
	if !s.WantsAddress() {
		c.byAddress[s.Addr] = e
		delete(c.drawn, s.Addr)
	}
}

// remove takes an edge out of all tables.
func (c *community) remove(e *edge) {
	c.edges.remove(e)
	c.setSubnet(e, n2n.Subnet{})
	c.members.Store(nil)
}

// holds says whether headers of this kind are taken.
func (c *community) holds(h Header) bool {
	had := Header(c.header.Load())
	return had == EitherHeader || had == h
}

// settle makes the first edge's kind of header that of the community, unless the list has said it.
func (c *community) settle(h Header) {
	if c.header.Load() == uint32(EitherHeader) {
		c.header.Store(uint32(h))
	}
}

// unsettle forgets it when the last edge is gone.
func (c *community) unsettle() { c.header.Store(uint32(c.entry.Header)) }
