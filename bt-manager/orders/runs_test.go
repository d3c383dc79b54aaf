package orders

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/trees"
)

// Runs follow from the journal, with and without a sum in between.
func TestRunsAreKept(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	entry := func(value any, kind board.Kind) bt.EntrySnapshot {
		return bt.EntrySnapshot{Name: "op", Kind: kind, Value: value, Seq: 1}
	}
	records := []Record{
		{Kind: Planted, File: &trees.File{Name: "manager.xml", Text: "<root/>"}},
		{Kind: Ran, ID: "", Run: &bt.Snapshot{Tree: 1 << 63, Nodes: []bt.NodeSnapshot{{UID: 1, Status: bt.Running}}}},
		{Kind: Ran, ID: "kms-0", Run: &bt.Snapshot{Tree: 7, Nodes: []bt.NodeSnapshot{{UID: 3, Status: bt.Running, Op: "tree-kms-0-e1-1"}, {UID: 9, Cell: 5}},
			Entries: []bt.EntrySnapshot{entry("tree-kms-0-e1-1", board.Text)}}},
		{Kind: Ran, ID: "dns-0", Run: &bt.Snapshot{Tree: 7}},
		{Kind: Ran, ID: "kms-0", Run: &bt.Snapshot{Tree: 7, Nodes: []bt.NodeSnapshot{{UID: 2, Count: 4}, {UID: 3}}}},
		{Kind: Ran, ID: "dns-0"},
		{Kind: Ran, ID: "", Run: &bt.Snapshot{Tree: 2}},
	}
	for range keptFiles {
		records = append(records, Record{Kind: Planted, File: &trees.File{Name: "mine.xml", Text: time.Duration(len(records)).String()}})
	}
	replay := func(records []Record) *State {
		s := NewState()
		for _, r := range records {
			r.At = at
			text, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			read, err := DecodeRecord(text)
			if err == nil {
				err = s.Apply(read)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	s := replay(records)
	want := map[string]bt.Snapshot{"": {Tree: 2}, "kms-0": {Tree: 7, Nodes: []bt.NodeSnapshot{{UID: 2, Count: 4}, {UID: 9, Cell: 5}},
		Entries: []bt.EntrySnapshot{entry("tree-kms-0-e1-1", board.Text)}}}
	if diff := cmp.Diff(want, s.Runs, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if len(s.Files) != keptFiles || s.Files[0].Name != "mine.xml" {
		t.Errorf("files %+v", s.Files)
	}
	sum, err := s.sum()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, replay([]Record{{Kind: Summed, Sum: sum}}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the sum tells another story:\n%s", diff)
	}
}

// A whole number stays one over the journal.
func TestEntryKeepsItsKind(t *testing.T) {
	text, err := json.Marshal(bt.EntrySnapshot{Name: "n", Kind: board.Int, Value: int64(1<<62 + 1)})
	var e bt.EntrySnapshot
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if n, ok := e.Value.(json.Number); err != nil || !ok || n.String() != "4611686018427387905" {
		t.Errorf("%v %#v", err, e)
	}
}
