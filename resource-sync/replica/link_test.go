package replica

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
)

func TestFrameRoundTrip(t *testing.T) {
	want := Frame{
		Digest:    []Stamp{{"RESOUR_NODE|a", "a", Version{2, 7}}},
		DigestEnd: true,
		Rows: []SentRow{
			{Row: Row{Key: "RESOUR_NODE|a", Owner: "a", Version: Version{2, 7}, Fields: map[string]string{"addr": "10.1.0.1"}}, Age: time.Second},
			{Row: Row{Key: "RESOUR_AGENT|a", Owner: "a", Version: Version{2, 8}, Fields: map[string]string{}}},
			{Row: Row{Key: "RESOUR_SERVICE|kms", Version: Version{3, 1}}}, // removed
		},
	}
	wire, err := proto.Marshal(messageOf(&want))
	if err != nil {
		t.Fatal(err)
	}
	m := &api.SyncFrame{}
	if err := proto.Unmarshal(wire, m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, frameOf(m)); diff != "" {
		t.Errorf("changed on the wire (-sent +received):\n%s", diff)
	}
}

// Whatever bytes a peer sends, what is kept fits, our own rows are ours, and the next frame can be made.
func FuzzReceive(f *testing.F) {
	for _, frame := range []Frame{
		{Digest: []Stamp{{"RESOUR_NODE|leaf1", "leaf1", Version{9, 9}}}, DigestEnd: true},
		{Rows: []SentRow{{Row: Row{Key: "RESOUR_NODE|leaf2", Owner: "leaf2", Version: Version{1, 1}, Fields: map[string]string{"f": "v"}}}}},
		{Rows: []SentRow{{Row: Row{Key: "RESOUR_SERVICE|kms", Version: Version{1, 1}}}}},
	} {
		wire, err := proto.Marshal(messageOf(&frame))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		m := &api.SyncFrame{}
		if proto.Unmarshal(wire, m) != nil {
			return
		}
		n := NewNode("leaf1", 1, 0, limits)
		own := map[string]string{"addr": "10.1.0.1"}
		n.Put("RESOUR_NODE|leaf1", own, false)
		n.Connect(1, "leaf2")
		n.Receive(1, frameOf(m), time.Hour)
		for _, c := range n.Changes() {
			if c.Row != nil && len(c.Row) > maxFields+2 {
				t.Errorf("%s has %d fields", c.Key, len(c.Row))
			}
		}
		if r, _ := n.store.get("leaf1", "RESOUR_NODE|leaf1"); !cmp.Equal(r.Fields, own) {
			t.Errorf("our own row is %v", r.Fields)
		}
		for range 3 {
			n.Next(1, time.Hour)
		}
	})
}
