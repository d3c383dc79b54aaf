package run

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
)

// steer does what alice tells the tree of kms, and the round that follows.
func (p *play) steer(s Steering) (string, error) {
	p.t.Helper()
	s.By = "alice"
	text, err := p.r.Steer("kms-0", s)
	p.r.round(p.now, true)
	return text, err
}

// A paused tree is not ticked, over a restart as well; its operation goes on. Resumed, it goes on where it was.
func TestPause(t *testing.T) {
	p, d := durable(t, nil)
	p.run(5500 * time.Millisecond)
	if _, err := p.steer(Steering{Act: Pause}); err != nil {
		t.Fatal(err)
	}
	p.run(10 * time.Second)
	if got := p.path("kms-0"); !strings.HasSuffix(got, "*TransferData") || len(p.asked) != 0 {
		t.Errorf("path %s, asked for %q", got, p.asked)
	}
	next := heir(t, p, d)
	next.run(10 * time.Second)
	if view, err := next.r.Tree("kms-0", false); err != nil || !strings.HasPrefix(view.Text, "! paused by alice\n") || len(next.asked) != 0 {
		t.Errorf("%v, asked for %q\n%s", err, next.asked, view.Text)
	}
	if _, err := next.steer(Steering{Act: Resume}); err != nil {
		t.Fatal(err)
	}
	next.run(20 * time.Second)
	next.on("kms", "leaf3")
	next.orders("move kms-0 to leaf3")
	if len(d.holds) != 0 {
		t.Errorf("still kept: %v", d.holds)
	}
	if e := p.find("kms", "pause"); e.Text != "paused; what it has begun goes on, and so do deadlines, by alice" {
		t.Errorf("audit %+v", e)
	}
}

// A halted tree begins anew. A move that rests is taken back; one whose step is under way goes on with the new round.
func TestHalt(t *testing.T) {
	p, _ := durable(t, nil)
	p.run(5500 * time.Millisecond)
	text, err := p.steer(Steering{Act: Halt})
	if err != nil || !strings.HasPrefix(text, "halted at guard/move/migrate/TransferData::") || !strings.Contains(text, "takes operation tree-kms-0-e1-1 up") {
		t.Errorf("%q, %v", text, err)
	}
	if got := p.path("kms-0"); !strings.HasSuffix(got, "+OwnOperation +SetBlackboard *TransferData") {
		t.Errorf("path %s", got)
	}
	p.run(20 * time.Second)
	p.on("kms", "leaf3")
	p.orders("move kms-0 to leaf3")
}

// Forced, a node is not run: until it is released, over a restart as well; or once.
func TestForce(t *testing.T) {
	p, d := durable(t, nil)
	if _, err := p.r.Steer("kms-0", Steering{Act: Force}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a tree that has not begun: %v", err)
	}
	p.run(2 * time.Second)
	text, err := p.steer(Steering{Act: Force, Node: "LeavesFirst", Status: bt.Failure})
	if err != nil || !strings.HasPrefix(text, "guard/LeavesFirst::") || !strings.HasSuffix(text, " answers FAILURE until it is released") {
		t.Fatalf("%q, %v", text, err)
	}
	p.run(20 * time.Second)
	p.orders()
	next := heir(t, p, d)
	next.run(10 * time.Second)
	next.orders()
	view, err := next.r.Tree("kms-0", false)
	if err != nil || !strings.Contains(view.Text, "! guard/LeavesFirst::") || !strings.Contains(view.Text, "answers FAILURE, by alice") ||
		!strings.Contains(view.Text, "forced to FAILURE") {
		t.Errorf("%v\n%s", err, view.Text)
	}
	if _, err := next.steer(Steering{Act: Release}); err != nil {
		t.Fatal(err)
	}
	next.run(20 * time.Second)
	next.on("kms", "leaf3")

	p, d = durable(t, nil)
	p.run(4 * time.Second)
	if _, err := p.steer(Steering{Act: Force, Node: "MayLeave", Status: bt.Failure, Once: true}); err == nil {
		t.Error("two nodes have that name")
	}
	if _, err := p.steer(Steering{Act: Force, Node: "confirmed, then move", Status: bt.Failure, Once: true}); err != nil {
		t.Fatal(err)
	}
	p.run(20 * time.Second)
	p.on("kms", "leaf3")
	if len(d.holds) != 0 {
		t.Errorf("kept what was for once: %v", d.holds)
	}
}

// RUNNING holds a tree before a node, so that a person can look.
func TestHoldBeforeCutover(t *testing.T) {
	p, _ := durable(t, nil)
	p.run(2 * time.Second)
	if _, err := p.steer(Steering{Act: Force, Node: "guard/move/migrate/only forward", Status: bt.Running}); err != nil {
		t.Fatal(err)
	}
	p.run(60 * time.Second)
	if len(p.asked) != 1 { // prewarm
		t.Errorf("asked for %q", p.asked)
	}
	if _, err := p.steer(Steering{Act: Release, Node: "guard/move/migrate/only forward"}); err != nil {
		t.Fatal(err)
	}
	p.run(2 * time.Second)
	p.on("kms", "leaf3")
}

// What could do harm, or is not there, is refused with a reason, and nothing changes.
func TestSteerRefuses(t *testing.T) {
	p, d := durable(t, nil)
	p.stuck[decide.Cutover] = true
	p.run(8 * time.Second)
	before := p.path("kms-0")
	for _, c := range []struct {
		s    Steering
		kind error
		want string
	}{
		{Steering{Act: Halt}, ErrUnsafe, "kms-0 is in a cut-over, at guard/move/migrate/Cutover::"},
		{Steering{Act: Force, Node: "Cutover::66", Status: bt.Success}, ErrUnknown, "no node Cutover::66"},
		{Steering{Act: Force, Node: "GetReplica", Status: bt.Failure}, ErrUnsafe, "its outcome has to be heard"},
		{Steering{Act: Force, Node: "GetReplicas", Status: bt.Failure}, ErrUnknown, "no node GetReplicas; did you mean GetReplica?"},
		{Steering{Act: "explode"}, ErrUnknown, `nothing is called "explode"`},
	} {
		if _, err := p.steer(c.s); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v\nwant %s", c.s, err, c.want)
		}
	}
	p.run(2 * time.Second)
	if got := p.path("kms-0"); got != "*Cutover" || !strings.HasSuffix(before, "*Cutover") || len(d.holds) != 0 {
		t.Errorf("path %s, kept %v", got, d.holds)
	}
	p = roomy(t, nil)
	p.run(time.Second)
	for _, node := range []string{"guard/move/migrate/Rollback", "RecordPolicy"} {
		_, err := p.steer(Steering{Act: Force, Node: node, Status: bt.Success})
		if err == nil || !errors.Is(err, ErrUnsafe) && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", node, err)
		}
	}
	for _, n := range p.r.programs.replica.Nodes() {
		if n.Type == "RecordPolicy" {
			if _, err := p.steer(Steering{Act: Force, Node: n.Path, Status: bt.Success}); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "tells what became of an operation") {
				t.Errorf("%s: %v", n.Path, err)
			}
		}
	}
	if _, err := p.steer(Steering{Act: Force, Node: "1", Status: bt.Idle}); !errors.Is(err, ErrUnknown) {
		t.Errorf("IDLE: %v", err)
	}
}
