package run

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/groot"
	"sonic-netservices/bt-manager/record"
	"sonic-netservices/internal/btlog"
)

// A breakpoint of a monitor holds one tree of the manager, before its node has done anything, while the others go on.
func TestMonitor(t *testing.T) {
	p := roomy(t, nil)
	var told []string
	m := groot.New(p.r, func(parts ...[]byte) { told = append(told, string(parts[1])) })
	p.r.Watch(m)
	p.run(100 * time.Millisecond)
	if _, err := m.Show("kms-0", true); err != nil {
		t.Fatal(err)
	}
	ask := func(kind groot.Kind, body ...string) string {
		t.Helper()
		request := [][]byte{{2, byte(kind), 1, 2, 3, 4}}
		for _, b := range body {
			request = append(request, []byte(b))
		}
		reply := m.Answer(request)
		if string(reply[0]) == "error" {
			t.Fatalf("%c: %s", kind, reply[1])
		}
		return string(append(reply, nil)[1])
	}
	tree, err := btlog.ParseTree([]byte(ask(groot.FullTree)))
	if err != nil {
		t.Fatal(err)
	}
	var breaks []groot.Hook
	for i, n := range p.r.trees["kms-0"].run.Program().Nodes() {
		if got := tree.Nodes[i]; got.Path != n.Path || got.Name != n.Name || got.Type != n.Type || got.Parent != n.Parent || got.Class != n.Class.String() {
			t.Errorf("node %d is %+v, but %+v in XML", n.UID, n, got)
		}
		if n.Type == "Handshake" {
			breaks = append(breaks, groot.Breakpoint(uint16(n.UID), bt.Before))
		}
	}
	hooks, err := json.Marshal(breaks)
	if err != nil {
		t.Fatal(err)
	}
	ask(groot.InsertHook, string(hooks))
	p.run(5500 * time.Millisecond)
	if len(p.world.begun) != 0 || len(told) != 1 {
		t.Errorf("held, but began %v; told %v", p.world.begun, told)
	}
	view, err := p.r.Tree("kms-0", false)
	if err != nil || !strings.Contains(view.Text, "Handshake [-] -- held") {
		t.Errorf("%v\n%s", err, view.Text)
	}
	if board := ask(groot.Blackboards, tree.Main); !strings.Contains(board, "\xa7replica\xa5kms-0") || !strings.Contains(board, "\xa4ROOT") {
		t.Errorf("blackboard %q", board)
	}
	ask(groot.RemoveAllHooks)
	p.run(500 * time.Millisecond)
	if len(p.world.begun) != 1 {
		t.Errorf("let go, began %v", p.world.begun)
	}
	p.r.Unwatch(m)
	if len(p.r.watchers) != 0 {
		t.Error("still watched")
	}
}

// What is seen from outside follows a reload: another tree, without the hooks of the one before, in a new log. A manager
// at rest logs nothing more.
func TestWatchedOverReloadAndAtRest(t *testing.T) {
	p := roomy(t, nil)
	dir := t.TempDir()
	rec, err := record.New(record.Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	flush := func() { // Run ends at once, and writes what there is
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		rec.Run(ended)
	}
	m := groot.New(p.r, func(...[]byte) {})
	p.r.Watch(m)
	p.r.Watch(rec)
	p.run(5500 * time.Millisecond)
	id, err := m.Show("kms-0", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.r.Reload(elsewhere(t), "alice", false); err != nil {
		t.Fatal(err)
	}
	p.r.round(p.now, true)
	if next, err := m.Show("kms-0", true); err != nil || next == id || !strings.HasSuffix(p.path("kms-0"), "*TransferData") {
		t.Errorf("after the reload %x, before it %x; %v; path %s", next, id, err, p.path("kms-0"))
	}
	flush()
	if st := last(t, rec, 0, "TransferData"); st != btlog.Running {
		t.Errorf("in the log after the reload TransferData is %v", st)
	}
	if st := last(t, rec, 1, "TransferData"); st != btlog.Running {
		t.Errorf("in the log before the reload TransferData is %v", st)
	}

	p.run(60 * time.Second) // the move ends, the network is quiet
	p.on("kms", "leaf3")
	p.load("kms", 0.1)
	p.run(60 * time.Second)
	flush()
	before := written(t, dir)
	p.run(10 * time.Minute)
	flush()
	if after := written(t, dir); !maps.Equal(after, before) {
		t.Errorf("two trees at rest logged in ten minutes: %v before, %v after", before, after)
	}
}

// last is the status of the last node of a type that was not IDLE in the log of kms-0, in the end.
func last(t *testing.T, rec *record.Recorder, ago int, kind string) (st btlog.Status) {
	t.Helper()
	f, err := rec.Open("kms-0", ago)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := btlog.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range r.Tree.Nodes {
		if n.Type == kind && r.Status(n.UID) != btlog.Idle {
			st = r.Status(n.UID)
		}
	}
	return st
}

// written is when each file of a folder was written last.
func written(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	at := map[string]time.Time{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		at[e.Name()] = info.ModTime()
	}
	return at
}
