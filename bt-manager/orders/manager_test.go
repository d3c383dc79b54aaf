package orders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sonic-netservices/bt-manager/images"
	"sonic-netservices/spec"
)

// memory is a journal.Log in memory, which can be told to fail.
type memory struct {
	records [][]byte
	full    bool
}

var errFull = errors.New("no space left on device")

func (l *memory) Append(record []byte) error {
	if l.full {
		return errFull
	}
	l.records = append(l.records, record)
	return nil
}

func (l *memory) Rewrite(record []byte) error {
	l.records = [][]byte{record}
	return nil
}

func (l *memory) Replay(each func([]byte) error) error {
	for _, r := range l.records {
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *memory) Close() error { return nil }

func open(t *testing.T, log *memory) *Manager {
	t.Helper()
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(log, store, nil, netip.Prefix{}, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestJournalStaysSmall: many records become one that says the same.
func TestJournalStaysSmall(t *testing.T) {
	log := &memory{}
	for i := range sumAfter + 1 {
		r := Record{Kind: Loaded, At: time.Now(), Image: &Image{Name: fmt.Sprintf("kms:%d", i%7), ID: fmt.Sprintf("sha256:%d", i)}}
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		log.records = append(log.records, text)
	}
	for epoch := uint64(1); epoch <= 2; epoch++ {
		m := open(t, log)
		m.View(func(s *State) {
			if s.Epoch != epoch || len(s.Images) != 7 || s.Images["kms:4"].ID != "sha256:10000" {
				t.Errorf("epoch %d, images %v", s.Epoch, s.Images)
			}
		})
	}
	if len(log.records) != 2 {
		t.Errorf("%d records, want the sum and the newest epoch", len(log.records))
	}
}

// TestJournalFails: nothing that cannot be stored is done, and the manager stops.
func TestJournalFails(t *testing.T) {
	log := &memory{}
	m := open(t, log)
	ctx := m.Start(t.Context())
	log.full = true
	if err := m.Loaded(images.Image{ID: "sha256:aa", Names: []string{"kms:1.0"}}); !errors.Is(err, errFull) {
		t.Errorf("loaded: %v", err)
	}
	wanted, err := spec.Parse("x", []byte("name: kms\nimage: kms:1.0\naddress: 10.20.0.10/24\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Deploy(wanted, ""); err == nil {
		t.Error("an image that is not in the journal was used")
	}
	<-ctx.Done()
	if err := m.Wait(); !errors.Is(err, errFull) {
		t.Errorf("ended with %v", err)
	}
}

// TestStop: a manager that is told to stop ends without an error.
func TestStop(t *testing.T) {
	m := open(t, &memory{})
	ctx, cancel := context.WithCancel(t.Context())
	m.Start(ctx)
	cancel()
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
}

// FuzzReplay: no journal, one record a line, makes the state panic, and a state it makes can be summed up.
func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"kind":"started","epoch":1}
{"kind":"joined","member":{"node":"leaf1","agent":"10.1.0.1:7302"}}
{"kind":"loaded","image":{"name":"kms:1.0","id":"sha256:aa"}}
{"kind":"desired","desire":{"spec":"{name: kms, image: 'kms:1.0', address: 10.20.0.10/24}","image_id":"sha256:aa"}}
{"kind":"begun","op":{"id":"x","verb":"deploy","replica":{"Service":"kms"},"node":"leaf1","candidates":["leaf2"],"step":"reach"}}
{"kind":"stepped","id":"x","step":"reach","node":"leaf2","problem":"away"}
{"kind":"lost","id":"x"}
{"kind":"ended","id":"x","end":{"outcome":"committed"}}`))
	f.Add([]byte(`{"kind":"summed","sum":{"epoch":3,"ops":{"y":null},"done":[{"op":{"id":"z"},"end":{"outcome":"aborted"}}]}}`))
	f.Fuzz(func(t *testing.T, journal []byte) {
		s := NewState()
		for line := range bytes.Lines(journal) {
			r, err := DecodeRecord(line)
			if err != nil {
				return
			}
			if s.Apply(r) != nil {
				return
			}
		}
		for id := range s.Ops {
			s.Next(id)
			s.Report(time.Time{}, id, Result{Answer: Silent})
		}
		if _, err := s.sum(); err != nil {
			t.Error(err)
		}
	})
}
