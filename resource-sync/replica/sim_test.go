package replica

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
)

// network is some nodes in memory with links that delay, break and lose what is on them. Time is a number.
type network struct {
	t     *testing.T
	rand  *rand.Rand
	now   time.Duration
	names []string
	nodes map[string]*Node
	db    map[string]map[string]map[string]string // by node: its database, by key
	links map[[2]string]*wire
	last  int
	life  uint64
	split map[string]int // side of a partition
	down  map[string]bool
	work  map[string]int // by node: counter of its readings
}

// wire is a link: two ends, and the frames on their way.
type wire struct {
	ends [2]string
	id   [2]int
	fly  [2][]Frame // towards ends[i]
}

var limits = Limits{Periods: 3, Dead: 10 * time.Second, Slowest: 1500 * time.Millisecond}

func newNetwork(t *testing.T, size int, seed uint64) *network {
	n := &network{t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Hour, nodes: map[string]*Node{},
		db: map[string]map[string]map[string]string{}, links: map[[2]string]*wire{}, split: map[string]int{},
		down: map[string]bool{}, work: map[string]int{}}
	for i := range size {
		name := fmt.Sprintf("n%02d", i)
		n.names = append(n.names, name)
		n.boot(name, false)
	}
	return n
}

// boot starts a node, with the database of its former life or, after a power cycle, without.
func (n *network) boot(name string, keepDB bool) {
	if !keepDB {
		n.db[name] = map[string]map[string]string{}
	}
	n.life += 1000
	incarnation := uint64(1)
	if v, _, ok := versionOf(n.db[name][resourdb.NodeTable+"|"+name]); ok {
		incarnation = v.Incarnation + 1
	}
	node := NewNode(name, incarnation, n.life, limits)
	for key, row := range n.db[name] {
		scope, _ := resourdb.ScopeOf(key)
		v, fields, ok := versionOf(row)
		if owner := ownerOf(key, fields); ok && owner != name {
			node.Load(Row{Key: key, Owner: owner, Version: v, Fields: fields}, n.now)
		} else if scope == resourdb.SupernodeOwned {
			node.PutSupernode(key, row)
		}
	}
	n.nodes[name], n.down[name] = node, false
	n.beat(name)
}

// kill ends a node; its links end with it.
func (n *network) kill(name string) {
	n.down[name] = true
	for pair, w := range n.links {
		if slices.Contains(w.ends[:], name) {
			n.cut(pair)
		}
	}
}

func (n *network) cut(pair [2]string) {
	w := n.links[pair]
	delete(n.links, pair)
	for i, end := range w.ends {
		n.nodes[end].Disconnect(w.id[i])
	}
}

// beat is one push of a node: heartbeat and a reading; sometimes a row comes or goes.
func (n *network) beat(name string) {
	n.work[name]++
	node := n.nodes[name]
	node.Put(resourdb.NodeTable+"|"+name, map[string]string{"addr": name, "push_interval": "1000"}, true)
	node.Put("RESOUR_RESOURCE|"+name+"|compute", map[string]string{"used": fmt.Sprint(n.work[name])}, false)
	var row map[string]string
	if n.rand.IntN(2) == 0 {
		row = map[string]string{"state": "running"}
	}
	node.Put("RESOUR_INSTANCE|kms|0|"+name, row, false)
	r, _ := node.store.get(name, resourdb.NodeTable+"|"+name)
	n.db[name][r.Key] = withVersion(r)
}

// roam lets an edge of the overlay come to this node's supernode, or leave it. It may be at several at a time.
func (n *network) roam(name string) {
	key := fmt.Sprintf("%s|office/%d", resourdb.EdgeTable, n.rand.IntN(8))
	if n.rand.IntN(2) == 0 {
		n.enter(name, key)
	} else if _, _, copied := versionOf(n.db[name][key]); !copied { // it is here
		delete(n.db[name], key)
		n.nodes[name].PutSupernode(key, nil)
	}
}

// enter registers an edge at this node's supernode.
func (n *network) enter(name, key string) {
	row := map[string]string{resourdb.SupernodeField: name, resourdb.SinceField: fmt.Sprintf("%020d", n.now)}
	n.db[name][key] = row
	n.nodes[name].PutSupernode(key, row)
}

// dial makes the links the nodes want; seeds know n00.
func (n *network) dial() {
	for _, a := range n.names {
		if n.down[a] {
			continue
		}
		var speak, wanted []string
		for _, m := range n.nodes[a].Members(n.now) {
			if m.State == netmap.Alive {
				speak = append(speak, m.Name)
			} else {
				wanted = append(wanted, m.Name)
			}
		}
		for _, b := range append(append(wanted, overlay(a, speak)...), n.names[0]) {
			pair := [2]string{min(a, b), max(a, b)}
			if a == b || n.down[b] || n.split[a] != n.split[b] || n.links[pair] != nil {
				continue
			}
			w := &wire{ends: pair}
			for i, end := range pair {
				n.last++
				w.id[i] = n.last
				n.nodes[end].Connect(w.id[i], pair[1-i])
			}
			n.links[pair] = w
		}
	}
}

// carry moves frames for a while; a share of the links breaks with what is on it.
func (n *network) carry(rounds int, breaks float64) {
	for range rounds {
		pairs := make([][2]string, 0, len(n.links))
		for p := range n.links {
			pairs = append(pairs, p)
		}
		slices.SortFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
		for _, pair := range pairs {
			w := n.links[pair]
			if n.rand.Float64() < breaks {
				n.cut(pair)
				continue
			}
			for i := range w.ends {
				if f := n.nodes[w.ends[1-i]].Next(w.id[1-i], n.now); f != nil {
					w.fly[i] = append(w.fly[i], *f)
				}
				if len(w.fly[i]) > 0 && n.rand.IntN(4) > 0 { // else it takes longer
					n.nodes[w.ends[i]].Receive(w.id[i], w.fly[i][0], n.now)
					w.fly[i] = w.fly[i][1:]
				}
			}
		}
		for _, name := range n.names {
			n.write(name, n.nodes[name].Changes())
		}
	}
}

func (n *network) write(name string, changes []resourdb.Change) {
	for _, c := range changes {
		if c.Row == nil {
			delete(n.db[name], c.Key)
		} else {
			n.db[name][c.Key] = c.Row
		}
	}
}

// settle lets everything arrive, without new readings.
func (n *network) settle() {
	for range 6 {
		n.dial()
		n.carry(40, 0)
	}
}

// converged: every node that is up holds exactly the rows of every other that is up, in memory and in its database.
func (n *network) converged() {
	n.t.Helper()
	for _, owner := range n.names {
		if n.down[owner] {
			continue
		}
		want := map[string]map[string]string{}
		for key, r := range n.nodes[owner].store.owners[owner].rows {
			if r.Fields != nil {
				want[key] = withVersion(r)
			}
		}
		for _, reader := range n.names {
			if n.down[reader] || reader == owner {
				continue
			}
			got := map[string]map[string]string{}
			for key, row := range n.db[reader] {
				if _, of := resourdb.ScopeOf(key); of == owner {
					got[key] = row
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				n.t.Fatalf("%s has other rows of %s (-owner +reader):\n%s", reader, owner, diff)
			}
		}
	}
	n.sameEdges()
}

// sameEdges: every node that is up shows each edge as its supernode has it, the newest where two have it, unless its own
// supernode has it.
func (n *network) sameEdges() {
	n.t.Helper()
	newest := map[string]map[string]string{}
	for _, name := range n.names {
		for key, row := range n.db[name] {
			scope, _ := resourdb.ScopeOf(key)
			if _, _, copied := versionOf(row); copied || scope != resourdb.SupernodeOwned {
				continue
			}
			had := newest[key]
			if had == nil || row["since"]+row["supernode"] > had["since"]+had["supernode"] {
				newest[key] = row
			}
		}
	}
	for _, reader := range n.names {
		if n.down[reader] {
			continue
		}
		got := map[string]map[string]string{}
		want := maps.Clone(newest)
		for key, row := range n.db[reader] {
			if scope, _ := resourdb.ScopeOf(key); scope != resourdb.SupernodeOwned {
				continue
			}
			_, fields, copied := versionOf(row)
			got[key] = fields
			if !copied {
				want[key] = row
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			n.t.Fatalf("%s shows other edges than there are (-there +shown):\n%s", reader, diff)
		}
	}
}

// Links break, nodes restart with and without their database, the network falls apart and grows together: in the end
// all have the same.
func TestNetworkConverges(t *testing.T) {
	for _, size := range []int{2, 3, 5, 12, 20} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%d nodes, seed %d", size, seed), func(t *testing.T) {
				n := newNetwork(t, size, seed)
				for range 40 {
					n.now += time.Second
					for _, name := range n.names {
						switch n.rand.IntN(40) {
						case 0:
							n.kill(name)
						case 1:
							n.split[name] = n.rand.IntN(2)
							for pair, w := range n.links {
								if n.split[w.ends[0]] != n.split[w.ends[1]] {
									n.cut(pair)
								}
							}
						}
						if n.down[name] && n.rand.IntN(5) == 0 {
							n.boot(name, n.rand.IntN(2) == 0)
						}
						if !n.down[name] {
							n.beat(name)
							n.roam(name)
						}
					}
					n.dial()
					n.carry(3, 0.02)
				}
				clear(n.split)
				for _, name := range n.names {
					if n.down[name] {
						n.boot(name, false)
					}
				}
				n.settle()
				n.converged()
			})
		}
	}
}

// A switch starts again, with its database or without, and its supernode has no edges any more: nobody shows those of
// before.
func TestEdgesOfAFormerLife(t *testing.T) {
	for _, keepDB := range []bool{true, false} {
		n := newNetwork(t, 3, 1)
		key := func(i int) string { return fmt.Sprintf("%s|office/%d", resourdb.EdgeTable, i) }
		for i := range 5 {
			n.enter("n01", key(i))
		}
		n.enter("n02", key(9))
		n.settle()
		n.converged()
		if _, ok := n.db["n00"][key(4)]; !ok {
			t.Fatal("the edges are not shown elsewhere")
		}
		n.kill("n01")
		for i := range 5 {
			delete(n.db["n01"], key(i))
		}
		n.settle()
		n.boot("n01", keepDB)
		n.settle()
		n.converged()
	}
}

// A supernode whose edges come and go keeps no more of those that are gone than it may, and nobody shows them.
func TestManyEdgesGone(t *testing.T) {
	n := newNetwork(t, 2, 1)
	for i := range maxTombs + 2 {
		n.enter("n01", fmt.Sprintf("%s|office/%d", resourdb.EdgeTable, i))
	}
	n.settle()
	n.converged()
	for i := range maxTombs + 2 {
		key := fmt.Sprintf("%s|office/%d", resourdb.EdgeTable, i)
		delete(n.db["n01"], key)
		n.nodes["n01"].PutSupernode(key, nil)
	}
	if kept := len(n.nodes["n01"].store.owner(supernodeOf("n01")).rows); kept > maxTombs {
		t.Errorf("%d rows are kept of edges that are gone", kept)
	}
	n.settle()
	n.converged()
}

// A change reaches everybody within a few hops, also where not all are linked.
func TestEveryLinkPassesOn(t *testing.T) {
	n := newNetwork(t, 60, 1)
	n.settle()
	n.converged()
	for _, name := range n.names {
		if links := n.linksOf(name); name != n.names[0] && links > 5 { // four, and the seed
			t.Errorf("%s has %d links", name, links)
		}
	}
}

func (n *network) linksOf(name string) (count int) {
	for _, w := range n.links {
		if slices.Contains(w.ends[:], name) {
			count++
		}
	}
	return count
}

// A silent node is stale, then dead, in the eyes of each by its own clock; who joins later learns how long it has been
// silent and does not take the old rows for news.
func TestSilence(t *testing.T) {
	n := newNetwork(t, 3, 1)
	n.settle()
	state := func(reader string) netmap.Liveness {
		for _, m := range n.nodes[reader].Members(n.now) {
			if m.Name == "n02" {
				return m.State
			}
		}
		return ""
	}
	advance := func(d time.Duration) {
		n.now += d
		for _, name := range n.names {
			if !n.down[name] {
				n.beat(name)
			}
		}
		n.settle()
	}
	advance(time.Second)
	if got := state("n00"); got != netmap.Alive {
		t.Errorf("speaking: %s", got)
	}
	n.kill("n02")
	advance(2900 * time.Millisecond)
	if got := state("n00"); got != netmap.Alive {
		t.Errorf("silent for 2.9 s: %s", got)
	}
	advance(200 * time.Millisecond)
	if got := state("n00"); got != netmap.Stale {
		t.Errorf("silent for 3.1 s: %s", got)
	}
	advance(7 * time.Second)
	if got := state("n01"); got != netmap.Dead {
		t.Errorf("silent for 10.1 s: %s", got)
	}
	n.kill("n01")
	n.boot("n01", false)
	n.settle()
	if got := state("n01"); got != netmap.Dead {
		t.Errorf("for one who came later: %s", got)
	}
	n.boot("n02", false) // returns with an older incarnation, and takes a newer one
	n.settle()
	n.converged()
	if got := state("n01"); got != netmap.Alive {
		t.Errorf("back: %s", got)
	}
	if got := n.nodes["n02"].Incarnation(); got < 2 {
		t.Errorf("incarnation %d after a restart", got)
	}
}

// Rows of the manager begin on the leader's node, survive its resource-sync, and give way to a newer epoch.
func TestManagerRows(t *testing.T) {
	n := newNetwork(t, 3, 1)
	const kms = "RESOUR_SERVICE|kms"
	has := func(want string) {
		t.Helper()
		n.settle()
		for _, name := range n.names {
			if r, _ := n.nodes[name].store.get(manager, kms); r.Fields["image"] != want {
				t.Errorf("%s has image %q, want %q", name, r.Fields["image"], want)
			}
		}
	}
	put := func(name, image string) {
		n.nodes[name].PutManager(kms, map[string]string{"image": image})
		n.nodes[name].PutManager(leaderKey, map[string]string{"node": name})
	}
	if !n.nodes["n01"].Lead(3) {
		t.Fatal("nobody led, and n01 may not")
	}
	put("n01", "1.0")
	n.nodes["n01"].PutManager("RESOUR_SERVICE|gone", map[string]string{"image": "x"})
	has("1.0")

	n.kill("n01") // its resource-sync starts anew; the manager's rows have changed meanwhile
	n.boot("n01", true)
	n.nodes["n01"].Lead(3)
	put("n01", "1.1")
	has("1.1")
	for _, name := range n.names {
		if r, ok := n.nodes[name].store.get(manager, "RESOUR_SERVICE|gone"); ok && r.Fields != nil {
			t.Errorf("%s keeps a row the manager does not have", name)
		}
	}

	n.nodes["n02"].Lead(4)
	put("n02", "2.0")
	has("2.0")
	if n.nodes["n01"].Leading() || n.nodes["n01"].Lead(3) {
		t.Error("n01 leads under an old epoch")
	}
	n.nodes["n01"].PutManager(kms, map[string]string{"image": "1.2"})
	has("2.0")
	if n.db["n01"][kms]["image"] != "2.0" {
		t.Errorf("database of the former leader: %v", n.db["n01"][kms])
	}
}

// What is not of this AS's shape is not taken, whoever sends it.
func TestRefusals(t *testing.T) {
	n := NewNode("leaf1", 1, 0, limits)
	n.Connect(1, "leaf2")
	fields := map[string]string{"f": "v"}
	version := Version{1, 1}
	var rows []SentRow
	for _, r := range []Row{
		{Key: "RESOUR_NODE|leaf3", Owner: "leaf2", Version: version, Fields: fields},  // not its owner
		{Key: "RESOUR_SEEN|leaf3", Owner: "leaf3", Version: version, Fields: fields},  // local
		{Key: "RESOUR_SERVICE|kms", Owner: "leaf2", Version: version, Fields: fields}, // the manager's
		{Key: "1.3.6.1.2.1", Owner: "leaf2", Version: version, Fields: fields},        // SNMP's
		{Key: "RESOUR_NODE|leaf1", Owner: "leaf1", Version: version, Fields: fields},  // ours
		{Key: "RESOUR_NODE|leaf2", Owner: "leaf2", Version: Version{1 << 63, 1}, Fields: fields},
		{Key: "RESOUR_NODE|leaf2", Owner: "leaf2", Version: version, Fields: map[string]string{"f": strings.Repeat("x", maxBytes)}},
	} {
		rows = append(rows, SentRow{Row: r})
	}
	n.Receive(1, Frame{Rows: rows}, 0)
	if c := n.Changes(); len(c) > 0 {
		t.Errorf("taken: %v", c)
	}
	n.Receive(1, Frame{Rows: []SentRow{{Row: Row{Key: "RESOUR_FUTURE|x", Owner: "leaf2", Version: version, Fields: fields}}}}, 0)
	if c := n.Changes(); len(c) != 1 {
		t.Errorf("a table of a newer version: %v", c)
	}
}

// The rows of a manager on this node are not taken for garbage before we have heard that it leads.
func TestReconcileLeavesTheManager(t *testing.T) {
	n := NewNode("leaf1", 1, 0, limits)
	n.Load(Row{Key: leaderKey, Owner: manager, Version: Version{3, 1}, Fields: map[string]string{"node": "leaf2", "epoch": "3"}}, 0)
	rows := map[string]map[string]string{
		leaderKey:            {"node": "leaf1", "epoch": "4"},
		"RESOUR_SERVICE|kms": {"image": "kms:1.0.0"},
	}
	if c := n.Reconcile(rows); len(c) > 0 {
		t.Errorf("epoch 4 after 3: %v", c)
	}
	if c := n.Reconcile(map[string]map[string]string{"RESOUR_SERVICE|kms": rows["RESOUR_SERVICE|kms"]}); len(c) != 1 || c[0].Key != leaderKey {
		t.Errorf("no word of a leader yet: %v", c)
	}
	rows[leaderKey]["epoch"] = "2"
	if c := n.Reconcile(rows); len(c) != 2 { // leader rewritten, service removed
		t.Errorf("epoch 2 after 3: %v", c)
	}
}

// Reconcile mends an emptied database, rows that somebody else wrote, and rows nobody has any more.
func TestReconcile(t *testing.T) {
	n := newNetwork(t, 2, 1)
	n.settle()
	want := n.db["n00"]
	n.db["n00"] = map[string]map[string]string{
		"RESOUR_RESOURCE|n01|compute": {"used": "forged"},
		"RESOUR_RESOURCE|n07|compute": {"used": "1"},
		"RESOUR_SEEN|n01":             {"state": "alive"},
		resourdb.NodeTable + "|n00":   want[resourdb.NodeTable+"|n00"],
	}
	n.write("n00", n.nodes["n00"].Reconcile(n.db["n00"]))
	delete(n.db["n00"], "RESOUR_SEEN|n01") // stays: it is local
	n.converged()
	if len(n.db["n00"]) != len(want) {
		t.Errorf("rows %v", n.db["n00"])
	}
}
