package suite

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/testbed"
)

// Every switch shows the rows of all, follows a change, and judges one whose power is cut.
func TestRows(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("namespaces and mounts need root")
	}
	const instance = "rowstest"
	t.Cleanup(func() {
		if err := testbed.Down(context.Background(), instance); err != nil {
			t.Error(err)
		}
	})
	o := Options{Repo: "../..", Out: t.TempDir()}
	raise := testbed.Options{Topology: "../topologies/triangle.yaml", Instance: instance, Out: o.Out, Restart: testbed.SONiCRestart()}
	bed, err := testbed.Up(t.Context(), raise)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Install(t.Context(), bed, o)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(name string) testbed.Node {
		n, err := s.Bed.Node(name)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// until waits for what a switch sees of another, and says how long it took: the figure is in the log, not judged.
	until := func(reader, of, what string, ok func(netmap.Node) bool) {
		t.Helper()
		begun := time.Now()
		for time.Since(begun) < 30*time.Second {
			now, _ := s.Snapshot(t.Context(), leaf(reader)) // the error names garbage; there is none, or ok finds out
			if n, there := now.Node(of); there && ok(n) {
				t.Logf("%s sees %s %s after %v", reader, of, what, time.Since(begun).Round(time.Millisecond))
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("%s does not see %s %s", reader, of, what)
	}
	others := []string{"leaf2", "leaf3"}

	out, err := bed.Exec(t.Context(), "leaf2", "redis-cli", "-n", "7", "--scan", "--pattern", "RESOUR_*").Output()
	if err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(string(out))
	for _, n := range bed.Nodes {
		for _, key := range []string{"RESOUR_NODE|" + n.Name, "RESOUR_SEEN|" + n.Name, "RESOUR_AGENT|" + n.Name,
			"RESOUR_RESOURCE|" + n.Name + "|compute", "RESOUR_RESOURCE|" + n.Name + "|memory", "RESOUR_RESOURCE|" + n.Name + "|storage",
			"RESOUR_RESOURCE|" + n.Name + "|forwarding", "RESOUR_RESOURCE|" + n.Name + "|security"} {
			if !slices.Contains(keys, key) {
				t.Errorf("leaf2 has no %s", key)
			}
		}
	}
	now, err := s.Snapshot(t.Context(), leaf("leaf2"))
	if err != nil || len(now.Links) != 6 || now.Links[0] != (netmap.Link{From: "leaf1", To: "leaf2", SpeedBPS: 10e9}) {
		t.Errorf("links %v, %v; want both directions of three cables", now.Links, err)
	}

	// A budget for leaf1's services, as an operator sets it.
	dbs, err := sonicdb.Open(leaf("leaf1").Path("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer dbs.Close()
	config, err := dbs.DB(t.Context(), "CONFIG_DB")
	if err != nil {
		t.Fatal(err)
	}
	if err := config.HSet(t.Context(), "NETSERVICES|global", map[string]string{"services_cpu": "0.25"}); err != nil {
		t.Fatal(err)
	}
	for _, reader := range append(others, "leaf1") {
		until(reader, "leaf1", "with a quarter of a core", func(n netmap.Node) bool {
			r, _ := n.Resource(netmap.Compute)
			return r.Capacity == 0.25
		})
	}

	if err := unix.Kill(leaf("leaf1").Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, state := range []netmap.Liveness{netmap.Stale, netmap.Dead} {
		for _, reader := range others {
			until(reader, "leaf1", string(state), func(n netmap.Node) bool { return n.Liveness == state })
		}
	}
	if bed, err = testbed.Up(t.Context(), raise); err != nil {
		t.Fatal(err)
	}
	if s, err = Install(t.Context(), bed, o); err != nil { // waits until all see all alive
		t.Fatal(err)
	}
	for _, reader := range others {
		until(reader, "leaf1", "alive", func(n netmap.Node) bool { return n.Liveness == netmap.Alive })
	}
}
