package orders

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
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
// flight. Its methods may be called from several goroutines.
type Manager struct {
	segment  netip.Prefix // gateway and length of the service segment; zero when unknown
	segment6 netip.Prefix // the same for IPv6; zero when it has none
	images   *images.Store
	agents   *agents

	ctx  context.Context // ends with Start's, or when the journal fails
	stop context.CancelCauseFunc
	work sync.WaitGroup // of operations

	mu      sync.Mutex // guards all below; held while a record is stored, so that records and state agree
	log     journal.Log
	records int // in log
	state   *State
	here    map[string]session   // by node: agents whose Join stream is open
	joins   int                  // streams opened so far
	feeds   map[string]*Feed     // by ID: operations in flight
	waiting map[string]*Feed     // by replica: deployments that the trees have not placed yet
	trees   bool                 // behaviour trees run
	renewed map[string]time.Time // by node: newest answer to a renewal of leases
	started time.Time
	changed chan struct{} // closed, and replaced, when state or here changed
}

// session is one open Join stream.
type session struct {
	number  int // of the stream; a newer one replaces it
	address string
}

// Open replays the journal and begins a new epoch.
func Open(log journal.Log, store *images.Store, id *pki.Identity, segment, segment6 netip.Prefix) (*Manager, error) {
	m := &Manager{
		segment:  segment,
		segment6: segment6,
		images:   store,
		agents:   newAgents(id),
		log:      log,
		state:    NewState(),
		here:     map[string]session{},
		feeds:    map[string]*Feed{},
		waiting:  map[string]*Feed{},
		renewed:  map[string]time.Time{},
		started:  time.Now(),
		changed:  make(chan struct{}),
	}
	err := log.Replay(func(text []byte) error {
		r, err := DecodeRecord(text)
		if err != nil {
			return err
		}
		m.records++
		return m.state.Apply(r)
	})
	if err != nil {
		return nil, err
	}
	m.ctx, m.stop = context.WithCancelCause(context.Background()) // until Start gives a longer one
	if err := m.commit([]Record{{Kind: Started, At: time.Now(), Epoch: m.state.Epoch + 1}}); err != nil {
		return nil, err
	}
	return m, nil
}

// Start goes on with the operations in flight. The context it gives ends with ctx, or when the journal cannot be
// written: then nothing that is decided would last.
func (m *Manager) Start(ctx context.Context) context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ctx, m.stop = context.WithCancelCause(ctx)
	for _, id := range slices.Sorted(maps.Keys(m.state.Ops)) {
		slog.Info("operation goes on", "op", id, "replica", m.state.Ops[id].Replica)
		m.begin(id)
	}
	m.work.Add(1)
	go func() {
		defer m.work.Done()
		m.keepLeases(m.ctx)
	}()
	return m.ctx
}

// Wait ends when all work has ended after the context did. Its error is the journal's.
func (m *Manager) Wait() error {
	m.work.Wait()
	m.agents.close()
	if err := context.Cause(m.ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// commit stores records and lets them count. The caller holds mu, or nobody else has the manager yet.
func (m *Manager) commit(records []Record) error {
	for _, r := range records {
		text, err := r.Encode()
		if err == nil {
			err = m.log.Append(text)
		}
		if err == nil {
			err = m.state.Apply(r)
		}
		if err != nil {
			err = fmt.Errorf("bt-manager stops: %w", err)
			m.stop(err)
			return err
		}
		m.records++
		trace(r)
	}
	if m.records > sumAfter {
		if err := m.sum(); err != nil {
			return err
		}
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// sumAfter bounds the number of records in the journal: a few MiB.
const sumAfter = 10000

// sum replaces all records by the one that says the same. The caller holds mu.
func (m *Manager) sum() error {
	sum, err := m.state.sum()
	var text []byte
	if err == nil {
		text, err = Record{Kind: Summed, At: time.Now(), Sum: sum}.Encode()
	}
	if err == nil {
		err = m.log.Rewrite(text)
	}
	if err != nil {
		err = fmt.Errorf("bt-manager stops: %w", err)
		m.stop(err)
		return err
	}
	slog.Info("journal summed up", "records", m.records, "bytes", len(text))
	m.records = 1
	return nil
}

// trace logs a record; specs, which hold secrets, are left out.
func trace(r Record) {
	switch r.Kind {
	case Started:
		slog.Info("epoch begins", "epoch", r.Epoch)
	case Joined:
		slog.Info("agent joined", "peer", r.Member.Node, "agent", r.Member.Agent, "modes", r.Member.Modes, "version", r.Member.Version)
	case Loaded:
		slog.Info("image loaded", "image", r.Image.Name, "id", r.Image.ID)
	case Begun:
		slog.Info("operation begins", "op", r.Op.ID, "verb", r.Op.Verb, "replica", r.Op.Replica, "node", r.Op.Node, "to", r.Op.To)
	case Stepped:
		slog.Info("operation goes on", "op", r.ID, "step", r.Step, "err", r.Problem)
	case Lost:
		slog.Warn("no answer to an order; asking", "op", r.ID)
	case Ended:
		slog.Info("operation ended", "op", r.ID, "outcome", r.End.Outcome, "err", r.End.Error)
	}
}

// command runs one of State's commands and begins the operations it gives.
func (m *Manager) command(decide func(World) ([]Record, error)) ([]*Feed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	records, err := decide(m.world())
	if err != nil {
		return nil, err
	}
	if err := m.commit(records); err != nil {
		return nil, err
	}
	var feeds []*Feed
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
	return feeds, nil
}

// world is what a command sees now. The caller holds mu.
func (m *Manager) world() World {
	w := World{At: time.Now(), Here: map[string]bool{}, Segment: m.segment, Segment6: m.segment6, NewID: newID, Trees: m.trees}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	var records []Record
	for _, name := range image.Names {
		if known, ok := m.state.Images[name]; !ok || known.ID != image.ID {
			records = append(records, Record{Kind: Loaded, At: time.Now(), Image: &Image{Name: name, ID: image.ID, Bytes: image.Bytes}})
		}
	}
	if err := m.commit(records); err != nil {
		return err
	}
	used := map[string]bool{}
	for _, known := range m.state.Images {
		used[known.ID] = true
	}
	for _, service := range m.state.Services {
		used[service.ImageID] = true
	}
	if err := m.images.Keep(func(id string) bool { return used[id] }); err != nil {
		slog.Warn("old images stay", "err", err)
	}
	return nil
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
// else the manager's own record.
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
