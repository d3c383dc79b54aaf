package run

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

func TestViews(t *testing.T) {
	p := roomy(t, nil)
	p.run(5500 * time.Millisecond)
	view, err := p.r.Tree("kms-0", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"TransferData", "op tree-kms-0-e1-1", " of 600 s"} {
		if !strings.Contains(view.Text, part) {
			t.Errorf("no %q in\n%s", part, view.Text)
		}
	}
	want := filepath.Join("testdata", "picture.txt")
	if *update {
		if err := os.WriteFile(want, []byte(view.Text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(want)
	if diff := cmp.Diff(string(text), view.Text); err != nil || diff != "" {
		t.Errorf("%v, %s (-want +got):\n%s", err, want, diff)
	}
	if !strings.HasPrefix(view.Dot, "digraph") || !strings.Contains(view.Mermaid, "flowchart") || !json.Valid(view.JSON) {
		t.Errorf("dot %.20q, mermaid %.20q, json %.20q", view.Dot, view.Mermaid, view.JSON)
	}
	for key, want := range map[string]string{"replica": "kms-0 by ", "source": "leaf1 by GetReplica::", "op": "tree-kms-0-e1-1 by guard/move/Handshake::",
		"@Samples": "5 by ", "@Policy1": "kms-0 on leaf1 by "} {
		i := slices.IndexFunc(view.Blackboard, func(e Entry) bool { return e.Name == key })
		if i < 0 {
			t.Fatalf("no entry %s", key)
		}
		e := view.Blackboard[i]
		if got := e.Value.String() + " by " + e.Writer; !strings.HasPrefix(got, want) || e.At.IsZero() {
			t.Errorf("blackboard %s is %q at %v, want %q", key, got, e.At, want)
		}
	}
	if active, err := p.r.Tree("kms-0", true); err != nil || strings.Contains(active.Text, "[-]\n") || !strings.Contains(active.Text, "TransferData [*]") {
		t.Errorf("%v, only what is active:\n%s", err, active.Text)
	}
	if view, err := p.r.Tree("", false); err != nil || view.Name != "intake" || !strings.Contains(view.Text, "AllServicesDeployed") {
		t.Errorf("intake: %v %s", err, view.Text)
	}
	if reads := p.find("kms", "move").Reads; reads["source"] != "leaf1" || reads["target"] != "leaf3" || !strings.HasPrefix(reads["reason"], "compute of leaf1 above") {
		t.Errorf("the handshake has read %q", reads)
	}
	verdicts := p.r.Verdicts()
	if v := verdicts["leaf1"]; v.State != decide.Confirmed || v.Kind != netmap.Compute {
		t.Errorf("leaf1 is judged %+v", v)
	}
	if v := verdicts["leaf2"]; v.State != decide.Idle {
		t.Errorf("leaf2 is judged %+v", v)
	}
}

// The file holds what Why says, one JSON object a line, and is not endless.
func TestAuditFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	cfg := config()
	cfg.Audit = path
	p := start(t, roomy(t, nil).world, cfg)
	p.run(20 * time.Second)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	why := p.r.Why("kms", 100)
	if len(lines) != len(why) || len(why) == 0 {
		t.Fatalf("%d lines, %d entries", len(lines), len(why))
	}
	for i, l := range lines {
		var got line
		if err := json.Unmarshal([]byte(l), &got); err != nil {
			t.Fatal(err)
		}
		if a := why[i]; !got.At.Equal(a.At) || got.Replica != a.Replica || got.What != a.What || got.Op != a.Op || got.Path != a.Path || got.Path == "" {
			t.Errorf("line %+v, entry %+v", got, a)
		}
	}
	if last := p.r.Why("kms", 2); len(last) != 2 || last[1].What != "moved" || last[1].Op != "tree-kms-0-e1-1" {
		t.Errorf("newest entries %+v", last)
	}
	if chosen, ok := p.find("kms", "chosen").Detail.(balance.Decision); !ok || chosen.Candidates[0].Node != "leaf3" {
		t.Errorf("chosen %+v", chosen)
	}

	p.r.audit.size = auditFile // so the file is full with the next entry
	if err := p.r.audit.add("kms-0", decide.Entry{What: "last", Detail: math.NaN()}, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.r.audit.add("kms-0", decide.Entry{What: "first"}, nil); err != nil {
		t.Fatal(err)
	}
	old, _ := os.ReadFile(path + ".1")
	fresh, _ := os.ReadFile(path)
	if !strings.Contains(string(old), `"what":"last","text":"","detail":"NaN"`) || strings.Count(string(fresh), "\n") != 1 || !strings.Contains(string(fresh), `"first"`) {
		t.Errorf("old file of %d bytes, new file %s", len(old), fresh)
	}
}

// counting counts looks at the world.
type counting struct {
	*world
	looks atomic.Int32
}

func (c *counting) Replicas() []decide.Replica { c.looks.Add(1); return nil }

func TestRunLooksOnceASecondAndWhenWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &counting{world: newWorld("leaf1")}
		r, err := New(config(), w, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(3500 * time.Millisecond)
		if n := w.looks.Load(); n != 4 {
			t.Errorf("%d looks in 3.5 s, want 4", n)
		}
		for range 5 {
			r.Wake()
		}
		synctest.Wait()
		if n := w.looks.Load(); n < 5 || n > 6 {
			t.Errorf("%d looks after five wakes at once", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
