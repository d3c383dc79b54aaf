package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Errors of a change of the managers that was refused.
var (
	ErrUnknown = errors.New("no such manager")
	ErrLeads   = errors.New("it leads: let another one lead before")
)

// Status implements Log.
func (l *Raft) Status() Status {
	_, leader := l.raft.LeaderWithID()
	s := Status{Leader: string(leader), Leads: l.term.Load() != 0, Term: l.raft.CurrentTerm(),
		Last: l.raft.LastIndex(), Applied: l.raft.AppliedIndex(), Life: l.store.life}
	switch l.raft.State() {
	case raft.Leader:
		s.Role = Leader
	case raft.Candidate:
		s.Role = Candidate
	default:
		s.Role, s.Heard = Follower, l.raft.LastContact()
	}
	l.mu.Lock()
	s.Since = l.since
	l.mu.Unlock()
	future := l.raft.GetConfiguration()
	if future.Error() != nil {
		return s
	}
	for _, server := range future.Configuration().Servers {
		m, err := parseAddress(server.Address)
		if err != nil {
			m.Node = string(server.ID)
		}
		m.Voter = server.Suffrage == raft.Voter
		s.Members = append(s.Members, m)
	}
	return s
}

const lookEvery = 50 * time.Millisecond

// Add implements Log. A voter that is not there would take the majority from those that are.
func (l *Raft) Add(ctx context.Context, m Member, applied func(context.Context) (uint64, error)) error {
	if l.term.Load() == 0 {
		return ErrDeposed
	}
	id, address := raft.ServerID(m.Node), m.address()
	switch known, ok := l.Status().Member(m.Node); {
	case ok && known.Life != m.Life:
		// Its vote is taken away before its new journal hears anything: until the others agree on that, a journal that
		// remembers nothing could help to elect one that lacks what was stored.
		if m.Node == l.config.Node {
			return ErrLeads
		}
		l.config.Log.Info("journal: a manager has lost its journal; it begins anew", "peer", m.Node)
		if err := l.raft.RemoveServer(id, 0, netTime).Error(); err != nil {
			return deposed(err)
		}
	case ok && known.Voter && known.address() == address:
		return nil
	}
	if err := l.raft.AddNonvoter(id, address, 0, netTime).Error(); err != nil {
		return deposed(err)
	}
	goal := l.raft.CommitIndex()
	for {
		at, err := applied(ctx)
		if err == nil && at >= goal {
			break
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			takenBack := l.raft.RemoveServer(id, 0, netTime).Error()
			return errors.Join(fmt.Errorf("manager %s does not catch up: it is at entry %d of %d: %w", m.Node, at, goal, errors.Join(err, ctx.Err())), takenBack)
		}
	}
	return deposed(l.raft.AddVoter(id, address, 0, netTime).Error())
}

// Remove implements Log.
func (l *Raft) Remove(node string) error {
	if l.term.Load() == 0 {
		return ErrDeposed
	}
	if node == l.config.Node {
		return ErrLeads
	}
	if _, ok := l.Status().Member(node); !ok {
		return ErrUnknown
	}
	return deposed(l.raft.RemoveServer(raft.ServerID(node), 0, netTime).Error())
}

// Transfer implements Log.
func (l *Raft) Transfer(node string) error {
	if l.term.Load() == 0 {
		return ErrDeposed
	}
	if node == l.config.Node {
		return nil
	}
	if node == "" {
		return deposed(l.raft.LeadershipTransfer().Error())
	}
	m, ok := l.Status().Member(node)
	if !ok || !m.Voter {
		return ErrUnknown
	}
	return deposed(l.raft.LeadershipTransferToServer(raft.ServerID(node), m.address()).Error())
}

func deposed(err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) {
		return ErrDeposed
	}
	return err
}
