package replica

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/pki"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/internal/sonicdb/dbtest"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// testSwitch is a node with a real Redis, on a loopback address of its own.
type testSwitch struct {
	cfg   Config
	redis *dbtest.Switch
	db    *resourdb.DB
	stop  context.CancelFunc
	ended chan error
}

// raise makes an AS of some nodes whose resource-syncs run.
func raise(t *testing.T, size int) (all []*testSwitch) {
	t.Helper()
	ca := t.TempDir()
	if err := pki.Init(ca, "65100"); err != nil {
		t.Fatal(err)
	}
	for i := range size {
		sw := &testSwitch{redis: dbtest.Start(t), cfg: Config{
			Node: fmt.Sprintf("leaf%d", i+1), Addr: fmt.Sprintf("127.73.4.%d", i+1), AS: 65100, Tier: "edge", PKI: t.TempDir(),
			Seeds: []Seed{{"leaf1", "127.73.4.1"}}, Fast: 100 * time.Millisecond, Slow: 150 * time.Millisecond, Dead: time.Second,
		}}
		if err := pki.Issue(ca, sw.cfg.PKI, sw.cfg.Node, []pki.Role{pki.Node}); err != nil {
			t.Fatal(err)
		}
		set, err := sonicdb.Open(sw.redis.Root)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { set.Close() })
		if sw.db, err = resourdb.Open(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		all = append(all, sw)
		sw.start()
		t.Cleanup(func() {
			if err := sw.end(); err != nil {
				t.Errorf("%s: %v", sw.cfg.Node, err)
			}
		})
	}
	return all
}

func (sw *testSwitch) start() {
	ctx, stop := context.WithCancel(context.Background())
	sw.stop, sw.ended = stop, make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	go func(ended chan<- error) { ended <- Run(ctx, sw.cfg, sw.db, log) }(sw.ended)
}

func (sw *testSwitch) end() error {
	if sw.stop == nil {
		return nil
	}
	sw.stop()
	sw.stop = nil
	return <-sw.ended
}

func (sw *testSwitch) write(t *testing.T, rows ...resourdb.Row) {
	t.Helper()
	for _, r := range rows {
		if err := sw.db.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// until waits for a row of this switch's database to be as wished.
func (sw *testSwitch) until(t *testing.T, key, what string, ok func(map[string]string) bool) {
	t.Helper()
	var row map[string]string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var err error
		if row, err = sw.db.Get(t.Context(), key); err == nil && ok(row) {
			return
		}
	}
	t.Fatalf("%s: %s is not %s: %v", sw.cfg.Node, key, what, row)
}

func has(field, value string) func(map[string]string) bool {
	return func(row map[string]string) bool { return row[field] == value }
}

func gone(row map[string]string) bool { return row == nil }

// Three nodes with real Redis and mutual TLS: rows of each get to all, and go from all; a node that ends is stale, then
// dead; one that lost everything gets it back; forged rows are mended.
func TestRun(t *testing.T) {
	all := raise(t, 3)
	compute := func(sw *testSwitch, used float64) resourdb.Resource {
		return resourdb.Resource{Node: sw.cfg.Node, Resource: netmap.Resource{Kind: netmap.Compute, Capacity: 1, Used: used, Unit: "cores"}}
	}
	key := func(sw *testSwitch) string { return "RESOUR_RESOURCE|" + sw.cfg.Node + "|compute" }
	for i, sw := range all {
		sw.write(t, compute(sw, float64(i)/10))
	}
	all[0].write(t, resourdb.Service{Name: "kms", Migration: netmap.Live}, resourdb.Manager{Node: "leaf1", Epoch: 3})
	for _, reader := range all {
		for i, writer := range all {
			reader.until(t, key(writer), "copied", has("used", fmt.Sprint(float64(i)/10)))
			reader.until(t, "RESOUR_SEEN|"+writer.cfg.Node, "alive", has("state", "alive"))
			reader.until(t, "RESOUR_NODE|"+writer.cfg.Node, "there", has("addr", writer.cfg.Addr))
		}
		reader.until(t, "RESOUR_SERVICE|kms", "copied", has("migration", "live"))
		reader.until(t, "RESOUR_MANAGER|leader", "copied", has("node", "leaf1"))
	}
	if row, _ := all[0].db.Get(t.Context(), "RESOUR_SERVICE|kms"); row["rev"] != "" {
		t.Errorf("the manager's own row was changed: %v", row)
	}

	all[1].write(t, compute(all[1], 0.7))
	all[2].until(t, key(all[1]), "changed", has("used", "0.7"))
	if err := all[1].db.Delete(t.Context(), compute(all[1], 0)); err != nil {
		t.Fatal(err)
	}
	all[0].until(t, key(all[1]), "gone", gone)
	all[1].write(t, compute(all[1], 0.2))
	all[0].until(t, key(all[1]), "back", has("used", "0.2"))

	// Redis of leaf1 is emptied by a restart: the copies come back by themselves.
	all[0].redis.Restart(t)
	all[0].until(t, key(all[1]), "restored", has("used", "0.2"))
	all[0].until(t, "RESOUR_NODE|leaf1", "restored", has("addr", all[0].cfg.Addr))

	if err := all[2].end(); err != nil {
		t.Fatal(err)
	}
	all[1].until(t, "RESOUR_SEEN|leaf3", "stale", has("state", "stale"))
	all[1].until(t, "RESOUR_SEEN|leaf3", "dead", has("state", "dead"))
	all[1].until(t, key(all[2]), "kept", has("used", "0.2"))

	// leaf3 comes back from a power cycle under a newer incarnation, and with other rows.
	all[2].redis.Restart(t)
	memory := resourdb.Resource{Node: "leaf3", Resource: netmap.Resource{Kind: netmap.Memory, Capacity: 1}}
	all[2].write(t, memory)
	all[2].start()
	all[1].until(t, "RESOUR_RESOURCE|leaf3|memory", "copied", has("capacity", "1"))
	all[1].until(t, key(all[2]), "gone", gone)
	all[1].until(t, "RESOUR_SEEN|leaf3", "alive", has("state", "alive"))
	all[1].until(t, "RESOUR_NODE|leaf3", "of incarnation 2", has("incarnation", "2"))
	all[2].until(t, key(all[1]), "copied", has("used", "0.2"))
}

// An edge of the overlay is shown on all nodes as its supernode has it; it goes to the supernode of another node, back, and away.
// A resource-sync that starts again knows whose the copies are.
func TestEdges(t *testing.T) {
	all := raise(t, 3)
	began := time.Now()
	at := func(sw *testSwitch, after time.Duration) resourdb.Edge {
		return resourdb.Edge{Community: "office", MAC: "02:00:00:00:00:0a", Supernode: sw.cfg.Node, Public: netip.MustParseAddrPort("192.0.2.10:5000"), Since: began.Add(after)}
	}
	const key = "RESOUR_EDGE|office/02:00:00:00:00:0a"
	until := func(what string, ok func(map[string]string) bool, readers ...*testSwitch) {
		t.Helper()
		for _, sw := range readers {
			sw.until(t, key, what, ok)
		}
	}
	all[1].write(t, at(all[1], 0))
	until("at leaf2", has("supernode", "leaf2"), all...)
	if row, _ := all[1].db.Get(t.Context(), key); row["rev"] != "" {
		t.Errorf("the supernode's own row was changed: %v", row)
	}

	all[2].write(t, at(all[2], time.Minute)) // its own supernode has it before the other one knows
	until("at leaf3", has("supernode", "leaf3"), all[0], all[2])
	until("still here", has("supernode", "leaf2"), all[1])
	if err := all[1].db.Delete(t.Context(), at(all[1], 0)); err != nil {
		t.Fatal(err)
	}
	until("at leaf3", has("supernode", "leaf3"), all...)

	if err := all[0].end(); err != nil {
		t.Fatal(err)
	}
	all[1].write(t, at(all[1], 2*time.Minute))
	if err := all[2].db.Delete(t.Context(), at(all[2], 0)); err != nil {
		t.Fatal(err)
	}
	until("back at leaf2", has("supernode", "leaf2"), all[1], all[2])
	all[0].start()
	until("back at leaf2", has("supernode", "leaf2"), all...)
	if err := all[1].db.Delete(t.Context(), at(all[1], 0)); err != nil {
		t.Fatal(err)
	}
	until("gone", gone, all...)
}

// A replica on this node is probed as its service says, and not longer than it runs.
func TestHealth(t *testing.T) {
	sw := raise(t, 1)[0]
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	web.Start()
	defer web.Close()
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	instance := resourdb.Instance{ID: netmap.ReplicaID{Service: "kms"}, Node: "leaf1", State: netmap.Running, Address: "127.0.0.1/8"}
	service := resourdb.Service{Name: "kms", Migration: netmap.Live, Probe: "http :" + port + "/healthz",
		ProbeEach: 20 * time.Millisecond, ProbeTime: 2 * time.Second, Failures: 2}
	sw.write(t, resourdb.Manager{Node: "leaf1", Epoch: 1}, service, instance)
	const key = "RESOUR_HEALTH|kms|0|leaf1"
	sw.until(t, key, "passed", has("result", "pass"))

	service.Probe = "http :" + port + "/wrong"
	sw.write(t, service)
	sw.until(t, key, "failed", func(row map[string]string) bool {
		return row["result"] == "fail" && strings.Contains(row["detail"], "404")
	})
	service.Probe = "tcp :" + port
	sw.write(t, service)
	sw.until(t, key, "passed by tcp", has("result", "pass"))
	service.Probe = "exec /bin/true" // no agent runs here
	sw.write(t, service)
	sw.until(t, key, "failed by exec", has("result", "fail"))

	instance.State = netmap.Migrating
	sw.write(t, instance)
	sw.until(t, key, "gone", gone)
}

// A stranger of another CA, and a node of our own name, get no link.
func TestStrangers(t *testing.T) {
	sw := raise(t, 1)[0]
	sw.until(t, "RESOUR_SEEN|leaf1", "alive", has("state", "alive"))
	ca := t.TempDir()
	if err := pki.Init(ca, "65100"); err != nil {
		t.Fatal(err)
	}
	stranger := &testSwitch{redis: dbtest.Start(t), cfg: sw.cfg}
	stranger.cfg.Node, stranger.cfg.Addr, stranger.cfg.PKI = "leaf2", "127.73.4.2", t.TempDir()
	if err := pki.Issue(ca, stranger.cfg.PKI, "leaf2", []pki.Role{pki.Node}); err != nil {
		t.Fatal(err)
	}
	set, err := sonicdb.Open(stranger.redis.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if stranger.db, err = resourdb.Open(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	stranger.start()
	stranger.until(t, "RESOUR_SEEN|leaf2", "alive", has("state", "alive"))
	time.Sleep(300 * time.Millisecond) // what must not happen gets some time to
	rows, err := stranger.db.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if strings.Contains(key, "leaf1") {
			t.Errorf("a stranger got %s", key)
		}
	}
	if err := stranger.end(); err != nil {
		t.Error(err)
	}
	twin := sw.cfg
	twin.Node = "leaf2"
	if err := Run(t.Context(), twin, sw.db, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "certificate is for leaf1") {
		t.Errorf("a node with another's certificate: %v", err)
	}
}
