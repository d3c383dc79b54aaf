package rendezvous

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
)

// Machine is a supernode without its sockets.
type Machine struct {
	config  Config
	limit   *limiter
	stamps  stamps
	federal federation
	self    []byte // n2n.Ours, for edges of ours that ping

	// Read without a lock, replaced under it.
	communities atomic.Pointer[map[n2n.Community]*community]
	encrypting  atomic.Pointer[[]*community] // those whose headers may be encrypted, busy ones first

	mu      sync.Mutex
	workers []*Worker
	edges   int // of all communities
	swept   time.Time
	started time.Time
	touched []*edge // whose rows have changed since rows were taken; also of edges that are gone
	keyTime uint32  // second of which the dynamic keys are made
	version uint64  // of State
	kept    uint64
}

// New makes a supernode that knows nobody yet.
func New(c Config, now time.Time) *Machine {
	c = c.withDefaults()
	m := &Machine{config: c, limit: newLimiter(c.Rate), started: now, swept: now, keyTime: uint32(now.Unix()),
		self: (&n2n.Ours{Fast: true}).Append(nil)} // it has large buffers and reads many packets at a time
	m.communities.Store(&map[n2n.Community]*community{})
	m.federal.init(m.config, now)
	if c.Communities != nil {
		m.SetList(c.Communities)
	}
	m.order()
	return m
}

// SetList puts another community file in force. Edges of communities or users that are no longer in it are put out, and all edges of a
// community whose headers are to be others; the rest does not notice.
func (m *Machine) SetList(l *List) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.config.Communities = l
	next := map[n2n.Community]*community{}
	for name, c := range *m.communities.Load() {
		if e, ok := l.entry(name); ok && sameHeaders(e, c.entry) {
			next[name] = c
			m.revise(c, e)
			continue
		}
		for e := range c.edges.all {
			m.drop(e)
		}
	}
	for _, e := range l.Named {
		if next[e.Community] == nil {
			next[e.Community] = m.newCommunity(e, true)
		}
		next[e.Community].named = true
	}
	m.communities.Store(&next)
	m.order()
}

// sameHeaders says whether the edges of a community can go on as they are.
func sameHeaders(a, b Entry) bool {
	return a.Header == b.Header && (len(a.Users) > 0) == (len(b.Users) > 0)
}

// revise gives a community another entry of the same headers.
func (m *Machine) revise(c *community, e Entry) {
	c.named = false
	if e.Subnet != c.entry.Subnet {
		c.subnet = e.Subnet // edges that have an address keep it
	}
	c.entry = e
	if !c.users {
		return
	}
	c.login(m)
	for member := range c.edges.all {
		if user, err := member.auth.User(); err != nil || c.secrets[user] == nil {
			m.drop(member)
		}
	}
}

// community gives the community of a name, made on the fly where nobody has to be asked; nil: nobody may have it. Called
// with the lock.
func (m *Machine) community(name n2n.Community) (*community, Refusal) {
	had := *m.communities.Load()
	if c := had[name]; c != nil {
		return c, accepted
	}
	entry, ok := m.config.Communities.entry(name)
	switch {
	case !ok || name[0] == '*' || name[0] == 0:
		return nil, UnknownCommunity
	case len(had)-m.config.Communities.named() >= m.config.MaxCommunities:
		return nil, Full
	}
	c := m.newCommunity(entry, false)
	next := maps.Clone(had)
	next[name] = c
	m.communities.Store(&next)
	m.order()
	return c, accepted
}

// forget takes a community away whose last edge is gone, if only edges had made it.
func (m *Machine) forget(c *community) {
	if c.edges.live > 0 || len(c.drawn) > 0 || c.elsewhere.len() > 0 {
		return
	}
	c.unsettle()
	if c.named {
		return
	}
	next := maps.Clone(*m.communities.Load())
	delete(next, c.name)
	m.communities.Store(&next)
	m.order()
}

// sorted gives the communities in the order of their names: what leaves does not depend on chance.
func (m *Machine) sorted() []*community {
	return slices.SortedFunc(maps.Values(*m.communities.Load()), func(a, b *community) int { return slices.Compare(a.name[:], b.name[:]) })
}

// order sorts the communities that encrypt by what came for them: an encrypted header is tried with every key.
func (m *Machine) order() {
	var list []*community
	for _, c := range *m.communities.Load() {
		if c.entry.Header != ClearHeader {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *community) int {
		return cmp.Or(cmp.Compare(b.opened.Load(), a.opened.Load()), slices.Compare(a.name[:], b.name[:]))
	})
	m.encrypting.Store(&list)
}

// add shows an edge to the readers of packets, who look at it without a lock: it is complete.
func (m *Machine) add(e *edge) {
	e.community.edges.put(e)
	e.community.members.Store(nil)
	m.edges++
}

// drop takes an edge off.
func (m *Machine) drop(e *edge) {
	m.touch(e)
	e.community.remove(e)
	m.edges--
}

// touch notes that something has changed about an edge that rows and State show.
func (m *Machine) touch(e *edge) {
	m.version++
	if m.config.Rows && !e.touched {
		e.touched = true
		m.touched = append(m.touched, e)
	}
}

// age is how long the machine is there: its edges keep times as such, in a third of the memory.
func (m *Machine) age(now time.Time) time.Duration { return now.Sub(m.started) }

// Tick does what is due: it is to be called each second.
func (m *Machine) Tick(now time.Time, w *Worker, out *Out) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.swept) >= m.config.Sweep {
		m.swept = now
		m.sweep(now)
	}
	m.federal.tick(m, now, w, out)
}

// sweep puts out who has not been heard for long.
func (m *Machine) sweep(now time.Time) {
	for _, c := range *m.communities.Load() {
		for e := range c.edges.all {
			if m.age(now)-e.seen > m.config.Lifetime {
				m.drop(e)
			}
		}
		maps.DeleteFunc(c.drawn, func(_ [4]byte, d draw) bool { return now.After(d.until) })
		c.elsewhere.sweep(now)
		m.forget(c)
	}
	m.order()
}

// stamps are what headers are stamped with: one sequence for messages whose order is strict, one for the others.
type stamps struct {
	control, loose stampSequence
}

// stampSequence is n2n.Stamper for many senders.
type stampSequence struct {
	mu      sync.Mutex
	stamper n2n.Stamper
}

func (s *stampSequence) next(now time.Time) n2n.Stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stamper.Next(now)
}

func (s *stamps) next(now time.Time, order n2n.Order) n2n.Stamp {
	if order == n2n.Ordered {
		return s.control.next(now.Add(controlLead))
	}
	return s.loose.next(now)
}
