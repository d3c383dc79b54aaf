package journal

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Memory is a Log of one manager that forgets everything with its process: for tests of who writes one.
type Memory struct {
	machine Machine

	mu      sync.Mutex
	records [][]byte
	failure error
	term    uint64
	leads   bool
	since   time.Time
	turns   chan bool // like raft's LeaderCh
	failed  chan struct{}
}

// NewMemory gives a log that has some records already.
func NewMemory(m Machine, records ...[]byte) *Memory {
	l := &Memory{machine: m, records: records, turns: make(chan bool, 1), failed: make(chan struct{}), since: time.Now()}
	l.turns <- true
	return l
}

// Run implements Log.
func (l *Memory) Run(ctx context.Context, lead func(context.Context)) error {
	end := func() {}
	defer func() { end() }()
	for _, r := range l.Records() {
		if err := l.machine.Apply([][]byte{r}); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.failed:
			return l.failure
		case leads := <-l.turns:
			end()
			end = func() {}
			if !leads {
				continue
			}
			reign, cancel := context.WithCancel(ctx)
			ended := make(chan struct{})
			l.mu.Lock()
			l.leads, l.term = true, l.term+1
			l.mu.Unlock()
			go func() {
				defer close(ended)
				lead(reign)
			}()
			end = func() {
				cancel()
				<-ended
			}
		}
	}
}

// Append implements Log.
func (l *Memory) Append(records ...[]byte) error {
	if _, err := seal(0, records...); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return l.failure
	}
	if !l.leads {
		return ErrDeposed
	}
	l.records = append(l.records, records...)
	return l.machine.Apply(records)
}

// Fail makes every Append fail from now on, as a full disk does, and ends Run.
func (l *Memory) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
	close(l.failed)
}

// Depose takes the lead away; Lead gives it again. In between another manager may have stored something.
func (l *Memory) Depose() {
	l.mu.Lock()
	l.leads, l.since = false, time.Now()
	l.mu.Unlock()
	l.turns <- false
}

// Lead lets records of another manager count and leads again.
func (l *Memory) Lead(others ...[]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, others...)
	l.since = time.Now()
	if err := l.machine.Apply(others); err != nil {
		return err
	}
	l.turns <- true
	return nil
}

// Records are all that are stored.
func (l *Memory) Records() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

// Status implements Log.
func (l *Memory) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, role := uint64(len(l.records)), Follower
	if l.leads {
		role = Leader
	}
	return Status{Leader: "memory", Leads: l.leads, Role: role, Since: l.since, Term: l.term, Last: n, Applied: n,
		Members: []Member{{Node: "memory", Voter: true}}}
}

// Add implements Log.
func (l *Memory) Add(context.Context, Member, func(context.Context) (uint64, error)) error {
	return ErrUnknown
}

// Remove implements Log.
func (l *Memory) Remove(string) error { return ErrUnknown }

// Transfer implements Log.
func (l *Memory) Transfer(string) error { return ErrUnknown }
