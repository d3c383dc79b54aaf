package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// The trees that are shipped have no fault, and no warning either.
func TestShippedTrees(t *testing.T) {
	for _, name := range []string{"manager.xml", "paper.xml"} {
		faults, err := File(os.DirFS("../trees"), name, "trees")
		if err != nil || len(faults.Diags) > 0 {
			t.Errorf("%v\n%s", err, faults.String())
		}
	}
}

// Both trees are checked, and what both loads find is told once.
func TestBothTrees(t *testing.T) {
	faults, err := File(fstest.MapFS{"t.xml": {Data: []byte(`<root BTCPP_format="4" main_tree_to_execute="Intake">
<BehaviorTree ID="Intake"><LeaseOver replica="{replica}"/></BehaviorTree>
<BehaviorTree ID="Replica"><Sequence><LeaseOver replica="{replica}"/><Rested of="{who}"/><Gone/></Sequence></BehaviorTree></root>`)}}, "t.xml", "my")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`my/t.xml:2:47: entry "replica" is read here`, `my/t.xml:3:82: entry "who"`, "my/t.xml:3:90: unknown node <Gone>"}
	for i, d := range faults.Diags {
		if i >= len(want) || !strings.HasPrefix(d.String(), want[i]) {
			t.Errorf("fault %d: %s", i, d)
		}
	}
	if len(faults.Diags) != len(want) {
		t.Errorf("%d faults, want %d", len(faults.Diags), len(want))
	}
}

// What is included counts as if it were in the file, and keeps its own name in what is told.
func TestIncludes(t *testing.T) {
	files := fstest.MapFS{
		"t.xml":       {Data: []byte(`<root BTCPP_format="4" main_tree_to_execute="Intake"><include path="parts/r.xml"/><BehaviorTree ID="Intake"><AlwaysSuccess/></BehaviorTree></root>`)},
		"parts/r.xml": {Data: []byte(`<root BTCPP_format="4"><BehaviorTree ID="Replica"><OwnOperation replica="{replica}" op="{op}"/></BehaviorTree></root>`)},
	}
	if faults, err := File(files, "t.xml", "my"); err != nil || len(faults.Diags) > 0 {
		t.Errorf("%v\n%s", err, faults.String())
	}
	files["parts/r.xml"].Data = []byte(`<root BTCPP_format="4"><BehaviorTree ID="Replica"><Sleep msec="long"/></BehaviorTree></root>`)
	if faults, _ := File(files, "t.xml", "my"); len(faults.Diags) != 1 || !strings.HasPrefix(faults.Diags[0].String(), `my/parts/r.xml:1:64: port "msec"`) {
		t.Errorf("%s", faults.String())
	}
}
