package bt_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// A move under way goes on in a changed tree, as long as the nodes that run are still there.
func TestCarryOverReload(t *testing.T) {
	file, err := os.ReadFile("testdata/bt_manager.xml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, refused string }{
		"node before the running path": {`<GetNodeStates snapshot="{net}" max_age_ms="5000"/>
      <PickServiceToCheck`, `<GetNodeStates snapshot="{net}" max_age_ms="5000"/><Script code="seen := 1"/>
      <PickServiceToCheck`, ""},
		"threshold elsewhere":     {`num_attempts="3"`, `num_attempts="5"`, ""},
		"timeout of what runs":    {`msec="600000"`, `msec="700000"`, "Timeout"},
		"a third half":            {`</Parallel>`, `<AlwaysSuccess/></Parallel>`, "root is counting its children"},
		"running subtree is gone": {`name="migrate" index`, `name="relocate" index`, "migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			m := inTransfer(t)
			changed := bytes.Replace(file, []byte(c.old), []byte(c.new), 1)
			if bytes.Equal(changed, file) {
				t.Fatal("the edit changes nothing")
			}
			prog, faults := xmlv4.Load(fstest.MapFS{"m.xml": {Data: changed}}, "m.xml", m.registry(), xmlv4.Options{})
			if prog == nil {
				t.Fatalf("load:\n%s", faults)
			}
			s, err := bt.Carry(m.in.Snapshot(), m.in.Program(), prog)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("carried, or refused for another reason: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m.in = prog.New(m.root)
			if err := m.in.Restore(s); err != nil {
				t.Fatal(err)
			}
			m.tick(time.Second, "TransferData resumes TransferData/1")
			m.pending = nil
			m.tick(time.Second, "Prewarm starts", "Cutover starts", "UnloadSource starts", "service 1 now on leaf2")
		})
	}
}

func TestForce(t *testing.T) {
	r := try(t, `<Sequence><C s="F"/><L s="R" _onHalted="v := 1"/><AlwaysSuccess/></Sequence>`)
	force := func(uid int, st bt.Status, once bool) {
		t.Helper()
		if err := r.Force(uid, st, once); err != nil {
			t.Fatal(err)
		}
	}
	r.ticks(0, "FAILURE")
	force(2, bt.Success, true)
	r.ticks(0, "RUNNING")
	force(3, bt.Success, true) // the leaf that runs is halted first
	force(4, bt.Running, false)
	r.ticks(0, "RUNNING RUNNING")
	if r.Get("v").Float() != 1 || r.Note(4) != "held" {
		t.Errorf("v = %v, note %q", r.Get("v"), r.Note(4))
	}
	r.Release(4)
	r.ticks(0, "SUCCESS FAILURE")
	for _, err := range []error{r.Force(0, bt.Success, true), r.Force(9, bt.Success, true), r.Force(1, bt.Idle, true)} {
		if err == nil {
			t.Error("a force that means nothing was taken")
		}
	}
}
