package run

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/groot"
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
	view, err := p.r.Tree("kms-0")
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
