package groot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/xmlv4"
)

// golden is the tree whose bytes BehaviorTree.CPP 4.10 gave.
const golden = `<root BTCPP_format="4" main_tree_to_execute="Main">
  <BehaviorTree ID="Main"><Sequence>
    <Script code="a:=5; s:='x'"/>
    <SubTree ID="Sub" y="{a}"/>
    <Sleep msec="50"/>
  </Sequence></BehaviorTree>
  <BehaviorTree ID="Sub"><Script name="calc" code="z:=6; r:=0.1; n:=-200; t := y &gt; 3" _skipIf="y == 7"/></BehaviorTree>
</root>`

// trees is who ticks, in a test.
type trees struct {
	mu    sync.Mutex
	run   *bt.Instance
	ring  *bt.Ring
	woken int
	m     *Monitor
}

func load(t testing.TB, xml string) *bt.Program {
	t.Helper()
	prog, faults := xmlv4.Load(fstest.MapFS{"t": {Data: []byte(xml)}}, "t", bt.NewRegistry(), xmlv4.Options{})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	return prog
}

func newTrees(t testing.TB, xml string, root *board.Board) *trees {
	t.Helper()
	w := &trees{}
	w.begin(load(t, xml), root)
	return w
}

func (w *trees) begin(p *bt.Program, root *board.Board) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run, w.ring = p.New(root), bt.NewRing(64)
	w.run.Attach(w.ring)
}

func (w *trees) Look(do func(find func(string) (*bt.Instance, *bt.Ring))) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do(func(replica string) (*bt.Instance, *bt.Ring) {
		if replica != "" {
			return nil, nil
		}
		return w.run, w.ring
	})
}

func (w *trees) Wake() { w.mu.Lock(); defer w.mu.Unlock(); w.woken++ }

func (w *trees) tick(now time.Time) bt.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	st, _ := w.run.Tick(now)
	w.m.Ticked("", w.run, w.ring)
	w.m.RoundEnded()
	return st
}

// told notes what is published.
type told struct{ messages [][][]byte }

func (w *told) publish(parts ...[]byte) { w.messages = append(w.messages, parts) }

func monitor(t testing.TB, xml string, root *board.Board) (*trees, *told) {
	w, p := newTrees(t, xml, root), &told{}
	w.m = New(w, p.publish)
	if _, err := w.m.Show("", true); err != nil {
		t.Fatal(err)
	}
	return w, p
}

// ask sends a request and gives the second part of the reply, or the error it is.
func (w *trees) ask(t testing.TB, kind Kind, body ...string) (answer, fault string) {
	t.Helper()
	request := [][]byte{Header{kind, 0xddccbbaa}.bytes()}
	for _, b := range body {
		request = append(request, []byte(b))
	}
	reply := w.m.Answer(request)
	if string(reply[0]) == "error" {
		return "", string(reply[1])
	}
	if want := append([]byte{2, byte(kind), 0xaa, 0xbb, 0xcc, 0xdd}, w.m.id[:]...); !bytes.Equal(reply[0], want) {
		t.Errorf("%c: head %x, want %x", kind, reply[0], want)
	}
	if len(reply) == 2 {
		return string(reply[1]), ""
	}
	return "", ""
}

func TestGoldenBytes(t *testing.T) {
	w, _ := monitor(t, golden, nil)
	if got, _ := w.ask(t, StatusOfAll); hex.EncodeToString([]byte(got)) != "010000"+"020000"+"030000"+"050000"+"040000" {
		t.Errorf("before the first tick % x", got)
	}
	w.tick(time.Unix(1000, 0))
	if got, _ := w.ask(t, StatusOfAll); hex.EncodeToString([]byte(got)) != "010001"+"020002"+"030002"+"050001"+"04000c" {
		t.Errorf("after a tick % x", got)
	}
	got, _ := w.ask(t, Blackboards, "Main;Sub::3;nobody")
	if want := "83a44d61696e82a16105a173a178a4524f4f5482a16105a173a178a65375623a3a3384a16ecac3480000a172cb3fb999999999999aa174ca3f800000a17a06"; hex.EncodeToString([]byte(got)) != want {
		t.Errorf("blackboards %q", got)
	}
	if got, _ := w.ask(t, Blackboards, "nobody"); got != "\xc0" {
		t.Errorf("unknown blackboards %q", got)
	}
	for kind, want := range map[Kind]string{'Z': "Request not recognized", Blackboards: "must be 2 parts message", Record: "must be 2 parts message"} {
		if _, fault := w.ask(t, kind); fault != want {
			t.Errorf("%c: %q, want %q", kind, fault, want)
		}
	}
	if reply := w.m.Answer([][]byte{[]byte("hello")}); string(bytes.Join(reply, []byte("|"))) != "error|wrong request header" {
		t.Errorf("wrong header: %q", reply)
	}
}

// {@key} lies on a blackboard of its own: it comes along as ROOT.
func TestSharedRoot(t *testing.T) {
	root := board.New()
	for key, v := range map[string]any{"Lambda": 0.5, "Samples": 200, "Net": []string{strings.Repeat("é", 2000)}} {
		if err := root.Set(key, v, 1); err != nil {
			t.Fatal(err)
		}
	}
	w, _ := monitor(t, `<root BTCPP_format="4"><BehaviorTree ID="Main"><Script code="a := @Lambda"/></BehaviorTree></root>`, root)
	w.tick(time.Unix(1000, 0))
	got, _ := w.ask(t, Blackboards, "Main")
	if !strings.HasPrefix(got, "\x82\xa4Main\x81\xa1a\xca\x3f\x00\x00\x00\xa4ROOT\x83\xa6Lambda\xca\x3f\x00\x00\x00\xa3Net\xda\x07\xd0[") ||
		!strings.HasSuffix(got, "…\xa7Samples\xcc\xc8") {
		t.Errorf("got %.80q ... %q", got, got[len(got)-20:])
	}
}

func TestRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := monitor(t, golden, nil)
		w.tick(time.Now())
		if got, _ := w.ask(t, Transitions); got != "" {
			t.Errorf("not recording, but got % x", got)
		}
		began, _ := w.ask(t, Record, "start")
		if began != "946684800000000" {
			t.Errorf("recording began at %s us", began)
		}
		time.Sleep(60 * time.Millisecond)
		w.tick(time.Now())
		got, _ := w.ask(t, Transitions)
		at := "60ea00000000"
		if want := at + "050002" + at + "020000" + at + "030000" + at + "050000" + at + "010002" + at + "010000"; hex.EncodeToString([]byte(got)) != want {
			t.Errorf("recorded % x", got)
		}
		if got, _ := w.ask(t, Transitions); got != "" {
			t.Errorf("given twice: % x", got)
		}
		for range 300 {
			time.Sleep(60 * time.Millisecond)
			w.tick(time.Now())
		}
		if got, _ := w.ask(t, Transitions); len(got) != 9*maxRecorded {
			t.Errorf("%d transitions, want the last %d", len(got)/9, maxRecorded)
		}
		w.ask(t, Record, "stop")
		w.tick(time.Now())
		if got, _ := w.ask(t, Transitions); got != "" {
			t.Errorf("stopped, but got % x", got)
		}
	})
}

const counting = `<root BTCPP_format="4"><BehaviorTree ID="Main"><Sequence><AlwaysSuccess/>
	<Script name="count" code="x := 1"/><Sleep msec="1"/></Sequence></BehaviorTree></root>`

func hookJSON(edit func(*Hook)) string {
	h := Breakpoint(3, bt.Before)
	if edit != nil {
		edit(&h)
	}
	text, _ := json.Marshal(h)
	return string(text)
}

func TestBreakpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := monitor(t, counting, nil)
		tick := func(want bt.Status, x string) {
			t.Helper()
			time.Sleep(time.Millisecond)
			if st := w.tick(time.Now()); st != want || w.run.Get("x").String() != x {
				t.Errorf("tick gives %v and x = %s, want %v and %s", st, w.run.Get("x"), want, x)
			}
		}
		if _, fault := w.ask(t, InsertHook, hookJSON(nil)); fault != "" {
			t.Fatal(fault)
		}
		tick(bt.Running, "")
		tick(bt.Running, "")
		if len(p.messages) != 1 || string(p.messages[0][1]) != "3" || len(p.messages[0][0]) != 6 || string(p.messages[0][0][:2]) != "\x02N" {
			t.Errorf("published %q", p.messages)
		}
		if got, _ := w.ask(t, DumpHooks); got != `[{"desired_status":"SKIPPED","enabled":true,"mode":0,"once":false,"position":0,"uid":3}]` {
			t.Errorf("dump %s", got)
		}
		woken := w.woken
		if _, fault := w.ask(t, UnlockHook, `{"uid":3,"position":0,"desired_status":"SKIPPED","remove_when_done":false}`); fault != "" || w.woken != woken+1 {
			t.Errorf("unlock: %q, woken %d times", fault, w.woken-woken)
		}
		tick(bt.Running, "1") // the Sleep
		tick(bt.Success, "1")
		tick(bt.Running, "1") // held again
		if len(p.messages) != 2 {
			t.Errorf("published %q", p.messages)
		}
		w.ask(t, UnlockHook, `{"uid":3,"position":0,"desired_status":"FAILURE","remove_when_done":true}`)
		tick(bt.Failure, "1")
		if got, _ := w.ask(t, DumpHooks); got != "[]" {
			t.Errorf("dump %s", got)
		}
		w.ask(t, InsertHook, "["+hookJSON(func(h *Hook) { h.Mode, h.Position, h.Desired, h.Once = Replace, 1, "FAILURE", true })+"]")
		tick(bt.Failure, "1")
		tick(bt.Running, "1")
		if len(p.messages) != 3 {
			t.Errorf("published %q", p.messages)
		}
		tick(bt.Success, "1")

		w.ask(t, InsertHook, hookJSON(nil))
		tick(bt.Running, "1")
		w.ask(t, DisableAllHooks)
		tick(bt.Running, "1")
		tick(bt.Success, "1")
		w.ask(t, InsertHook, hookJSON(nil))
		tick(bt.Running, "1")
		if note := w.run.Note(3); note != "held" {
			t.Errorf("note %q", note)
		}
		w.ask(t, RemoveAllHooks)
		tick(bt.Running, "1")
		tick(bt.Success, "1")

		w.ask(t, InsertHook, hookJSON(nil))
		tick(bt.Running, "1")
		time.Sleep(heartbeat - 2*time.Millisecond)
		tick(bt.Running, "1")
		time.Sleep(time.Millisecond)
		tick(bt.Running, "1") // nobody has asked for 5 s: the Sleep
		tick(bt.Success, "1")
		w.ask(t, StatusOfAll)
		tick(bt.Running, "1") // held again
		if note := w.run.Note(3); note != "held" {
			t.Errorf("note %q", note)
		}
		if _, fault := w.ask(t, RemoveHook, `{"uid":3,"position":0}`); fault != "" {
			t.Error(fault)
		}
		tick(bt.Running, "1")
	})
}

func TestRefusedHooks(t *testing.T) {
	w, _ := monitor(t, counting, nil)
	for body, want := range map[string]string{
		hookJSON(func(h *Hook) { h.UID = 5 }):          "Node ID not found",
		hookJSON(func(h *Hook) { h.UID = 0 }):          "Node ID not found",
		hookJSON(func(h *Hook) { h.Mode = 2 }):         "hook 1: mode 2: want 0 (break) or 1 (replace)",
		hookJSON(func(h *Hook) { h.Position = -1 }):    "hook 1: position -1: want 0 (before) or 1 (after)",
		hookJSON(func(h *Hook) { h.Desired = "GOOD" }): `hook 1: desired_status: status "GOOD": want one of`,
		"[" + hookJSON(nil) + `,{"enabled":true}]`:     "hook 2: desired_status is missing",
		"{":             "unexpected end of JSON input",
		`{"enabled":1}`: "cannot unmarshal number",
		`{"uid":70000}`: "cannot unmarshal number 70000",
		"[" + hookJSON(nil) + "," + hookJSON(func(h *Hook) { h.UID = 9 }) + "]": "Node ID not found",
	} {
		if _, fault := w.ask(t, InsertHook, body); !strings.HasPrefix(fault, want) && !strings.Contains(fault, want) {
			t.Errorf("%s: %q, want %q", body, fault, want)
		}
	}
	for kind, body := range map[Kind]string{RemoveHook: `{"uid":3,"position":0}`, UnlockHook: `{"uid":3,"position":0,"desired_status":"SUCCESS","remove_when_done":true}`} {
		if _, fault := w.ask(t, kind, body); fault != "Node ID not found" {
			t.Errorf("%c of a hook that is not there: %q", kind, fault)
		}
		if _, fault := w.ask(t, kind, `{"uid":3}`); fault != "position is missing" {
			t.Errorf("%c without a position: %q", kind, fault)
		}
	}
	if got, _ := w.ask(t, DumpHooks); got != "[]" {
		t.Errorf("refused, but there: %s", got)
	}
	if _, err := w.m.Show("", false); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []Kind{InsertHook, RemoveHook, UnlockHook} {
		if _, fault := w.ask(t, kind, hookJSON(nil)); fault != errReadOnly.Error() {
			t.Errorf("%c while only reading is allowed: %q", kind, fault)
		}
	}
	for _, kind := range []Kind{RemoveAllHooks, DisableAllHooks} {
		if _, fault := w.ask(t, kind); fault != "" {
			t.Errorf("%c: %q", kind, fault)
		}
	}
}

// A reload, another tree, and the end of the tree are seen by who looks.
func TestTreeChanges(t *testing.T) {
	w, _ := monitor(t, golden, nil)
	w.ask(t, InsertHook, hookJSON(nil))
	old := w.m.id
	w.begin(load(t, counting), nil)
	w.tick(time.Unix(1000, 0))
	if got, _ := w.ask(t, FullTree); !strings.Contains(got, `name="count" _uid="3"`) || w.m.id == old {
		t.Errorf("after a reload %x %s", w.m.id, got)
	}
	if got, _ := w.ask(t, DumpHooks); got != "[]" {
		t.Errorf("hooks of the old tree: %s", got)
	}
	old = w.m.id
	w.begin(load(t, golden), nil) // and asked before it is ticked
	if got, _ := w.ask(t, StatusOfAll); len(got) != 3*5 || w.m.id == old {
		t.Errorf("after a reload %x % x", w.m.id, got)
	}
	if _, err := w.m.Show("kms-0", false); err == nil || !strings.Contains(err.Error(), `no tree of "kms-0"`) {
		t.Errorf("a replica that is not there: %v", err)
	}
	w.run = nil
	if _, fault := w.ask(t, FullTree); fault != `no tree of "" is running` {
		t.Errorf("without a tree: %q", fault)
	}
	if id := w.m.id; id[6]>>4 != 4 || id[8]>>6 != 2 {
		t.Errorf("id %x is no random UUID", id)
	}
}

func TestMsgpackNumbers(t *testing.T) {
	for v, want := range map[any]string{0: "00", 127: "7f", 128: "cc80", 255: "ccff", 256: "cd0100", 65536: "ce00010000", 1 << 32: "cf0000000100000000",
		-1: "ff", -32: "e0", -33: "d0df", -129: "d1ff7f", -32769: "d2ffff7fff", -1 << 31: "d280000000", -1<<31 - 1: "d3ffffffff7fffffff",
		0.5: "ca3f000000", 0.1: "cb3fb999999999999a", 1e300: "cb7e37e43c8800759c", true: "c3", false: "c2"} {
		if got := hex.EncodeToString(msgpack(nil, board.Of(v))); got != want {
			t.Errorf("%v packs to %s, want %s", v, got, want)
		}
	}
	for n, want := range map[int]string{31: "bf", 32: "d920", 255: "d9ff", 256: "da0100", 70000: "db00011170"} {
		if got := hex.EncodeToString(packText(nil, strings.Repeat("x", n))[:len(want)/2]); got != want {
			t.Errorf("%d letters begin with %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int]string{15: "8f", 16: "de0010", 70000: "df00011170"} {
		if got := hex.EncodeToString(packMap(nil, n)); got != want {
			t.Errorf("a map of %d begins with %s, want %s", n, got, want)
		}
	}
}

// FuzzRequest: whatever comes as a request is answered, and the tree goes on.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"", hookJSON(nil), "[" + hookJSON(nil) + "]", `{"uid":3,"position":0,"desired_status":"FAILURE","remove_when_done":true}`, "Main;Sub::3", "start"} {
		for _, kind := range "TSBIRUAXDrtNZ" {
			f.Add(Header{Kind(kind), 1}.bytes(), []byte(s), true)
		}
	}
	f.Fuzz(func(t *testing.T, head, body []byte, two bool) {
		w, _ := monitor(t, golden, nil)
		request := [][]byte{head}
		if two {
			request = append(request, body)
		}
		for i := range 3 {
			reply := w.m.Answer(request)
			if len(reply) == 0 || len(reply) > 2 {
				t.Fatalf("reply %q", reply)
			}
			if string(reply[0]) != "error" && (len(head) != 6 || !bytes.Equal(reply[0][:6], append([]byte{2}, head[1:]...))) {
				t.Fatalf("%x is answered with %x", head, reply[0])
			}
			w.tick(time.Unix(int64(1000+i), 0))
		}
		w.m.Answer([][]byte{Header{RemoveAllHooks, binary.LittleEndian.Uint32([]byte{1, 2, 3, 4})}.bytes()})
		for i := range 4 {
			if st := w.tick(time.Unix(int64(2000+i), 0)); i == 3 && st == bt.Idle {
				t.Fatalf("the tree gives %v", st)
			}
		}
	})
}
