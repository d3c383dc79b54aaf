package run

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
)

// ticked names the trees that are ticked by one round right now.
func (p *play) ticked(woken bool) (names []string) {
	p.now = p.now.Add(time.Millisecond)
	p.r.round(p.now, woken)
	for _, name := range p.r.names() {
		if p.r.trees[name].ticked.Equal(p.now) {
			names = append(names, orIntake(name))
		}
	}
	return names
}

// What happens ticks the trees it concerns, and no others.
func TestOnlyWhoIsConcernedIsTicked(t *testing.T) {
	w := star("leaf1", "leaf2", "leaf3")
	w.put(service("kms", 0.5), "leaf1")
	w.put(service("dns", 0.5), "leaf2")
	w.put(service("ntp", 0.5), "leaf2")
	p := start(t, w, config())
	p.run(0)
	for _, c := range []struct {
		what   string
		change func()
		want   string
	}{
		{"nothing", func() {}, ""},
		{"readings that mean the same", func() { w.load("dns", 0.7) }, ""},
		{"a node is overloaded", func() { w.nodes["leaf2"].base["memory"] = 8 << 30 }, "dns-0 ntp-0"},
		{"a node without replicas dies", func() { w.nodes["spine1"].dead = true }, ""},
		{"an operation of a person begins", func() { w.replicas[id("ntp")].Op = "abc" }, "intake ntp-0"},
		{"it comes further", func() {
			w.ops["abc"] = &operation{Operation: decide.Operation{Replica: id("ntp"), To: "leaf3"}, stage: decide.Transferred}
		}, "intake ntp-0"},
		{"a replica is lost to its node's lease", func() { w.replicas[id("dns")].LeaseOver = true }, "intake dns-0"},
		{"a service goes", func() { delete(w.replicas, id("dns")) }, "intake"},
		{"a node is drained", func() { w.nodes["leaf1"].drained = true }, "kms-0"},
		{"somebody wants a service", func() { w.wanted = []decide.Replica{service("log", 0.1)} }, "intake log-0"},
	} {
		c.change()
		if got := strings.Join(p.ticked(true), " "); got != c.want {
			t.Errorf("%s: ticked %q, want %q", c.what, got, c.want)
		}
	}
}

// Wakes before a tick are one tick, under the name of the first.
func TestWakesAreOneTick(t *testing.T) {
	p := roomy(t, nil)
	p.run(0)
	kms := p.r.trees["kms-0"]
	before := p.r.Ticks()
	p.now = p.now.Add(time.Millisecond)
	for _, why := range []reason{byOperator, byNode, byReplica} {
		p.r.wakeTree(kms, why, p.now)
	}
	p.r.round(p.now, false)
	after := p.r.Ticks()
	for why, n := range after {
		if got, want := n-before[why], map[string]int64{"operator": 1}[why]; got != want {
			t.Errorf("%s: %d ticks, want %d", why, got, want)
		}
	}
}

// A tree that is left alone is ticked about once a second; a deadline of it comes when it is due.
func TestFloorAndDeadline(t *testing.T) {
	p := roomy(t, nil)
	p.load("kms", 0.5)
	p.run(time.Minute)
	if n := p.r.Ticks()["floor"]; n < 2*60 || n > 2*67 {
		t.Errorf("%d ticks of two trees in a minute", n)
	}
	p = roomy(t, nil)
	p.stuck[decide.Cutover] = true
	p.run(7 * time.Second)
	until := time.Time{}
	for _, n := range p.r.trees["kms-0"].run.Program().Nodes() {
		if d := p.r.trees["kms-0"].run.Deadline(n.UID); !d.IsZero() {
			until = d
		}
	}
	p.run(until.Sub(p.now) - time.Millisecond)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "*Cutover") {
		t.Fatalf("path %s", got)
	}
	deadlines := p.r.Ticks()["deadline"]
	p.run(time.Millisecond)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "*Ask") || p.r.Ticks()["deadline"] == deadlines {
		t.Errorf("path %s, %d ticks for deadlines", got, deadlines)
	}
}

// A tree that would go on for ever pauses, is told of with its path, and holds up nobody.
func TestSpin(t *testing.T) {
	var log strings.Builder
	w := overloaded()
	cfg := config()
	cfg.File = file(edit(t, `<OperationOfOthers replica="{replica}"/>`, `<RetryUntilSuccessful name="mad" num_attempts="-1"><AlwaysFailure/></RetryUntilSuccessful>`))
	p := start(t, w, cfg)
	p.r.log = slog.New(slog.NewTextHandler(&log, nil))
	p.run(100 * time.Millisecond)
	if n := p.r.Spins()["mad"]; n < 5 || n > 12 { // each 10 ms
		t.Errorf("%d spins in 100 ms", n)
	}
	if n := strings.Count(log.String(), "goes on at once without end"); n != 1 || !strings.Contains(log.String(), "path=mad") {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if got := p.path(""); got != "-ServiceOnlineRequested +AllServicesDeployed" {
		t.Errorf("intake: %s", got)
	}
}

// still is a world in which nothing changes.
type still struct {
	*world
	snap *netmap.Snapshot
	all  []decide.Replica
}

func (s *still) Snapshot() *netmap.Snapshot { return s.snap }
func (s *still) Replicas() []decide.Replica { return s.all }

// idle is an AS with that many healthy replicas on 100 nodes.
func idle(replicas int) *still {
	w := newWorld()
	for i := range 100 {
		name := fmt.Sprintf("leaf%d", i)
		w.nodes[name] = &machine{
			capacity: map[netmap.Kind]float64{netmap.Compute: 1000, netmap.Memory: 8 << 40, netmap.Forwarding: 1e6},
			base:     map[netmap.Kind]float64{netmap.Compute: 0.4, netmap.Memory: 1 << 30, netmap.Forwarding: 100},
		}
	}
	for i := range replicas {
		w.put(service(fmt.Sprintf("service%d", i), 0.5), fmt.Sprintf("leaf%d", rand.IntN(100)))
	}
	s := &still{world: w, snap: w.Snapshot()}
	s.all = w.Replicas()
	return s
}

// cpuTime is what this process has used: on a machine that others use, time on the wall says nothing.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle is one second of 10,000 healthy replicas: a hundred rounds, in which each tree is ticked once, and two
// looks at the world. percent is of one core.
func BenchmarkIdle(b *testing.B) {
	w := idle(10000)
	cfg := config()
	cfg.Store = &disk{runs: map[string]bt.Snapshot{}, holds: map[string]decide.Hold{}}
	r, err := New(cfg, w, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	now := w.now
	next := r.round(now, true)
	second := func() {
		for until := now.Add(time.Second); next.Before(until); {
			now = next
			next = r.round(now, now.Sub(w.now)%(500*time.Millisecond) == 0)
		}
	}
	second()
	before, cpu := r.Ticks()["floor"], cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		second()
	}
	b.ReportMetric(float64(r.Ticks()["floor"]-before)/float64(b.N), "ticks/op")
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/float64(time.Second)*100, "percent")
}
