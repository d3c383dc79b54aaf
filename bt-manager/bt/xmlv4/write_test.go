package xmlv4

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"sonic-netservices/bt-manager/bt"
)

// written is the XML that BehaviorTree.CPP 4.10 wrote of a tree, in a log of its run.
func written(t *testing.T) (source, xml []byte) {
	t.Helper()
	source, err := os.ReadFile("../../../internal/btlog/testdata/run.xml")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile("../../../internal/btlog/testdata/run.btlog")
	if err != nil {
		t.Fatal(err)
	}
	log = log[len("BTCPP4-FileLogger2")+1:]
	return source, log[4:][:binary.LittleEndian.Uint32(log)]
}

// The trees are those of BehaviorTree.CPP to the byte; its models have descriptions of ports, which nobody needs twice.
func TestWriteAsTheOriginal(t *testing.T) {
	source, want := written(t)
	prog, faults := Load(fstest.MapFS{"t": {Data: source}}, "t", bt.NewRegistry(), Options{})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	got := Write(prog)
	models := []byte("    <TreeNodesModel>\n")
	theirs, ours := bytes.Index(want, models), bytes.Index(got, models)
	if ours < 0 || string(got[:ours]) != string(want[:theirs]) {
		t.Errorf("got\n%s\nwant\n%s", got, want[:theirs])
	}
	if !bytes.HasSuffix(got, []byte("    </TreeNodesModel>\n</root>\n")) {
		t.Errorf("ends with %q", got[len(got)-40:])
	}
	for _, line := range bytes.Split(want[theirs:], []byte("\n")) {
		if bytes.HasPrefix(line, []byte("        <")) && !bytes.HasPrefix(line, []byte("         ")) && bytes.Contains(line, []byte(" ID=")) {
			begin := bytes.TrimRight(line, "/>")
			if !bytes.Contains(got, begin) && !bytes.Contains(begin, []byte("ManualSelector")) && !bytes.Contains(begin, []byte("TestNode")) {
				t.Errorf("no model %s", line)
			}
		}
	}
	if order := Order(prog); !slices.Equal(order, []uint16{1, 2, 3, 7, 8, 12, 13, 4, 5, 6, 9, 10, 11}) {
		t.Errorf("order %v", order)
	}
}

// A tree that uses each subtree once is read again as the same tree, escapes and all; subtrees have their names in
// _fullpath.
func TestWriteAndRead(t *testing.T) {
	const source = `<root BTCPP_format="4" main_tree_to_execute="Main"><BehaviorTree ID="Main"><Fallback>
		<Script code="a := '&lt;&amp;&quot;&#10;&#9;é' ; b := a" _skipIf="b &gt; 1" name="n'n"/>
		<SubTree ID="Sub" name="s" x="{a}"/></Fallback></BehaviorTree>
		<BehaviorTree ID="Sub"><Script code="y := x"/></BehaviorTree></root>`
	prog, faults := Load(fstest.MapFS{"t": {Data: []byte(source)}}, "t", bt.NewRegistry(), Options{Given: []string{"b"}})
	if prog == nil {
		t.Fatalf("load:\n%s", faults)
	}
	again, faults := Load(fstest.MapFS{"t": {Data: Write(prog)}}, "t", bt.NewRegistry(), Options{Main: "Main", Given: []string{"b"}})
	if again == nil {
		t.Fatalf("load again:\n%s", faults)
	}
	for i, n := range prog.Nodes() {
		if a := again.Nodes()[i]; a.Type != n.Type || a.Name != n.Name && n.Class != bt.SubTree || a.Parent != n.Parent {
			t.Errorf("%+v became %+v", n, a)
		}
		for _, attr := range n.Attrs {
			if got := attrOf(again.Nodes()[i], attr.Name); got != attr.Value && (n.Class != bt.SubTree || attr.Name != "name") {
				t.Errorf("%s %s: %q became %q", n.Name, attr.Name, attr.Value, got)
			}
		}
	}
}
