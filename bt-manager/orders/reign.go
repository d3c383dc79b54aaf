package orders

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/journal"
)

// Run takes part in the AS's journal until ctx ends, or the journal cannot be read or written. Whenever this manager
// leads it goes on with the operations in flight and calls reign, which ends with its context; what was begun then is
// the next leader's.
func (m *Manager) Run(ctx context.Context, log journal.Log, reign func(ctx context.Context)) error {
	m.mu.Lock()
	m.log = log
	m.mu.Unlock()
	defer m.agents.close()
	return log.Run(ctx, func(ctx context.Context) { m.lead(ctx, reign) })
}

// lead begins a new epoch, so that agents refuse what an earlier leader may still send.
func (m *Manager) lead(ctx context.Context, reign func(ctx context.Context)) {
	m.deciding.Lock()
	m.mu.Lock()
	m.empty()
	m.leads, m.ctx, m.started = true, ctx, time.Now()
	records := m.accession()
	m.mu.Unlock()
	err := m.store(records)
	m.mu.Lock()
	if err == nil {
		for _, id := range slices.Sorted(maps.Keys(m.state.Ops)) {
			slog.Info("operation goes on", "op", id, "replica", m.state.Ops[id].Replica)
			m.begin(id)
		}
	}
	m.mu.Unlock()
	m.deciding.Unlock()
	if err == nil {
		slog.Info("this manager leads")
		m.work.Go(func() { m.keepLeases(ctx) })
		reign(ctx)
	}
	m.abdicate()
}

// accession gives the records that begin an epoch, and found the cluster if there was none. A cluster that takes the
// place of another one counts its epochs from a number that no other has come to: rows of resour_DB go by it.
func (m *Manager) accession() (records []Record) {
	now := time.Now()
	epoch := m.state.Epoch + 1
	if m.state.Cluster.ID == "" {
		c := &Cluster{ID: strings.ToLower(rand.Text()), AS: m.config.AS, Anew: m.config.Anew}
		records = append(records, Record{Kind: Founded, At: now, Cluster: c})
		if c.Anew {
			epoch = max(epoch, uint64(now.Unix()))
		}
	}
	return append(records, Record{Kind: Started, At: now, Epoch: epoch})
}

// abdicate lets go of everything and undoes nothing.
func (m *Manager) abdicate() {
	m.deciding.Lock()
	m.mu.Lock()
	feeds := slices.Collect(maps.Values(m.feeds))
	feeds = slices.AppendSeq(feeds, maps.Values(m.waiting))
	m.empty()
	m.tell()
	m.mu.Unlock()
	m.deciding.Unlock()
	for _, feed := range feeds {
		feed.end(nil, End{Code: codes.Unavailable, Error: "this manager does not lead any more; what was begun goes on, see nsctl services"})
	}
	m.work.Wait()
}

// decide stores the records that look finds right by the state, lets them count before anything else is decided, and
// calls then, which may be nil. look and then are called with mu held. Unless this manager leads it is refused.
func (m *Manager) decide(look func() ([]Record, error), then func([]Record)) error {
	m.deciding.Lock()
	defer m.deciding.Unlock()
	m.mu.Lock()
	if !m.leads {
		m.mu.Unlock()
		return m.NotLeading()
	}
	records, err := look()
	m.mu.Unlock()
	if err == nil {
		err = m.store(records)
	}
	if err != nil || then == nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	then(records)
	return nil
}

// store returns when the records count (Apply). The caller holds deciding. A journal that cannot be written ends Run.
func (m *Manager) store(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	var texts [][]byte
	for _, r := range records {
		text, err := r.Encode()
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	err := m.log.Append(texts...)
	if errors.Is(err, journal.ErrDeposed) {
		return status.Error(codes.Unavailable, "the manager lost its lead over this; the next one may have it, see nsctl services")
	}
	return err
}

// Lead says that this manager leads, in which epoch, and when that ends; an error with a detail NotLeading else.
func (m *Manager) Lead() (ctx context.Context, epoch uint64, err error) {
	m.mu.Lock()
	ctx, epoch = m.ctx, m.state.Epoch
	leads := m.leads
	m.mu.Unlock()
	if !leads {
		return nil, 0, m.NotLeading()
	}
	return ctx, epoch, nil
}

// NotLeading is the error of a manager that does not lead. It tells who does.
func (m *Manager) NotLeading() error {
	m.mu.Lock()
	log := m.log
	m.mu.Unlock()
	told := &api.NotLeading{}
	text := "this manager does not lead, and knows of no leader now"
	if log != nil {
		s := log.Status()
		if leader, ok := s.Member(s.Leader); ok && !s.Leads {
			told.Node, told.Addr = leader.Node, leader.Serves
			text = "this manager does not lead; " + leader.Node + " at " + leader.Serves + " does"
		}
	}
	s := status.New(codes.Unavailable, text)
	if detailed, err := s.WithDetails(told); err == nil {
		s = detailed
	}
	return s.Err()
}

// Apply implements journal.Machine.
func (m *Manager) Apply(texts [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, text := range texts {
		r, err := DecodeRecord(text)
		if err == nil {
			err = m.state.Apply(r)
		}
		if err != nil {
			return err
		}
		if m.leads {
			trace(r)
		}
	}
	m.tell()
	return nil
}

// tell wakes who waits for a change. The caller holds mu.
func (m *Manager) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Sum implements journal.Machine.
func (m *Manager) Sum() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum, err := m.state.sum()
	if err != nil {
		return nil, err
	}
	return Record{Kind: Summed, At: time.Now(), Sum: sum}.Encode()
}

// Restore implements journal.Machine.
func (m *Manager) Restore(text []byte) error {
	m.mu.Lock()
	m.state = NewState()
	m.mu.Unlock()
	return m.Apply([][]byte{text})
}

// trace logs a record; specs, which hold secrets, are left out.
func trace(r Record) {
	switch r.Kind {
	case Founded:
		slog.Info("cluster is founded", "cluster", r.Cluster.ID, "as", r.Cluster.AS, "anew", r.Cluster.Anew)
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
