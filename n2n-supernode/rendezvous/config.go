package rendezvous

import (
	"net/netip"
	"time"

	"sonic-netservices/internal/n2n"
)

// Config of a supernode. The zero value of a field takes its default, but for MAC.
type Config struct {
	// MAC is how edges and other supernodes tell this one from others. It must not change while edges know it.
	MAC n2n.MAC
	// Version is told to who pings, 19 bytes at most.
	Version string

	// Communities are those of the list. Nil: whoever comes with a name makes a community of it.
	Communities *List

	// Federation is the name that supernodes share, and all that one has to know to become one of them. With "" only
	// Peers and who they name are taken in, under n2n's own name "Federation".
	Federation string
	// AsNtop says that the others are ntop's and have the name by their option -F, which makes the key of another one.
	AsNtop bool
	// Federate says that Peers will be set later.
	Federate bool
	// Peers are the other supernodes to begin with.
	Peers []netip.AddrPort

	// Lifetime is how long an edge is kept after its last REGISTER_SUPER. Edges come each 20 to 30 s; shorter frees
	// addresses sooner, and loses edges whose packets get lost.
	Lifetime time.Duration // 60 s
	// Sweep is how often edges, communities and supernodes are looked through for those that are gone.
	Sweep time.Duration // 30 s
	// Takeover lets another token have a MAC or address when it comes from the same public IP address: a crashed edge
	// that lost its token is back at once. Everyone behind that address can then be everyone else there.
	Takeover bool
	// AnyToken turns off the check of tokens: any edge may take the place of any other.
	AnyToken bool

	// Subnets is the range that communities get their /24 from when edges ask for an address.
	Subnets netip.Prefix // 10.128.0.0/9

	// MaxEdges bounds the edges of all communities, at about 400 bytes each.
	MaxEdges int // 100,000
	// MaxCommunities bounds those that come without a list.
	MaxCommunities int // 1,000
	// Rate is how many messages that need an answer one public IP address may send in a second; ten times as many at
	// once. A thousand edges behind one NAT that restart together pass.
	Rate int // 200

	// Rows keeps account of what Touched gives; without it nobody asks.
	Rows bool

	// Token is what this supernode shows to others. Random, and the same after a restart.
	Token [16]byte
	// Seed makes the hashes of this process unlike those of others. Random.
	Seed uint64
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Lifetime, 60*time.Second)
	set(&c.Sweep, 30*time.Second)
	for _, f := range []struct {
		field *int
		value int
	}{{&c.MaxEdges, 100_000}, {&c.MaxCommunities, 1_000}, {&c.Rate, 200}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if !c.Subnets.IsValid() {
		c.Subnets = netip.MustParsePrefix("10.128.0.0/9")
	}
	return c
}

const (
	// autoBits is the length of the subnet of a community that has none in the list.
	autoBits = 24
	// holdDrawn is how long an address that was drawn waits for its edge to register with it.
	holdDrawn = 30 * time.Second

	peerCheck    = 10 * time.Second  // how often supernodes are looked at
	peerQuiet    = 20 * time.Second  // after this they are registered with again
	peerLost     = 90 * time.Second  // after this nothing is sent to them
	elsewhere    = 180 * time.Second // how long an edge is known to be at another supernode
	maxElsewhere = 100_000

	// ackLifetime is what ntop tells its edges, which do not heed it.
	ackLifetime = 15

	// controlLead is how far the stamps of messages with a strict order are ahead of those of PACKETs. Several readers
	// send at once, and a PACKET of one may overtake a REGISTER of another: edges take PACKETs that are up to 160 ms
	// late, but no REGISTER that is late at all.
	controlLead = 80 * time.Millisecond
)
