package journal

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sonic-netservices/internal/pki"
)

// tape is a Machine that remembers its records.
type tape struct {
	mu      sync.Mutex
	records []string
	refuse  string // this record is one of another version
}

func (t *tape) Apply(records [][]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range records {
		if t.refuse != "" && string(r) == t.refuse {
			return errors.New("record of another version")
		}
		t.records = append(t.records, string(r))
	}
	return nil
}

func (t *tape) Sum() ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return json.Marshal(t.records)
}

func (t *tape) Restore(sum []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = nil
	return json.Unmarshal(sum, &t.records)
}

func (t *tape) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.records)
}

// manager is one that takes part.
type manager struct {
	Log
	raft   *Raft // nil: a Memory
	tape   *tape
	reign  chan context.Context // each time it leads
	newest context.Context      // that await has seen
	stop   func() error
}

func start(t *testing.T, log Log, tp *tape) *manager {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &manager{Log: log, tape: tp, reign: make(chan context.Context, 8)}
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = log.Run(ctx, func(ctx context.Context) {
			m.reign <- ctx
			<-ctx.Done()
		})
	}()
	m.stop = func() error {
		cancel()
		<-ended
		return err
	}
	t.Cleanup(func() { _ = m.stop() }) // a test that minds has asked
	return m
}

func (m *manager) await(t *testing.T) context.Context {
	t.Helper()
	select {
	case m.newest = <-m.reign:
		return m.newest
	case <-time.After(10 * time.Second):
		t.Fatal("does not lead")
		return nil
	}
}

// quiet drops what journals say, but for the test's -v.
func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.Default()
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func leaks(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

// TestContract is what a Log must do, whichever it is.
func TestContract(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, m Machine) Log{
		"memory": func(_ *testing.T, m Machine) Log { return NewMemory(m) },
		"raft": func(t *testing.T, m Machine) Log {
			l, err := Open(Config{Dir: filepath.Join(t.TempDir(), "journal"), Node: "leaf1", Addr: "127.0.0.1:0", Log: quiet()}, m)
			if err != nil {
				t.Fatal(err)
			}
			return l
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaks(t)
			tp := &tape{}
			log := open(t, tp)
			if err := log.Append([]byte("0")); !errors.Is(err, ErrDeposed) {
				t.Errorf("before it leads: %v, want ErrDeposed", err)
			}
			m := start(t, log, tp)
			reign := m.await(t)
			for _, batch := range [][][]byte{{[]byte(`{"a":1}`)}, {[]byte(`{ "space" : "  kept " }`), []byte(`[]`)}} {
				if err := m.Append(batch...); err != nil {
					t.Fatal(err)
				}
			}
			want := []string{`{"a":1}`, `{ "space" : "  kept " }`, `[]`}
			if got := tp.all(); !slices.Equal(got, want) {
				t.Errorf("applied %q, want %q", got, want)
			}
			if err := m.Append([]byte("5"), []byte("{")); err == nil || errors.Is(err, ErrDeposed) {
				t.Errorf("half a record: %v", err)
			}
			if got := tp.all(); !slices.Equal(got, want) {
				t.Errorf("a batch with a bad record: applied %q, want none of it", got)
			}
			if s := m.Status(); !s.Leads || s.Leader == "" || len(s.Members) != 1 || s.Applied == 0 {
				t.Errorf("status %+v", s)
			}
			if err := m.Remove("leaf9"); !errors.Is(err, ErrUnknown) {
				t.Errorf("remove of an unknown manager: %v", err)
			}
			if err := m.stop(); err != nil {
				t.Errorf("end: %v", err)
			}
			if reign.Err() == nil {
				t.Error("the context of the leader goes on after the end")
			}
		})
	}
}

// TestMemoryDeposed: what a test can do to who uses a Log.
func TestMemoryDeposed(t *testing.T) {
	tp := &tape{}
	log := NewMemory(tp, []byte("1"))
	m := start(t, log, tp)
	first := m.await(t)
	log.Depose()
	if err := m.Append([]byte("2")); !errors.Is(err, ErrDeposed) {
		t.Errorf("deposed: %v", err)
	}
	<-first.Done()
	if err := log.Lead([]byte("3")); err != nil {
		t.Fatal(err)
	}
	m.await(t)
	if err := m.Append([]byte("4")); err != nil {
		t.Fatal(err)
	}
	if got, want := tp.all(), []string{"1", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("applied %q, want %q", got, want)
	}
	full := errors.New("no space left on device")
	log.Fail(full)
	if err := m.Append([]byte("5")); !errors.Is(err, full) {
		t.Errorf("append to a full disk: %v", err)
	}
	if err := m.stop(); !errors.Is(err, full) {
		t.Errorf("ended with %v", err)
	}
}

// authority makes certificates of managers.
func authority(t *testing.T, nodes ...string) map[string]*pki.Identity {
	t.Helper()
	ca := t.TempDir()
	if err := pki.Init(ca, "65001"); err != nil {
		t.Fatal(err)
	}
	ids := map[string]*pki.Identity{}
	for _, node := range nodes {
		dir := t.TempDir()
		if err := pki.Issue(ca, dir, node, []pki.Role{pki.Manager}); err != nil {
			t.Fatal(err)
		}
		id, err := pki.Load(dir, pki.Manager)
		if err != nil {
			t.Fatal(err)
		}
		ids[node] = id
	}
	return ids
}
