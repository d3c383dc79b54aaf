package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sonic-netservices/internal/pki"
)

// cluster is some managers over real TLS, whose ways to each other can be cut.
type cluster struct {
	t    *testing.T
	ids  map[string]*pki.Identity
	base string
	up   map[string]*manager
	addr map[string]string // of each, the same after a restart

	mu  sync.Mutex
	cut map[string]bool // the ways to and from a node
}

var nodes = []string{"leaf1", "leaf2", "leaf3"}

// newCluster begins with leaf1 and joins the others.
func newCluster(t *testing.T) *cluster {
	leaks(t)
	c := &cluster{t: t, ids: authority(t, nodes...), base: t.TempDir(), up: map[string]*manager{},
		addr: map[string]string{}, cut: map[string]bool{}}
	c.start("leaf1").await(t)
	for _, node := range nodes[1:] {
		c.start(node)
		c.join("leaf1", node)
	}
	return c
}

func (c *cluster) dir(node string) string { return filepath.Join(c.base, node) }

func (c *cluster) start(node string) *manager {
	c.t.Helper()
	if c.addr[node] == "" {
		c.addr[node] = freeAddr(c.t)
	}
	tp := &tape{}
	l, err := Open(Config{
		Dir: c.dir(node), Node: node, Addr: c.addr[node], Serves: node + ":7301", Identity: c.ids[node], Join: node != "leaf1", Log: quiet(),
		cut: func(to string) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.cut[node] || c.cut[to]
		},
	}, tp)
	if err != nil {
		c.t.Fatal(err)
	}
	m := start(c.t, l, tp)
	m.raft = l
	c.up[node] = m
	return m
}

func (c *cluster) join(leader, node string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	m := c.up[node]
	err := c.up[leader].Add(ctx, m.raft.self(), func(context.Context) (uint64, error) { return m.Status().Applied, nil })
	if err != nil {
		c.t.Fatalf("join %s: %v", node, err)
	}
}

// isolate cuts a node off, or ends that. Connections that are open are cut as well.
func (c *cluster) isolate(node string, cut bool) {
	c.mu.Lock()
	c.cut[node] = cut
	c.mu.Unlock()
	if cut {
		for _, m := range c.up {
			m.raft.transport.CloseStreams()
			m.raft.net.drop()
		}
	}
}

// leader waits for one among some.
func (c *cluster) leader(among ...string) string {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, node := range among {
			if c.up[node].Status().Leads {
				return node
			}
		}
	}
	c.t.Fatalf("none of %v leads", among)
	return ""
}

// agree waits until machines have the same records.
func (c *cluster) agree(want []string, among ...string) {
	c.t.Helper()
	for _, node := range among {
		for end := time.Now().Add(10 * time.Second); !slices.Equal(c.up[node].tape.all(), want); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				c.t.Fatalf("%s has %q, want %q", node, c.up[node].tape.all(), want)
			}
		}
	}
}

func (c *cluster) append(node string, records ...string) {
	c.t.Helper()
	for _, r := range records {
		if err := c.up[node].Append([]byte(r)); err != nil {
			c.t.Fatalf("append on %s: %v", node, err)
		}
	}
}

func others(node string) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == node })
}

func TestThree(t *testing.T) {
	c := newCluster(t)
	c.append("leaf1", "1", "2")
	c.agree([]string{"1", "2"}, nodes...)
	if err := c.up["leaf2"].Append([]byte("3")); !errors.Is(err, ErrDeposed) {
		t.Errorf("a follower appends: %v", err)
	}
	s := c.up["leaf3"].Status()
	m, ok := s.Member("leaf2")
	if s.Leader != "leaf1" || len(s.Members) != 3 || !ok || !m.Voter || m.Serves != "leaf2:7301" || m.Addr != c.addr["leaf2"] {
		t.Errorf("a follower tells %+v", s)
	}
	if s.Role != Follower || time.Since(s.Heard) > 10*time.Second || c.up["leaf1"].Status().Role != Leader || !c.up["leaf1"].Status().Heard.IsZero() {
		t.Errorf("a follower tells %+v, the leader %+v", s, c.up["leaf1"].Status())
	}

	// Another one leads, by order; then the first is gone, and comes back with its disk.
	reign := c.up["leaf1"].newest
	if err := c.up["leaf1"].Transfer("leaf2"); err != nil {
		t.Fatal(err)
	}
	c.up["leaf2"].await(t)
	<-reign.Done()
	if err := c.up["leaf2"].Remove("leaf2"); !errors.Is(err, ErrLeads) {
		t.Errorf("the leader is removed: %v", err)
	}
	c.append("leaf2", "3")
	if err := c.up["leaf2"].stop(); err != nil {
		t.Fatal(err)
	}
	leader := c.leader("leaf1", "leaf3")
	c.append(leader, "4")
	c.start("leaf2")
	c.agree([]string{"1", "2", "3", "4"}, nodes...)

	// One whose disk is lost is removed, and joins again.
	if err := c.up["leaf2"].stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(c.dir("leaf2")); err != nil {
		t.Fatal(err)
	}
	if err := c.up[leader].Remove("leaf2"); err != nil {
		t.Fatal(err)
	}
	c.append(leader, "5")
	c.start("leaf2")
	c.join(leader, "leaf2")
	c.agree([]string{"1", "2", "3", "4", "5"}, nodes...)
}

// TestPartition: who is cut off leads no longer, what it was about to store counts for nobody, and it follows again.
func TestPartition(t *testing.T) {
	c := newCluster(t)
	c.append("leaf1", "1")
	old := c.up["leaf1"]
	reign := old.newest
	c.isolate("leaf1", true)
	lost := make(chan error, 1)
	go func() { lost <- old.Append([]byte(`"lost"`)) }()
	leader := c.leader(others("leaf1")...)
	c.append(leader, "2")
	select {
	case err := <-lost:
		if !errors.Is(err, ErrDeposed) {
			t.Errorf("append of one that is cut off: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("append of one that is cut off does not end")
	}
	<-reign.Done()
	if err := old.Append([]byte(`"later"`)); !errors.Is(err, ErrDeposed) {
		t.Errorf("a deposed leader appends: %v", err)
	}
	c.isolate("leaf1", false)
	c.agree([]string{"1", "2"}, nodes...)
}

// TestFarBehind: a follower that was away for longer than entries are kept gets the sum.
func TestFarBehind(t *testing.T) {
	c := newCluster(t)
	leader := c.up["leaf1"].raft.raft
	conf := leader.ReloadableConfig()
	conf.TrailingLogs = 1
	if err := leader.ReloadConfig(conf); err != nil {
		t.Fatal(err)
	}
	if err := c.up["leaf3"].stop(); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
	}
	c.append("leaf1", want...)
	if err := leader.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.start("leaf3")
	c.agree(want, nodes...)
}

// TestAlone: two of three are lost for good; the third goes on with what it has.
func TestAlone(t *testing.T) {
	c := newCluster(t)
	c.append("leaf1", "1", "2")
	c.agree([]string{"1", "2"}, nodes...)
	for _, node := range nodes {
		if err := c.up[node].stop(); err != nil {
			t.Fatal(err)
		}
	}
	tp := &tape{}
	l, err := Open(Config{Dir: c.dir("leaf3"), Node: "leaf3", Addr: c.addr["leaf3"], Identity: c.ids["leaf3"], Join: true, Alone: true, Log: quiet()}, tp)
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, l, tp)
	m.await(t)
	if err := m.Append([]byte("3")); err != nil {
		t.Fatal(err)
	}
	if got := tp.all(); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("%q", got)
	}
	if s := m.Status(); len(s.Members) != 1 {
		t.Errorf("members %+v", s.Members)
	}
}

// TestStaleEntry: what a leader decided in an earlier term counts for nobody, even when it leads again.
func TestStaleEntry(t *testing.T) {
	m := run(t, filepath.Join(t.TempDir(), "journal"))
	l := m.raft
	l.term.Store(l.term.Load() - 1)
	if err := l.Append([]byte("1")); !errors.Is(err, ErrDeposed) {
		t.Errorf("got %v", err)
	}
	if got := m.tape.all(); len(got) != 0 {
		t.Errorf("applied %q", got)
	}
}

// TestRefused: nobody but a manager of this AS speaks to a journal, and nobody listens to others without TLS.
func TestRefused(t *testing.T) {
	leaks(t)
	ids := authority(t, "leaf1", "leaf2")
	strangers := authority(t, "leaf2")
	n, err := listen("127.0.0.1:0", "one", ids["leaf1"])
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	to := Member{Node: "leaf1", Addr: n.Addr().String(), Life: "one"}
	for name, c := range map[string]struct {
		id *pki.Identity
		to Member
	}{
		"another AS":     {strangers["leaf2"], to},
		"another life":   {ids["leaf2"], Member{Node: "leaf1", Addr: to.Addr, Life: "two"}},
		"another holder": {ids["leaf2"], Member{Node: "leaf3", Addr: to.Addr, Life: "one"}},
	} {
		other, err := listen("127.0.0.1:0", "two", c.id)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := other.Dial(c.to.address(), time.Second); err == nil {
			t.Errorf("%s: connected to %v", name, conn.RemoteAddr())
		}
		other.Close()
	}
	if _, err := listen("192.0.2.1:7306", "one", nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without TLS: %v", err)
	}
}

// wipe takes a manager's disk away and starts it again, as one that waits to be joined.
func (c *cluster) wipe(node string) {
	c.t.Helper()
	if err := c.up[node].stop(); err != nil {
		c.t.Fatal(err)
	}
	if err := os.RemoveAll(c.dir(node)); err != nil {
		c.t.Fatal(err)
	}
	c.start(node)
}

// TestWipedVoter: one whose disk is lost has forgotten what it voted for and stored, so it has no vote: another one that
// lacks what the two had stored does not come to lead. Joined again, it takes its own place.
func TestWipedVoter(t *testing.T) {
	c := newCluster(t)
	c.append("leaf1", "1")
	c.agree([]string{"1"}, nodes...)
	c.isolate("leaf3", true)
	c.append("leaf1", "2") // of leaf1 and leaf2 alone
	c.isolate("leaf1", true)
	c.wipe("leaf2")
	c.isolate("leaf3", false)
	for range 30 { // several times what leaf3 waits before it asks for votes
		time.Sleep(patience / 5)
		if s := c.up["leaf3"].Status(); s.Leads {
			t.Fatalf("leaf3 leads in term %d by the vote of a journal without memory", s.Term)
		}
	}
	if s := c.up["leaf2"].Status(); s.Last != 0 || len(s.Members) != 0 {
		t.Errorf("the wiped one takes part: %+v", s)
	}
	c.isolate("leaf1", false)
	leader := c.leader("leaf1")
	c.agree([]string{"1", "2"}, "leaf1", "leaf3")
	c.join(leader, "leaf2")
	c.append(leader, "3")
	c.agree([]string{"1", "2", "3"}, nodes...)
	if s := c.up[leader].Status(); len(s.Members) != 3 || s.Members[0].Life == "" {
		t.Errorf("members %+v", s.Members)
	}
	if err := c.up["leaf3"].stop(); err != nil { // its vote counts
		t.Fatal(err)
	}
	c.append(c.leader("leaf1", "leaf2"), "4")
}
