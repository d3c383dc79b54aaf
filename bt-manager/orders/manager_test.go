package orders

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/bt-manager/journal"
	"sonic-netservices/internal/pki"
	"sonic-netservices/spec"
)

// run gives a manager that leads, over a journal that has some records, and what ends it.
func run(t *testing.T, records ...Record) (m *Manager, log *journal.Memory, end func() error) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	store, err := images.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var texts [][]byte
	for _, r := range records {
		texts = append(texts, encode(t, r))
	}
	m = New(Config{AS: "65001"}, store, identity(t))
	log = journal.NewMemory(m, texts...)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, log, func(ctx context.Context) { <-ctx.Done() }) }()
	end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = end() }) // a test that minds has asked
	awaitLead(t, m, true)
	return m, log, end
}

func identity(t *testing.T) *pki.Identity {
	t.Helper()
	ca, dir := t.TempDir(), t.TempDir()
	err := pki.Init(ca, "65001")
	if err == nil {
		err = pki.Issue(ca, dir, "leaf3", []pki.Role{pki.Manager})
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.Load(dir, pki.Manager)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func encode(t *testing.T, r Record) []byte {
	t.Helper()
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// awaitLead returns when the manager leads and has begun its epoch, or does not lead any more.
func awaitLead(t *testing.T, m *Manager, want bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, _, err := m.Lead(); (err == nil) == want {
			m.deciding.Lock() // the epoch is stored under it
			m.deciding.Unlock()
			return
		}
	}
	t.Fatalf("leads %v does not come", want)
}

var loaded = images.Image{ID: "sha256:aa", Names: []string{"kms:1.0"}}

// TestJournalFails: nothing that cannot be stored is done, and the manager stops.
func TestJournalFails(t *testing.T) {
	m, log, end := run(t)
	full := errors.New("no space left on device")
	log.Fail(full)
	if err := m.Loaded(loaded); err == nil {
		t.Error("loaded without a journal")
	}
	wanted, err := spec.Parse("x", []byte("name: kms\nimage: kms:1.0\naddress: 10.20.0.10/24\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Deploy(wanted, ""); err == nil {
		t.Error("an image that is not in the journal was used")
	}
	if err := end(); !errors.Is(err, full) {
		t.Errorf("ended with %v", err)
	}
}

// TestStop: a manager that is told to stop ends without an error.
func TestStop(t *testing.T) {
	_, _, end := run(t)
	if err := end(); err != nil {
		t.Error(err)
	}
}

// TestLead: the first leader founds the cluster; each begins an epoch; who is deposed lets go of everything, follows
// what the next one decides, and goes on from there.
func TestLead(t *testing.T) {
	m, log, _ := run(t)
	look := func(cluster *string, epoch *uint64, ops *int) {
		m.View(func(s *State) { *cluster, *epoch, *ops = s.Cluster.ID, s.Epoch, len(s.Ops) })
	}
	var cluster, again string
	var epoch uint64
	var ops int
	if look(&cluster, &epoch, &ops); cluster == "" || epoch != 1 {
		t.Fatalf("cluster %q, epoch %d", cluster, epoch)
	}
	if err := m.Loaded(loaded); err != nil {
		t.Fatal(err)
	}
	if _, err := m.enter(Member{Node: "leaf1", Address: "10.1.0.1", Agent: "10.1.0.1:7302"}); err != nil {
		t.Fatal(err)
	}
	wanted, err := spec.Parse("x", []byte("name: kms\nimage: kms:1.0\naddress: 10.20.0.10/24\n"))
	if err != nil {
		t.Fatal(err)
	}
	feeds, err := m.Deploy(wanted, "leaf1")
	if err != nil {
		t.Fatal(err)
	}
	var before string
	if look(&before, &epoch, &ops); ops != 1 {
		t.Fatalf("%d operations in flight", ops)
	}

	log.Depose()
	awaitLead(t, m, false)
	err = feeds[0].Follow(t.Context(), func(*api.Event) error { return nil })
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("who waits for the operation hears %v", err)
	}
	err = m.Loaded(images.Image{ID: "sha256:bb", Names: []string{"dns:1.0"}})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a command to one that does not lead: %v", err)
	}
	if details := status.Convert(err).Details(); len(details) != 1 {
		t.Errorf("who leads is not told: %v", details)
	}

	// Another manager has begun an epoch and ended the operation meanwhile.
	var op string
	m.View(func(s *State) {
		for id := range s.Ops {
			op = id
		}
	})
	if err := log.Lead(encode(t, Record{Kind: Started, Epoch: 2}),
		encode(t, Record{Kind: Ended, ID: op, End: &End{Outcome: Aborted}})); err != nil {
		t.Fatal(err)
	}
	awaitLead(t, m, true)
	if look(&again, &epoch, &ops); again != cluster || epoch != 3 || ops != 0 {
		t.Errorf("cluster %q, want %q; epoch %d; %d operations", again, cluster, epoch, ops)
	}
	if len(m.here) != 0 {
		t.Errorf("agents whose streams have ended are here: %v", m.here)
	}
}

// TestRenewals: a new leader speaks to the nodes of its predecessor at once, before they have noticed and joined it; who
// leaves after that is lost, and its leases end.
func TestRenewals(t *testing.T) {
	member := Member{Node: "leaf1", Address: "10.1.0.1", Agent: "10.1.0.1:7302"}
	m, _, _ := run(t, Record{Kind: Founded, Cluster: &Cluster{ID: "one"}}, Record{Kind: Started, Epoch: 4}, Record{Kind: Joined, Member: &member})
	told := func() bool {
		members, requests := m.renewals()
		request := requests["leaf1"]
		return request.GetEpoch() == 5 && members["leaf1"].Agent == member.Agent
	}
	if !told() {
		t.Error("a node that was the former leader's is told nothing")
	}
	number, err := m.enter(member)
	if err != nil {
		t.Fatal(err)
	}
	if !told() {
		t.Error("a node that is here is told nothing")
	}
	if m.leave("leaf1", number); told() {
		t.Error("a node that has left goes on with its leases")
	}
	if _, err := m.enter(member); err != nil || !told() {
		t.Errorf("a node that has come back is told nothing (%v)", err)
	}
}

// TestFoundedAnew: epochs of a cluster that takes another one's place are larger than those of that.
func TestFoundedAnew(t *testing.T) {
	m := New(Config{Anew: true}, nil, nil)
	for _, r := range m.accession() {
		if err := m.state.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	if !m.state.Cluster.Anew || m.state.Epoch < 1_700_000_000 {
		t.Errorf("cluster %+v, epoch %d", m.state.Cluster, m.state.Epoch)
	}
}

// TestSum: what a sum says is the same as what its records say.
func TestSum(t *testing.T) {
	m, _, end := run(t, Record{Kind: Founded, Cluster: &Cluster{ID: "kq3", AS: "65001"}}, Record{Kind: Started, Epoch: 7})
	if err := m.Loaded(loaded); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	sum, err := m.Sum()
	if err != nil {
		t.Fatal(err)
	}
	other := New(Config{}, nil, nil)
	if err := other.Restore(sum); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.state, other.state, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-records +sum):\n%s", diff)
	}
	if m.state.Epoch != 8 || m.state.Cluster.ID != "kq3" {
		t.Errorf("epoch %d of %q", m.state.Epoch, m.state.Cluster.ID)
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
