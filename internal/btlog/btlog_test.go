package btlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// original is the log of a run that BehaviorTree.CPP 4.10 wrote, of the tree in run.xml.
func original(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/run.btlog")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// told gives the changes of a log, one a line, and how it ends.
func told(r *Reader) (string, error) {
	var b strings.Builder
	for {
		c, err := r.Next()
		if err != nil {
			return b.String(), err
		}
		fmt.Fprintf(&b, "%s %v -> %v\n", c.Node.Path, c.From, c.To)
	}
}

func TestOriginalLog(t *testing.T) {
	r, err := NewReader(iotest.OneByteReader(bytes.NewReader(original(t))))
	if err != nil {
		t.Fatal(err)
	}
	if r.Tree.Main != "Main" || len(r.Tree.Nodes) != 13 || r.Began.Year() != 2026 {
		t.Errorf("tree %s of %d nodes, began %v", r.Tree.Main, len(r.Tree.Nodes), r.Began)
	}
	var picture strings.Builder
	for _, n := range r.Tree.Nodes {
		picture.WriteString(n.Line(Idle, "") + " " + n.Path + "\n")
	}
	if want := strings.TrimLeft(`
[-] run (Sequence) [-] run
    --> Script [-] Script::2
    [/] part (SubTree) [-] part
        [o] Fallback [-] part/Fallback::4
            --> first? (ScriptCondition) [-] part/first?
            --> AlwaysSuccess [-] part/AlwaysSuccess::6
    -^- Repeat [-] Repeat::7
        [/] Sub (SubTree) [-] Sub::8
            [o] Fallback [-] Sub::8/Fallback::9
                --> first? (ScriptCondition) [-] Sub::8/first?
                --> AlwaysSuccess [-] Sub::8/AlwaysSuccess::11
    -^- ForceFailure [skipIf: a == 7] [-] ForceFailure::12
        --> 不 (AlwaysSuccess) [-] 不
`, "\n"); picture.String() != want {
		t.Errorf("tree\n%swant\n%s", picture.String(), want)
	}
	got, err := told(r)
	if err != io.EOF {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, "run IDLE -> RUNNING\nScript::2 IDLE -> SUCCESS\npart IDLE -> RUNNING\n") ||
		!strings.HasSuffix(got, "run RUNNING -> FAILURE\nrun FAILURE -> IDLE\n") {
		t.Errorf("run\n%s", got)
	}
}

// What is written is read again, and after a cut at any byte everything before it is.
func TestCutOff(t *testing.T) {
	whole := original(t)
	r, err := NewReader(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := told(r)
	records := strings.Count(text, "\n")
	head := len(whole) - records*recordSize
	for cut := 0; cut < len(whole); cut++ {
		if cut > 40 && cut < head-40 {
			continue // all of these end inside of the XML
		}
		r, err := NewReader(bytes.NewReader(whole[:cut]))
		if cut < head {
			if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("byte %d: the file ends inside of", cut)) {
				t.Errorf("cut at %d: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := told(r)
		if n := strings.Count(got, "\n"); n != (cut-head)/recordSize || !strings.HasPrefix(text, got) {
			t.Errorf("cut at %d: %d records, want %d", cut, n, (cut-head)/recordSize)
		}
		if rest := (cut - head) % recordSize; rest == 0 && err != io.EOF || rest != 0 && (!errors.Is(err, ErrCut) || !strings.HasPrefix(err.Error(), fmt.Sprintf("byte %d: ", cut))) {
			t.Errorf("cut at %d ends with %v", cut, err)
		}
	}
}

func TestWrite(t *testing.T) {
	const xml = `<root BTCPP_format="4"><BehaviorTree ID="M" _fullpath=""><Sleep name="s" _uid="1"/></BehaviorTree></root>`
	began := time.UnixMicro(0x0102030405060708)
	b := Header([]byte(xml), began)
	b = AppendRecord(b, 0x060504030201*time.Microsecond, 1, Running)
	b = AppendRecord(b, -time.Second, 1, Success)
	want := "BTCPP4-FileLogger2\x01\x6a\x00\x00\x00" + xml + "\x08\x07\x06\x05\x04\x03\x02\x01" +
		"\x01\x02\x03\x04\x05\x06\x01\x00\x01" + "\x00\x00\x00\x00\x00\x00\x01\x00\x02"
	if want = strings.Replace(want, "\x6a", string(rune(len(xml))), 1); string(b) != want {
		t.Errorf("wrote %q\nwant  %q", b, want)
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil || !r.Began.Equal(began) {
		t.Fatal(r, err)
	}
	c, err := r.Next()
	if err != nil || c.Since != 0x060504030201*time.Microsecond || c.Node.Name != "s" || c.From != Idle || c.To != Running || r.Status(1) != Running {
		t.Errorf("read %+v, %v", c, err)
	}
}

func TestBadLogs(t *testing.T) {
	with := func(xml, rest string) string {
		return string(Header([]byte(xml), time.UnixMicro(1))) + rest
	}
	tree := func(inside string) string {
		return `<root><BehaviorTree ID="M" _fullpath="">` + inside + `</BehaviorTree></root>`
	}
	one := tree(`<Sleep _uid="1"/>`)
	for name, c := range map[string]struct{ log, want string }{
		"another file":    {"#!/bin/sh and more than that", `byte 0: "#!/bin/sh and more", want "BTCPP4-FileLogger2": no .btlog file`},
		"version":         {magic + "\x02", "byte 18: version 2, want 1"},
		"negative length": {magic + "\x01\xff\xff\xff\xff", "byte 19: -1 bytes of XML"},
		"endless XML":     {magic + "\x01\xff\xff\xff\x7f", "byte 19: 2147483647 bytes of XML"},
		"XML cut":         {magic + "\x01\x09\x00\x00\x00<root>", "byte 29: the file ends inside of the XML"},
		"no XML":          {with("", ""), "byte 23: XML of the tree: no <BehaviorTree> with an empty _fullpath"},
		"not well-formed": {with("<root>\n<a></root>", ""), "byte 23: XML of the tree: XML syntax error on line 2"},
		"two children":    {with(tree(`<A _uid="1"/><B _uid="2"/>`), ""), "line 1: <BehaviorTree> has 2 children, want 1"},
		"no uid":          {with(tree(`<A/>`), ""), `<A> "" has _uid ""`},
		"uids":            {with(tree(`<A _uid="2"/>`), ""), "node 1 has _uid 2"},
		"no subtree":      {with(tree(`<SubTree ID="S" _uid="1" _fullpath="S::1"/>`), ""), `<SubTree> with _uid 1: no <BehaviorTree> of _fullpath "S::1" is left`},
		"recursion": {with(`<root><BehaviorTree _fullpath=""><SubTree _uid="1" _fullpath="S"/></BehaviorTree>
			<BehaviorTree _fullpath="S"><SubTree _uid="2" _fullpath="S"/></BehaviorTree></root>`, ""), `with _uid 2: no <BehaviorTree>`},
		"twice":      {with(tree(`<A _uid="1"/>`)[:len(tree(`<A _uid="1"/>`))-7]+tree(`<A _uid="1"/>`)[6:], ""), `two <BehaviorTree> of _fullpath ""`},
		"too deep":   {with(tree(strings.Repeat("<A>", maxDepth+5)), ""), "more than 1024 elements inside each other"},
		"node 0":     {with(one, "\x00\x00\x00\x00\x00\x00\x00\x00\x01"), "node 0, the tree has 1"},
		"node 2":     {with(one, "\x00\x00\x00\x00\x00\x00\x02\x00\x01"), "node 2, the tree has 1"},
		"status 5":   {with(one, "\x00\x00\x00\x00\x00\x00\x01\x00\x05"), "status 5, want up to 4"},
		"cut record": {with(one, "\x00\x00\x00"), "the log ends inside of a record"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(c.log))
			if err == nil {
				_, err = r.Next()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "byte ") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	bad := errors.New("disk on fire")
	if _, err := NewReader(io.MultiReader(strings.NewReader(magic), iotest.ErrReader(bad))); !errors.Is(err, bad) || !strings.HasPrefix(err.Error(), "byte 18: ") {
		t.Errorf("reader that fails: %v", err)
	}
}

// FuzzLog: any bytes are read or refused with the place, and what is read is consistent.
func FuzzLog(f *testing.F) {
	small := Header([]byte(`<root><BehaviorTree ID="M" _fullpath=""><A _uid="1"/></BehaviorTree></root>`), time.Now())
	for range 3 { // small ones: the fuzzer spends its time on making inputs smaller
		small = AppendRecord(small, time.Second, 1, Running)
	}
	f.Add(small)
	f.Add(small[:len(small)-4])
	f.Add(Header([]byte(`<root><BehaviorTree ID="M" _fullpath=""><A _uid="1"><SubTree ID="S" _uid="2" _fullpath="s"/></A></BehaviorTree><BehaviorTree ID="S" _fullpath="s"><B _uid="3" _skipIf="x"/></BehaviorTree></root>`), time.Now()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b))
		for err == nil {
			var c Change
			if c, err = r.Next(); err == nil {
				if r.Status(c.Node.UID) != c.To || c.Since < 0 {
					t.Fatalf("%+v, but it is %v", c, r.Status(c.Node.UID))
				}
			}
		}
		if err != io.EOF && !strings.HasPrefix(err.Error(), "byte ") {
			t.Fatalf("%v names no byte", err)
		}
		if r == nil {
			return
		}
		for i, n := range r.Tree.Nodes {
			if n.UID != i+1 || n.Parent < 0 || n.Parent >= n.UID || n.Parent > 0 && n.Depth != r.Tree.Nodes[n.Parent-1].Depth+1 {
				t.Fatalf("node %d: %+v", i+1, n)
			}
		}
	})
}
