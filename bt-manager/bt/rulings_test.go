package bt_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// trial runs a tree in which L and C play their strings, as in the traces, under a clock of its own.
type trial struct {
	*bt.Instance
	t    *testing.T
	now  time.Time
	next time.Time
}

func try(t *testing.T, inside string) *trial {
	t.Helper()
	reg := traceRegistry(false)
	reg.AddFunc("Panic", bt.Action, nil, func(*bt.Ctx) bt.Status { panic("oh no") })
	reg.AddFunc("Wrong", bt.Action, nil, func(*bt.Ctx) bt.Status { return bt.Running })
	reg.AddFunc("Limit", bt.Condition, []bt.Port{{Name: "x", Type: board.Int}}, func(c *bt.Ctx) bt.Status {
		if c.Int(0) > 3 {
			return bt.Success
		}
		return bt.Failure
	})
	xml := inside
	if !strings.HasPrefix(xml, "<root") {
		xml = `<root BTCPP_format="4"><BehaviorTree ID="M">` + inside + `</BehaviorTree></root>`
	}
	prog, faults := xmlv4.Load(fstest.MapFS{"t": {Data: []byte(xml)}}, "t", reg, xmlv4.Options{Given: []string{"v"}})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	return &trial{Instance: prog.New(nil), t: t, now: time.Unix(1000, 0)}
}

// ticks runs one tick for each answer wanted, step apart.
func (r *trial) ticks(step time.Duration, want string) {
	r.t.Helper()
	for i, w := range strings.Fields(want) {
		r.now = r.now.Add(step)
		var st bt.Status
		if st, r.next = r.Tick(r.now); st.String() != w {
			r.t.Fatalf("tick %d of %q: %v", i+1, want, st)
		}
	}
}

// The table of docs/decisions/0010: where ours differs from v4 on purpose.
func TestRulings(t *testing.T) {
	for name, c := range map[string]struct{ tree, want, note string }{
		"Parallel settled": {`<Parallel success_count="2"><AlwaysSuccess/><AlwaysSuccess _skipIf="true"/><AlwaysSuccess _skipIf="true"/></Parallel>`,
			"FAILURE", bt.SettledNote},
		"IfThenElse skipped":  {`<IfThenElse><AlwaysSuccess _skipIf="true"/><AlwaysSuccess/></IfThenElse>`, "SKIPPED SKIPPED", ""},
		"WhileDoElse skipped": {`<WhileDoElse><AlwaysSuccess _skipIf="true"/><AlwaysSuccess/></WhileDoElse>`, "SKIPPED SKIPPED", ""},
		"division by zero":    {`<Script code="a := 1/0"/>`, "FAILURE", "the result is no finite number"},
		"unset entry":         {`<ScriptCondition code="v == 1"/>`, "FAILURE", `entry "v" has no value`},
		"guard that fails":    {`<AlwaysSuccess _skipIf="v == 1"/>`, "FAILURE", `entry "v" has no value`},
		"RUNNING from a sync": {`<Wrong/>`, "FAILURE", "a leaf that is not stateful answered RUNNING"},
		"unset input":         {`<Limit x="{v}"/>`, "FAILURE", "port x: has no value"},
		"panic":               {`<Panic/>`, "RUNNING FAILURE", "panic: oh no"},
	} {
		t.Run(name, func(t *testing.T) {
			r := try(t, c.tree)
			r.ticks(time.Second, c.want)
			if got := r.Note(1); got != c.note {
				t.Errorf("note %q, want %q", got, c.note)
			}
		})
	}
}

// A panic ends the tick; the next goes on behind what is done, with the leaf failed.
func TestPanicGoesOn(t *testing.T) {
	r := try(t, `<Fallback><Sequence><Script code="v := 1"/><Script code="v = v + 1"/><Panic/></Sequence><ScriptCondition code="v == 2"/></Fallback>`)
	r.ticks(0, "RUNNING")
	if !r.next.Equal(r.now) || r.Panics() != 1 {
		t.Errorf("next tick %v later, %d panics", r.next.Sub(r.now), r.Panics())
	}
	r.ticks(0, "SUCCESS") // the scripts before it did not run again
	r.ticks(0, "RUNNING SUCCESS")
}

func TestTimeoutHaltsInItsTick(t *testing.T) {
	r := try(t, `<Timeout msec="1500"><L s="R" _onHalted="v := 7"/></Timeout>`)
	r.ticks(time.Second, "RUNNING RUNNING")
	if want := time.Unix(1002, 500e6); !r.next.Equal(want) {
		t.Errorf("deadline %v, want %v", r.next, want)
	}
	r.ticks(500*time.Millisecond, "FAILURE")
	if r.Get("v").Float() != 7 || r.Note(1) != "the time is over" {
		t.Errorf("v = %v, note %q", r.Get("v"), r.Note(1))
	}
	r.ticks(time.Second, "RUNNING RUNNING FAILURE") // at 1, 2 and 3 s: the clock starts anew
	try(t, `<Timeout msec="0"><L s="R"/></Timeout>`).ticks(time.Hour, "RUNNING RUNNING RUNNING")
}

func TestDelayAndSleep(t *testing.T) {
	r := try(t, `<Sequence><Delay delay_msec="1000"><AlwaysSuccess/></Delay><Sleep msec="2000"/></Sequence>`)
	r.ticks(time.Second, "RUNNING RUNNING") // the delay begins; it is over and the sleep begins
	if got := r.next.Sub(r.now); got != 2*time.Second {
		t.Errorf("next in %v, want 2s", got)
	}
	r.ticks(time.Second, "RUNNING SUCCESS")
}

// Also after 0 ms the child has its turn in the next tick, which is due at once.
func TestDelayOfNothing(t *testing.T) {
	r := try(t, `<Delay delay_msec="0"><AlwaysSuccess/></Delay>`)
	r.ticks(0, "RUNNING")
	if !r.next.Equal(r.now) {
		t.Errorf("next tick at %v, want %v", r.next, r.now)
	}
	r.ticks(0, "SUCCESS")
}

// A halt is no end: _post does not run, _onHalted does.
func TestPostDoesNotRunOnHalt(t *testing.T) {
	r := try(t, `<Sequence><Script code="v := 0; h := 0"/><L s="R" _post="v := 1" _onFailure="v := 2" _onHalted="h := 1"/></Sequence>`)
	r.ticks(0, "RUNNING")
	r.Halt(r.now, bt.HaltTree)
	if r.Get("v").Float() != 0 || r.Get("h").Float() != 1 {
		t.Errorf("v = %v, h = %v", r.Get("v"), r.Get("h"))
	}
}

// A Precondition is decided once: its child goes on when the condition turns.
func TestPreconditionIsDecidedOnce(t *testing.T) {
	r := try(t, `<Sequence><Script code="go := 1"/><Precondition if="go == 1" else="FAILURE"><L s="RRS"/></Precondition></Sequence>`)
	r.ticks(0, "RUNNING")
	if err := r.Set("go", 0, r.now); err != nil {
		t.Fatal(err)
	}
	r.ticks(0, "RUNNING SUCCESS")
}

// An entry that was unset is not updated before it is written again. {k} and k name the same entry.
func TestUnset(t *testing.T) {
	r := try(t, `<Sequence><SetBlackboard output_key="{k}" value="1"/><WasEntryUpdated entry="k"/><UnsetBlackboard key="k"/>
		<Inverter><WasEntryUpdated entry="{k}"/></Inverter><ScriptCondition code="k == 1" _skipIf="true"/></Sequence>`)
	r.ticks(0, "SUCCESS SUCCESS")
	if v := r.Get("k"); v.Kind() != board.Unset {
		t.Errorf("k = %v", v)
	}
}

// A tree that only wakes itself pauses after its budget.
func TestSpinGuard(t *testing.T) {
	r := try(t, `<RetryUntilSuccessful num_attempts="-1"><AlwaysFailure/></RetryUntilSuccessful>`)
	paused := 0
	for range 20000 {
		if _, next := r.Tick(r.now); next.After(r.now) {
			paused++
			if next.Sub(r.now) != 10*time.Millisecond {
				t.Fatalf("paused %v", next.Sub(r.now))
			}
		}
	}
	if paused != 2 || r.Spins() != 2 {
		t.Errorf("paused %d times in 20,000 ticks of the leaf, counted %d, want 2", paused, r.Spins())
	}
}

func TestRunOnceAndWithMemoryKeepOverHalt(t *testing.T) {
	r := try(t, `<SequenceWithMemory><RunOnce then_skip="false"><C s="S"/></RunOnce><L s="RS"/></SequenceWithMemory>`)
	r.ticks(0, "RUNNING RUNNING")
	r.Halt(r.now, bt.HaltTree)
	if r.Status(1) != bt.Idle || r.Status(3) != bt.Idle {
		t.Error("not IDLE after the halt")
	}
	r.ticks(0, "SUCCESS") // goes on at the second child
	r.ticks(0, "RUNNING RUNNING SUCCESS")
}

func TestLoops(t *testing.T) {
	r := try(t, `<Sequence><Script code="sum := 0"/><LoopInt queue="1;2;3" value="{item}"><Script code="sum += item"/></LoopInt></Sequence>`)
	r.ticks(0, "RUNNING RUNNING RUNNING SUCCESS")
	if r.Get("sum").Float() != 6 {
		t.Errorf("sum %v", r.Get("sum"))
	}
	r.ticks(0, "RUNNING RUNNING RUNNING SUCCESS") // a literal queue is full again
	try(t, `<LoopString queue="" if_empty="SKIPPED" value="{item}"><AlwaysSuccess/></LoopString>`).ticks(0, "SKIPPED")
	r = try(t, `<LoopInt queue="{v}" value="{item}"><AlwaysSuccess/></LoopInt>`)
	shared := &bt.Queue{Items: []board.Value{board.OfInt(1), board.OfInt(2)}}
	if err := r.Set("v", shared, r.now); err != nil {
		t.Fatal(err)
	}
	r.ticks(0, "RUNNING")
	shared.Items = append(shared.Items, board.OfInt(3)) // others may add while it runs
	r.ticks(0, "RUNNING RUNNING SUCCESS")
}

func TestUpdated(t *testing.T) {
	set := func(r *trial, v any) {
		if err := r.Set("v", v, r.now); err != nil {
			t.Fatal(err)
		}
	}
	for tree, answers := range map[string][3]string{
		`<SkipUnlessUpdated entry="{v}"><L s="RS"/></SkipUnlessUpdated>`:  {"SKIPPED", "RUNNING SUCCESS", "SKIPPED"},
		`<WaitValueUpdate entry="{v}"><AlwaysSuccess/></WaitValueUpdate>`: {"RUNNING", "SUCCESS", "RUNNING"},
		`<WasEntryUpdated entry="{v}"/>`:                                  {"FAILURE", "SUCCESS", "FAILURE"},
	} {
		r := try(t, tree)
		r.ticks(0, answers[0])
		set(r, "x")
		r.ticks(0, answers[1])
		r.ticks(0, answers[2])
		set(r, "x") // the same value again counts: it was written
		r.ticks(0, answers[1])
	}
}

func TestSwitchReadsAnyType(t *testing.T) {
	r := try(t, `<Switch2 variable="{v}" case_1="2" case_2="leaf"><Script code="got := 1"/><Script code="got := 2"/><Script code="got := 3"/></Switch2>`)
	for v, want := range map[any]float64{2: 1, 2.0: 1, "2.0": 1, "leaf": 2, 7: 3} {
		r.Instance = r.Program().New(nil)
		if err := r.Set("v", v, r.now); err != nil {
			t.Fatal(err)
		}
		r.ticks(0, "SUCCESS")
		if got := r.Get("got").Float(); got != want {
			t.Errorf("%T %v went to branch %v, want %v", v, v, got, want)
		}
	}
}

// Subtrees see what is remapped, what autoremap lets through, literals of their own, and the root.
func TestSubTrees(t *testing.T) {
	r := try(t, `<root BTCPP_format="4" main_tree_to_execute="M">
		<BehaviorTree ID="M"><Sequence>
			<Script code="a := 1; b := 2; _c := 3; @top := 9"/>
			<SubTree ID="S" name="one" x="{a}" b="{=}" lit="5"/>
			<SubTree ID="T" name="two" _autoremap="true"/>
		</Sequence></BehaviorTree>
		<BehaviorTree ID="S"><Script code="x = x + 10; b = b + 10; own := lit + 1; _c := 0; @top = @top + 1"/></BehaviorTree>
		<BehaviorTree ID="T"><Script code="a = a + 100; _c := 0"/></BehaviorTree></root>`)
	r.ticks(0, "SUCCESS")
	for key, want := range map[string]float64{"a": 111, "b": 12, "_c": 3, "@top": 10, "top": 10} {
		if got := r.Get(key).Float(); got != want {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
	var names []string
	r.Changes(func(k bt.Key, v board.Value) { names = append(names, fmt.Sprintf("%s/%s=%v", k.Scope, k.Name, v)) })
	if got := strings.Join(names, " "); !strings.Contains(got, "one/own=6") || !strings.Contains(got, "/a=111") {
		t.Errorf("changes %s", got)
	}
	again := 0
	r.Changes(func(bt.Key, board.Value) { again++ })
	if again != 0 {
		t.Errorf("%d changes told twice", again)
	}
}

func TestWhileHaltsAndSkips(t *testing.T) {
	r := try(t, `<Fallback><L s="R" _while="v == 1" _onHalted="v := 5"/><ScriptCondition code="v == 5"/></Fallback>`)
	if err := r.Set("v", 1, r.now); err != nil {
		t.Fatal(err)
	}
	r.ticks(0, "RUNNING RUNNING")
	if err := r.Set("v", 0, r.now); err != nil {
		t.Fatal(err)
	}
	r.ticks(0, "SUCCESS")
}

// A run saved at any tick and restored goes on as the run that was not interrupted.
func TestSnapshotAnywhere(t *testing.T) {
	const tree = `<Repeat num_cycles="2"><Sequence><Script code="n := 0"/><LoopString queue="a;b" value="{item}"><Sleep msec="1000"/></LoopString>
		<Delay delay_msec="1500"><Timeout msec="900"><Sleep msec="500"/></Timeout></Delay>
		<RetryUntilSuccessful num_attempts="3"><ScriptCondition code="(n += 1) == 3"/></RetryUntilSuccessful></Sequence></Repeat>`
	run := func(cut int) string {
		r := try(t, tree)
		var b strings.Builder
		for k := range 60 {
			if k == cut {
				text, err := json.Marshal(r.Snapshot())
				if err != nil {
					t.Fatal(err)
				}
				var s bt.Snapshot
				if err := json.Unmarshal(text, &s); err != nil {
					t.Fatal(err)
				}
				r.Instance = r.Program().New(nil)
				if err := r.Restore(s); err != nil {
					t.Fatalf("cut at %d: %v\n%s", cut, err, text)
				}
			}
			r.now = r.now.Add(250 * time.Millisecond)
			st, next := r.Tick(r.now)
			fmt.Fprintf(&b, "%v %v %v\n", st, next.Sub(r.now), r.Get("n"))
		}
		return b.String()
	}
	whole := run(-1)
	if !strings.Contains(whole, "SUCCESS") {
		t.Fatalf("the run never ends:\n%s", whole)
	}
	for cut := range 60 {
		if got := run(cut); got != whole {
			t.Fatalf("cut at tick %d:\n%s\nwant\n%s", cut, got, whole)
		}
	}
}

// The plain path, ports and scripts included, allocates nothing.
func TestNoAllocations(t *testing.T) {
	for _, tree := range []string{wideTree("<Ok/>", "<Wait/>"), wideTree("<Ok/>", "<Ok/>"), wideTree(`<Read in="{k}"/>`, `<Write out="{k}"/>`),
		wideTree(`<Ok _skipIf="k &gt; 9"/>`, "<Ok/>"), wideTree(`<Timeout msec="5"><Ok/></Timeout>`, `<Timeout msec="9999"><Wait/></Timeout>`)} {
		in := compile(t, tree, "k").New(nil)
		in.Attach(bt.NewRing(1000))
		now := time.Unix(1, 0)
		if in.Program().Uses("k") {
			if err := in.Set("k", 1.0, now); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(100, func() { in.Tick(now) }); n != 0 {
			t.Errorf("%.1f allocations a tick: %.120s", n, tree)
		}
	}
}

func TestRingKeepsTheLast(t *testing.T) {
	r := try(t, `<AlwaysSuccess/>`)
	ring := bt.NewRing(3) // keeps 4
	r.Attach(ring)
	r.ticks(time.Second, "SUCCESS SUCCESS SUCCESS")
	var got []string
	for _, c := range ring.Changes() {
		got = append(got, fmt.Sprint(c.At/1e9, c.UID, c.From, c.To))
	}
	if want := "1002 1 IDLE SUCCESS,1002 1 SUCCESS IDLE,1003 1 IDLE SUCCESS,1003 1 SUCCESS IDLE"; strings.Join(got, ",") != want {
		t.Errorf("kept %q", got)
	}
	if ring.Total() != 6 || len(ring.Since(5)) != 1 || len(ring.Since(9)) != 0 {
		t.Errorf("%d in all, %d since 5", ring.Total(), len(ring.Since(5)))
	}
}

// A ring that is rewound counts on, and has what came since.
func TestRingIsRewound(t *testing.T) {
	r := try(t, `<AlwaysSuccess/>`)
	ring := bt.NewRing(4)
	r.Attach(ring)
	r.ticks(time.Second, "SUCCESS SUCCESS SUCCESS")
	ring.Rewind()
	if n := len(ring.Changes()); n != 0 || ring.Total() != 6 {
		t.Errorf("%d changes of %d after rewinding", n, ring.Total())
	}
	r.ticks(time.Second, "SUCCESS")
	if all := ring.Changes(); len(all) != 2 || all[1].To != bt.Idle || len(ring.Since(7)) != 1 || ring.Total() != 8 {
		t.Errorf("%v since, %d in all", all, ring.Total())
	}
	r.ticks(time.Second, "SUCCESS SUCCESS")
	if all := ring.Changes(); len(all) != 4 || all[0].At != 1005e9 || all[3].At != 1006e9 {
		t.Errorf("%v after it was full", all)
	}
}
