package orders

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// Manager carries out what State decides: it stores records, talks to agents, and runs one goroutine per operation in
// flight. Its state is the same on every manager of the AS (journal.Machine); it decides and gives orders only while it
// leads (Run). Its methods may be called from several goroutines.
type Manager struct {
	config Config
	images *images.Store
	agents *agents
	log    journal.Log    // from Run on
	work   sync.WaitGroup // of operations

	deciding sync.Mutex // held from a look at the state until the records that follow from it count

	mu      sync.Mutex // guards all below; never held while records are stored
	state   *State
	changed chan struct{} // closed, and replaced, when state, here or leads changed

	// Of the time in which this manager leads, empty otherwise.
	leads   bool
	ctx     context.Context
	here    map[string]session   // by node: agents whose Join stream is open
	gone    map[string]bool      // by node: agents that were here since this manager leads, and are not
	joins   int                  // streams opened so far
	feeds   map[string]*Feed     // by ID: operations in flight
	waiting map[string]*Feed     // by replica: deployments that the trees have not placed yet
	renewed map[string]time.Time // by node: newest answer to a renewal of leases
	started time.Time
}

// Config of a Manager.
type Config struct {
	Segment  netip.Prefix // gateway and length of the service segment; zero when unknown
	Segment6 netip.Prefix // the same for IPv6; zero when it has none
	Trees    bool         // behaviour trees place what lasts
	AS       string       // of a cluster that this manager founds
	Anew     bool         // it takes the place of one that is given up
}

// session is one open Join stream.
type session struct {
	number  int // of the stream; a newer one replaces it
	address string
}

// New gives a manager that knows nothing yet and does not lead.
func New(c Config, store *images.Store, id *pki.Identity) *Manager {
	m := &Manager{config: c, images: store, agents: newAgents(id), state: NewState(), changed: make(chan struct{})}
	m.empty()
	return m
}

// empty forgets what only a leader has. The caller holds mu, or nobody else has the manager yet.
func (m *Manager) empty() {
	m.leads, m.ctx, m.started = false, nil, time.Time{}
	m.here, m.gone = map[string]session{}, map[string]bool{}
	m.feeds, m.waiting, m.renewed = map[string]*Feed{}, map[string]*Feed{}, map[string]time.Time{}
}

// command runs one of State's commands and begins the operations it gives.
func (m *Manager) command(look func(World) ([]Record, error)) (feeds []*Feed, err error) {
	err = m.decide(
		func() ([]Record, error) { return look(m.world()) },
		func(records []Record) {
			for _, r := range records {
				switch {
				case r.Kind == Begun:
					feeds = append(feeds, m.begin(r.Op.ID))
				case r.Kind == Desired && r.Desire.Lasts:
					feeds = append(feeds, m.await(r)...)
				case r.Kind == Forgotten:
					m.unwait(r.ID)
				}
			}
		})
	return feeds, err
}

// world is what a command sees now. The caller holds mu.
func (m *Manager) world() World {
	w := World{At: time.Now(), Here: map[string]bool{}, Segment: m.config.Segment, Segment6: m.config.Segment6, NewID: newID, Trees: m.config.Trees}
	for node := range m.here {
		w.Here[node] = true
	}
	return w
}

// await makes the feeds of a service whose replicas the trees will place. The caller holds mu.
func (m *Manager) await(desired Record) (feeds []*Feed) {
	wanted, err := spec.Parse("journal", []byte(desired.Desire.Spec))
	if err != nil { // the state has parsed it a moment ago
		return nil
	}
	for n := range wanted.Replicas {
		feed := newFeed()
		m.waiting[netmap.ReplicaID{Service: wanted.Name, Replica: n}.String()] = feed
		feeds = append(feeds, feed)
	}
	return feeds
}

// unwait ends the feeds of a service that is not wanted any more. The caller holds mu.
func (m *Manager) unwait(service string) {
	for name, feed := range m.waiting {
		if id, err := netmap.ParseReplicaID(name); err == nil && id.Service == service {
			delete(m.waiting, name)
			feed.end(nil, End{Code: codes.Aborted, Error: service + " was removed before it ran"})
		}
	}
}

// newID names an operation: unique beyond the life of a journal, short enough to be typed.
func newID() string { return strings.ToLower(rand.Text()[:12]) }

// Deploy begins to run a service; one feed per replica.
func (m *Manager) Deploy(wanted *spec.Service, node string) ([]*Feed, error) {
	return m.command(func(w World) ([]Record, error) { return m.state.Deploy(w, wanted, node) })
}

// Migrate begins to move a replica.
func (m *Manager) Migrate(id netmap.ReplicaID, to string, mode netmap.Mode, o *api.MoveOptions) ([]*Feed, error) {
	options, err := ParseOptions(o, mode)
	if err != nil {
		return nil, err
	}
	return m.command(func(w World) ([]Record, error) { return m.state.Migrate(w, id, to, mode, options) })
}

// Remove begins to stop a service; one feed per replica.
func (m *Manager) Remove(service string) ([]*Feed, error) {
	return m.command(func(w World) ([]Record, error) { return m.state.Remove(w, service) })
}

// Drain keeps services away from a node, or ends that. The trees move away what is there.
func (m *Manager) Drain(node string, end bool) error {
	_, err := m.command(func(w World) ([]Record, error) {
		if _, ok := m.state.Members[node]; !ok {
			return nil, unknownNode(m.state, node)
		}
		return []Record{{Kind: Drained, At: w.At, Node: node, Drain: !end}}, nil
	})
	return err
}

// Loaded lets an image's names stand for it, and drops the tars that no name and no service needs any more.
func (m *Manager) Loaded(image images.Image) error {
	err := m.decide(func() (records []Record, err error) {
		for _, name := range image.Names {
			if known, ok := m.state.Images[name]; !ok || known.ID != image.ID {
				records = append(records, Record{Kind: Loaded, At: time.Now(), Image: &Image{Name: name, ID: image.ID, Bytes: image.Bytes}})
			}
		}
		return records, nil
	}, nil)
	if err != nil {
		return err
	}
	used := m.UsedImages()
	if err := m.images.Keep(func(id string) bool { return used[id] }); err != nil {
		slog.Warn("old images stay", "err", err)
	}
	return nil
}

// UsedImages are the IDs of those that have a name or are a service's.
func (m *Manager) UsedImages() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := map[string]bool{}
	for _, known := range m.state.Images {
		used[known.ID] = true
	}
	for _, service := range m.state.Services {
		used[service.ImageID] = true
	}
	return used
}

// View shows the state while it does not change; look must not keep it.
func (m *Manager) View(look func(*State)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	look(m.state)
}

// Changed is closed when the state is not any more what it is now.
func (m *Manager) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Outcome is the second path of a target that must know how a move ended: the source's journal if it can be asked,
// else the manager's own record. A manager that does not lead answers as well: what has ended has ended for all.
func (m *Manager) Outcome(ctx context.Context, id string) *api.OutcomeReply {
	m.mu.Lock()
	reply := &api.OutcomeReply{Outcome: api.Outcome_UNKNOWN}
	var source Member
	if op, ok := m.state.Ops[id]; ok {
		reply.Outcome, reply.Step, reply.Error = api.Outcome_PENDING, string(op.Step), op.Problem
		source = m.state.Members[op.Node]
	} else if past, ok := m.state.Past(id); ok {
		reply.Outcome, reply.Error = api.Outcome_ABORTED, past.Error
		if past.Outcome == Committed {
			reply.Outcome = api.Outcome_COMMITTED
		}
		source = m.state.Members[past.Node]
	}
	m.mu.Unlock()
	if source.Node == "" {
		return reply
	}
	if told, err := m.agents.ask(ctx, source, id); err == nil && told.Outcome != api.Outcome_UNKNOWN {
		return told
	}
	return reply
}
