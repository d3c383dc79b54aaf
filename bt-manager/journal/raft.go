package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"sonic-netservices/internal/pki"
)

// Config of a Raft.
type Config struct {
	Dir      string        // of the journal, made if need be
	Node     string        // this manager's, as its certificate names it
	Addr     string        // host:port to listen at for other managers
	Serves   string        // host:port at which this manager serves, for the others to tell
	Identity *pki.Identity // nil: no TLS, and no address but of this machine
	Join     bool          // an empty journal waits to be added to others, else it begins a log of its own
	Alone    bool          // this manager is the only one from now on: the others are lost for good
	Log      *slog.Logger

	cut func(node string) bool // of tests
}

// A follower that hears nothing for patience (up to twice that, so that not all ask at once) wants to lead, and a
// leader that hears nothing from a majority for as long gives up. Less would depose leaders on a busy switch; more
// would only delay what nobody waits for: a move under way is its agents' business, and a manager that is away for two
// seconds is in nobody's way.
const (
	patience  = 500 * time.Millisecond
	commitLag = 50 * time.Millisecond // until followers hear of a commit when nothing follows it
	netTime   = 2 * time.Second       // of one conversation between managers; more for a whole sum
)

// Raft is the Log of a manager.
type Raft struct {
	config    Config
	store     *store
	net       *network
	raft      *raft.Raft
	transport *raft.NetworkTransport
	machine   *machine
	term      atomic.Uint64 // in which this manager leads and its machine is complete; 0 = it does not

	failed  chan struct{} // closed with the first failure
	failure sync.Once
	err     error

	mu    sync.Mutex
	since time.Time // of the leader that is known now
}

// Open opens the journal of one manager, or begins one. Damage and a log of another version are named by their place.
func Open(c Config, m Machine) (*Raft, error) {
	l, err := prepare(c, m)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", c.Dir, err)
	}
	return l, nil
}

func prepare(c Config, m Machine) (l *Raft, err error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	l = &Raft{config: c, failed: make(chan struct{}), since: time.Now()}
	l.machine = &machine{Machine: m, fail: l.fail}
	log := newLogger(c.Log)
	if l.store, err = openStore(filepath.Clean(c.Dir), log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.store.close())
		}
	}()
	if l.net, err = listen(c.Addr, l.store.life, c.Identity); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l.net.cut = c.cut
	l.config.Addr = l.net.Addr().String() // the port, if it was left open
	l.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: l.net, MaxPool: 3, Timeout: netTime, Logger: log, MsgpackUseNewTimeFormat: true,
	})
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = raft.ServerID(c.Node), log
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = patience, patience, patience
	conf.CommitTimeout = commitLag
	conf.SnapshotThreshold, conf.TrailingLogs, conf.SnapshotInterval = sumAfter, trailing, 30*time.Second
	conf.NoLegacyTelemetry = true

	self := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: l.self().address()}}}
	if l.store.fresh && !c.Join {
		err = raft.BootstrapCluster(conf, l.store.log, l.store.log, l.store.snaps, l.transport, self)
	} else if c.Alone && !l.store.fresh {
		err = raft.RecoverCluster(conf, l.machine, l.store.log, l.store.log, l.store.snaps, l.transport, self)
	}
	if err == nil {
		l.raft, err = raft.NewRaft(conf, l.machine, l.store.log, l.store.log, l.store.snaps, l.transport)
	}
	if err != nil {
		return nil, errors.Join(err, l.transport.Close())
	}
	l.raft.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if _, ok := o.Data.(raft.LeaderObservation); ok {
			l.mu.Lock()
			l.since = time.Now()
			l.mu.Unlock()
		}
		return false
	}))
	l.hurry()
	return l, nil
}

// hurry makes the only voter lead at once: there is nobody whose silence it would have to wait for.
func (l *Raft) hurry() {
	future := l.raft.GetConfiguration()
	if future.Error() != nil {
		return
	}
	voters := future.Configuration().Servers
	if len(voters) != 1 || string(voters[0].ID) != l.config.Node {
		return
	}
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(l.config.Node),
		Addr: l.transport.EncodePeer(voters[0].ID, l.self().address())}
	err := l.transport.TimeoutNow(voters[0].ID, l.self().address(), &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{})
	if err != nil { // then by itself, a second later
		l.config.Log.Debug("journal: lead at once", "err", err)
	}
}

func (l *Raft) self() Member {
	return Member{Node: l.config.Node, Addr: l.config.Addr, Serves: l.config.Serves, Life: l.store.life}
}

// Run implements Log.
func (l *Raft) Run(ctx context.Context, lead func(context.Context)) (err error) {
	end := func() {}
	defer func() {
		end()
		err = errors.Join(err, l.close())
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.failed:
			return l.err
		case leads := <-l.raft.LeaderCh():
			end()
			end = func() {}
			if leads {
				end = l.begin(ctx, lead)
			}
		}
	}
}

// begin calls lead. What it gives ends that, and returns when it has ended.
func (l *Raft) begin(ctx context.Context, lead func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		term := l.raft.CurrentTerm()
		if err := l.raft.Barrier(0).Error(); err != nil || l.raft.CurrentTerm() != term {
			return // and LeaderCh says so
		}
		l.term.Store(term)
		l.settle()
		lead(ctx)
	}()
	return func() {
		l.term.Store(0)
		cancel()
		<-ended
		l.term.Store(0)
	}
}

// settle corrects the address under which this manager is known, if its switch has another one now.
func (l *Raft) settle() {
	for _, m := range l.Status().Members {
		if m.Node == l.config.Node && m.address() != l.self().address() {
			if err := l.raft.AddVoter(raft.ServerID(m.Node), l.self().address(), 0, netTime).Error(); err != nil {
				l.config.Log.Warn("journal: the others do not know where this manager is", "err", err)
			}
		}
	}
}

func (l *Raft) fail(err error) {
	l.failure.Do(func() {
		l.err = fmt.Errorf("journal %s: %w", l.config.Dir, err)
		close(l.failed)
	})
}

func (l *Raft) close() error {
	err := l.transport.Close() // first, so that nobody waits for another manager
	return errors.Join(err, l.raft.Shutdown().Error(), l.store.close())
}

// Append implements Log.
func (l *Raft) Append(records ...[]byte) error {
	term := l.term.Load()
	if term == 0 {
		return ErrDeposed
	}
	entry, err := seal(term, records...)
	if err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	for {
		future := l.raft.Apply(entry, 0)
		err := future.Error()
		if err == nil {
			err, _ = future.Response().(error)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, raft.ErrLeadershipTransferInProgress): // or not, should that fail
			time.Sleep(10 * time.Millisecond)
		case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, ErrDeposed):
			return ErrDeposed
		default: // what is on the disk now is in doubt
			l.fail(err)
			return fmt.Errorf("append to journal: %w", err)
		}
	}
}
