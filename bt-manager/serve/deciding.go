package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/bt-manager/record"
	"sonic-netservices/bt-manager/run"
	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
	"sonic-netservices/resourdb"
)

// deciding joins the trees (package run) with the orders they decide with and the rows they look at, and shows them.
type deciding struct {
	m      *orders.Manager
	dbs    *sonicdb.Set
	trees  *orders.Trees
	runner *run.Runner
	params decide.Params

	outside  *outside
	treeFile string // "" = the built-in one

	mu       sync.Mutex
	db       *resourdb.DB
	included []string                     // files that treeFile included when it was read last
	news     chan struct{}                // closed, and replaced, when a blackboard changed
	boards   map[string]map[string]string // by tree: blackboards, as RESOUR_BLACKBOARD shows them
}

// newDeciding makes the trees ready. A tree file or a parameter that is wrong ends the start. kept is run.Config.Kept.
func newDeciding(c Config, m *orders.Manager, dbs *sonicdb.Set, kept func(time.Duration)) (*deciding, error) {
	d := &deciding{m: m, dbs: dbs, treeFile: c.Tree, news: make(chan struct{}), boards: map[string]map[string]string{}}
	d.trees = m.ForTrees(d.read, func() { d.runner.Wake() })
	conf, err := c.forTrees()
	if err != nil {
		return nil, err
	}
	d.params, conf.Audit, conf.Store = conf.Params, filepath.Join(c.Dir, "audit.jsonl"), d.trees
	conf.Kept = kept
	m.View(func(s *orders.State) { conf.Epoch = s.Epoch })
	if d.runner, err = run.New(conf, d.trees, d, slog.Default()); err != nil {
		return nil, err
	}
	d.outside, err = newOutside(c, d.runner)
	return d, err
}

// forTrees is what the configuration says of the trees.
func (c *Config) forTrees() (conf run.Config, err error) {
	conf = run.Config{Params: c.Policy, Balance: balance.Defaults()}
	if conf.Params.Samples == 0 { // not completed from CONFIG_DB
		conf.Params = decide.Defaults()
	}
	conf.File, _, err = readTrees(c.Tree)
	return conf, err
}

// CheckTrees names the faults of the tree file, as a start would.
func (c *Config) CheckTrees() error {
	conf, err := c.forTrees()
	if err != nil {
		return err
	}
	_, err = run.New(conf, nil, nil, slog.Default()) // never ticked
	return err
}

// run keeps trees and their world going until ctx ends.
func (d *deciding) run(ctx context.Context) error {
	var world sync.WaitGroup
	defer world.Wait()
	world.Go(func() { d.trees.Run(ctx) })
	if d.treeFile != "" {
		world.Go(func() { d.watchTrees(ctx) })
	}
	defer d.outside.close()
	if r := d.outside.recorder; r != nil {
		world.Go(func() { r.Run(ctx) })
	}
	return d.runner.Run(ctx)
}

// read gives the network as this node's database has it. Redis may be away at any time.
func (d *deciding) read(ctx context.Context) (netmap.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.db == nil {
		db, err := resourdb.Open(ctx, d.dbs)
		if err != nil {
			return netmap.Snapshot{}, err
		}
		d.db = db
	}
	return d.db.Snapshot(ctx)
}

// Blackboard implements run.Mirror: it is told what changed.
func (d *deciding) Blackboard(tree string, entries map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boards[tree] == nil {
		d.boards[tree] = map[string]string{}
	}
	for name, value := range entries {
		d.boards[tree][name] = value
		if value == "" {
			delete(d.boards[tree], name)
		}
	}
	if len(d.boards[tree]) == 0 {
		delete(d.boards, tree)
	}
	close(d.news)
	d.news = make(chan struct{})
}

// shown is closed when a blackboard is not any more what rows gives now.
func (d *deciding) shown() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.news
}

// rows are those of the deciding: blackboards, and what is held on nodes.
func (d *deciding) rows() (rows []resourdb.Row) {
	d.mu.Lock()
	for tree, entries := range d.boards {
		rows = append(rows, resourdb.Blackboard{Tree: tree, Entries: maps.Clone(entries)})
	}
	d.mu.Unlock()
	for node, demand := range d.trees.Snapshot().Reserved {
		for kind, amount := range demand {
			rows = append(rows, resourdb.Reserved{Node: node, Kind: kind, Amount: amount})
		}
	}
	return rows
}

// Nodes implements Views.
func (d *deciding) Nodes(context.Context) *api.NodeList {
	snap := d.trees.Snapshot()
	verdicts := d.runner.Verdicts()
	list := &api.NodeList{}
	for _, n := range snap.Nodes {
		view := &api.NodeView{Name: n.Name, Address: n.Address, Tier: n.Tier, Liveness: string(n.Liveness),
			HeardMs: n.Heard.Milliseconds(), Drained: n.Drained}
		for _, r := range n.Resources {
			rv := &api.ResourceView{Kind: string(r.Kind), Capacity: r.Capacity, Used: r.Used, Unit: r.Unit,
				Reserved: snap.Reserved[n.Name][r.Kind], Threshold: d.params.Of(r.Kind).Threshold}
			if v, ok := verdicts[n.Name].Of(r.Kind); ok {
				rv.Verdict = string(v.State)
			}
			view.Resources = append(view.Resources, rv)
		}
		for _, p := range snap.Replicas {
			if p.Node == n.Name {
				view.Replicas = append(view.Replicas, p.ID.String())
			}
		}
		for _, l := range snap.Links {
			if l.From == n.Name {
				view.Neighbors = append(view.Neighbors, &api.NeighborView{Node: l.To, SpeedBps: l.SpeedBPS})
			}
		}
		list.Nodes = append(list.Nodes, view)
	}
	if problem := d.trees.Problem(); problem != "" && len(list.Nodes) > 0 {
		list.Nodes[0].Problem = problem
	}
	return list
}

// Tree implements Views.
func (d *deciding) Tree(replica string, onlyActive bool) (*api.TreeView, error) {
	v, err := d.runner.Tree(firstOf(replica), onlyActive)
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	view := &api.TreeView{Name: v.Name, Text: v.Text, Dot: v.Dot, Mermaid: v.Mermaid, Json: v.JSON, Blackboard: map[string]string{}}
	for _, e := range v.Blackboard {
		view.Blackboard[e.Name] = e.Value.String()
		entry := &api.BoardEntry{Name: e.Name, Value: e.Value.String(), Kind: e.Value.Kind().String(), Writer: e.Writer}
		if !e.At.IsZero() {
			entry.AtUnixMs = e.At.UnixMilli()
		}
		view.Entries = append(view.Entries, entry)
	}
	return view, nil
}

// acts are what messages call what is done to a tree.
var acts = map[api.Act]run.Act{api.Act_PAUSE: run.Pause, api.Act_RESUME: run.Resume, api.Act_HALT: run.Halt, api.Act_FORCE: run.Force, api.Act_RELEASE: run.Release}

// Steer implements Views.
func (d *deciding) Steer(by string, req *api.SteerRequest) (*api.SteerReply, error) {
	s := run.Steering{By: by, Act: acts[req.Act], Node: req.Node, Once: req.Once}
	if req.Status != "" {
		var err error
		if s.Status, err = bt.ParseStatus(req.Status); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	tree := firstOf(req.Replica)
	text, err := d.runner.Steer(tree, s)
	switch {
	case errors.Is(err, run.ErrUnknown):
		return nil, status.Error(codes.NotFound, err.Error())
	case errors.Is(err, run.ErrUnsafe):
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return nil, err
	}
	return &api.SteerReply{Text: text, Holds: d.runner.Told(tree)}, nil
}

// firstOf takes a service for its first replica.
func firstOf(replica string) string {
	if replica != "" && !strings.Contains(replica, "-") {
		replica += "-0"
	}
	return replica
}

// Monitor implements Views.
func (d *deciding) Monitor(by, replica string, write, end bool) (*api.MonitorReply, error) {
	return d.outside.monitor(by, firstOf(replica), write, end)
}

// Recording implements Views.
func (d *deciding) Recording(replica string, ago int) (io.ReadCloser, error) {
	if replica != record.Name("") {
		replica = firstOf(replica)
	}
	return d.outside.recording(replica, ago)
}

// Why implements Views.
func (d *deciding) Why(service string, most int) (*api.WhyReply, error) {
	known := false
	d.m.View(func(s *orders.State) { known = s.Services[service] != nil })
	audits := d.runner.Why(service, most)
	if !known && len(audits) == 0 {
		return nil, status.Errorf(codes.NotFound, "service: no service %s, and none that was", service)
	}
	reply := &api.WhyReply{}
	for _, a := range audits {
		e := &api.AuditEntry{AtUnixMs: a.At.UnixMilli(), Replica: a.Replica, What: a.What, Text: a.Text, Op: a.Op, Path: a.Path, Reads: a.Reads}
		if a.Detail != nil {
			if text, err := json.Marshal(a.Detail); err == nil {
				e.Detail = text
			}
			if s, ok := a.Detail.(fmt.Stringer); ok {
				e.DetailText = s.String()
			}
		}
		reply.Entries = append(reply.Entries, e)
	}
	return reply, nil
}

// Drain implements Views.
func (d *deciding) Drain(node string, end bool) error { return d.m.Drain(node, end) }
