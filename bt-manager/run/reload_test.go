package run

import (
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
)

// Edits of manager.xml: one elsewhere, one that touches what runs during a move.
const (
	leavesFirst = `<LeavesFirst snapshot="{net}"`
	retry       = `<RetryUntilSuccessful name="refused: next best" num_attempts="-1">
          <Fallback name="end unless refused">
            <Sequence name="choose and move">`
)

func mine(text []byte) trees.File { return trees.File{Name: "mine.xml", Text: string(text)} }

func elsewhere(t *testing.T) trees.File {
	return mine(edit(t, leavesFirst, "<AlwaysSuccess/>"+leavesFirst))
}
func around(t *testing.T) trees.File {
	return mine(edit(t, retry, strings.Replace(retry, `"-1"`, `"3"`, 1)))
}

// A move survives a reload at each of its steps: at once where all that runs is in the new file too, after its end where
// it is not, and never in the cut-over. It is one move in all cases, and nothing is taken back.
func TestReloadDuringAMove(t *testing.T) {
	for _, c := range []struct {
		leaf   string
		stuck  decide.Step
		after  time.Duration
		waits  string // with the edit elsewhere, "" = goes on at once
		waits2 string // with the edit of what runs
	}{
		{"SustainedOverload", "", 3 * time.Second, "", ""},
		{"TransferData", "", 5500 * time.Millisecond, "", "waits for operation tree-kms-0-e1-1: carry a run: "},
		{"Prewarm", "", 6200 * time.Millisecond, "", "waits for operation tree-kms-0-e1-1: carry a run: "},
		{"Cutover", "", 6700 * time.Millisecond, "in a cut-over, at ", "in a cut-over, at "},
		{"Ask", decide.Cutover, 40 * time.Second, "in a cut-over, at ", "in a cut-over, at "},
	} {
		for name, f := range map[string]trees.File{c.waits: elsewhere(t), c.waits2 + " ": around(t)} {
			waits := strings.TrimSuffix(name, " ")
			t.Run(c.leaf+", "+name, func(t *testing.T) {
				p, d := durable(t, nil)
				p.stuck[c.stuck] = true
				p.run(c.after)
				if got := p.path("kms-0"); !strings.HasSuffix(got, "*"+c.leaf) {
					t.Fatalf("path %s", got)
				}
				asked := len(p.asked)
				if err := p.r.Reload(f, "alice", false); err != nil {
					t.Fatal(err)
				}
				p.r.round(p.now, true)
				s := p.r.Standing()
				if s.File != "mine.xml" || s.Problem != "" || (len(s.Waiting) > 0) != (waits != "") ||
					waits != "" && (s.Waiting[0].Tree != "kms-0" || !strings.HasPrefix(s.Waiting[0].Why, waits)) {
					t.Errorf("standing %+v, want it to wait: %q", s, waits)
				}
				if got := p.path("kms-0"); !strings.HasSuffix(got, "*"+c.leaf) {
					t.Errorf("after the reload: path %s", got)
				}
				next := heir(t, p, d, func(c *Config) { c.File = f }) // what was kept fits, too
				next.r.round(next.now, true)
				if got := next.path("kms-0"); waits == "" && !strings.HasSuffix(got, "*"+c.leaf) {
					t.Errorf("after a restart: path %s", got)
				}
				for _, op := range p.ops {
					op.due = p.now
				}
				p.run(20 * time.Second)
				p.on("kms", "leaf3")
				p.orders("move kms-0 to leaf3")
				for _, a := range p.asked[asked:] {
					if strings.HasPrefix(a, "cancel") {
						t.Errorf("asked for %q", p.asked)
					}
				}
				if s := p.r.Standing(); len(s.Waiting) > 0 {
					t.Errorf("still waiting: %+v", s.Waiting)
				}
				if kept := d.runs["kms-0"].Tree; kept != p.r.programs.replica.Hash() {
					t.Errorf("what is kept is of tree %016x", kept)
				}
			})
		}
	}
}

// Force halts what would have to wait, but in a cut-over. The operation goes on: the new tree finds it.
func TestForcedReload(t *testing.T) {
	p, _ := durable(t, nil)
	p.run(5500 * time.Millisecond)
	if err := p.r.Reload(around(t), "alice", true); err != nil {
		t.Fatal(err)
	}
	p.r.round(p.now, true)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "+OwnOperation +SetBlackboard *TransferData") {
		t.Errorf("path %s", got)
	}
	p.run(1200 * time.Millisecond)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "*Cutover") {
		t.Fatalf("path %s", got)
	}
	if err := p.r.Reload(elsewhere(t), "alice", true); err != nil {
		t.Fatal(err)
	}
	p.r.round(p.now, true)
	if s := p.r.Standing(); len(s.Waiting) != 1 || !strings.HasSuffix(p.path("kms-0"), "*Cutover") {
		t.Errorf("%+v, path %s", s, p.path("kms-0"))
	}
	p.run(20 * time.Second)
	p.on("kms", "leaf3")
	p.orders("move kms-0 to leaf3")
	if s := p.r.Standing(); len(s.Waiting) > 0 {
		t.Errorf("still waiting: %+v", s.Waiting)
	}
}

// A file with faults leaves the old trees in effect, and the operator with every place. So does one that would never rest.
func TestBadReload(t *testing.T) {
	p := roomy(t, nil)
	p.run(5500 * time.Millisecond)
	before := p.r.Standing()
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"unknown node": {edit(t, "<LeavesFirst", "<LeavesLast"), "did you mean <LeavesFirst>?"},
		"half a file":  {trees.Manager[:len(trees.Manager)/2], "mine.xml:"},
		"empty":        {[]byte(" "), "mine.xml:1:"},
		"no replica":   {edit(t, `<GetReplica replica="{replica}" index="{index}" source="{source}" need="{need}" mode="{mode}"/>`, ""), "mine.xml:"},
		"spins": {edit(t, `<OperationOfOthers replica="{replica}"/>`, `<RetryUntilSuccessful num_attempts="-1"><AlwaysFailure/></RetryUntilSuccessful>`),
			"mine.xml: tree of kms-0: rehearsal: it goes on at once without end, at RetryUntilSuccessful::"},
	} {
		t.Run(name, func(t *testing.T) {
			err := p.r.Reload(mine(c.text), "alice", true)
			s := p.r.Standing()
			if err == nil || !strings.Contains(err.Error(), c.want) || s.Problem != err.Error() || s.Refused.IsZero() || s.Hash != before.Hash || s.File != before.File {
				t.Fatalf("error %v, standing %+v\nwant %q", err, s, c.want)
			}
		})
	}
	p.run(20 * time.Second)
	p.on("kms", "leaf3")
	p.orders("move kms-0 to leaf3")
	if err := p.r.Reload(mine(trees.Manager), "alice", false); err != nil || p.r.Standing().Problem != "" {
		t.Errorf("%v, standing %+v", err, p.r.Standing())
	}
}

// A rehearsal changes nothing in the world.
func TestRehearsalHasNoHand(t *testing.T) {
	p := roomy(t, nil)
	p.run(2 * time.Second)
	p.wanted = append(p.wanted, service("dns", 0.1))
	text := edit(t, `<Sequence name="look at its node">`, `<SubTree ID="MoveAway" _autoremap="true" windows="0" reason="now"/><Sequence name="look at its node">`)
	if err := p.r.Reload(mine(text), "alice", false); err != nil {
		t.Fatal(err)
	}
	p.orders()
	if len(p.wanted) != 1 || len(p.rests) != 0 || len(p.r.Why("kms", 10)) != 0 {
		t.Errorf("wanted %v, rests %v, said %v", p.wanted, p.rests, p.r.Why("kms", 10))
	}
	p.run(10 * time.Second)
	p.find("dns", "deployed") // in earnest
	p.find("kms", "move")
}

// From the product's trees to the paper's, which has none for each replica, and back.
func TestReloadOfAnotherShape(t *testing.T) {
	p := roomy(t, nil)
	p.run(time.Second)
	if err := p.r.Reload(trees.File{Name: "paper.xml", Text: string(trees.Paper)}, "alice", false); err != nil {
		t.Fatal(err)
	}
	p.run(2 * time.Second)
	if got := p.r.Replicas(); len(got) != 0 {
		t.Errorf("trees of %q", got)
	}
	if err := p.r.Reload(mine(trees.Manager), "alice", false); err != nil {
		t.Fatal(err)
	}
	p.run(20 * time.Second)
	p.on("kms", "leaf3")
}
