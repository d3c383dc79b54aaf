package orders

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"sonic-netservices/api"
)

// Everything that is missing is named with its node; what only advises is not in a refusal.
func TestMissing(t *testing.T) {
	c := nodeChecks{node: "leaf2"}
	c.room(&api.ExamineReply{FreeMemory: 30 << 20, FreeVolumes: 1 << 20, FreeImages: 1 << 30, GroupMemory: 50 << 20},
		Budget{CPU: 0.5, Memory: 64 << 20},
		&api.ReserveRequest{Mode: api.Mode_LIVE, MemoryBytes: 20 << 20, VolumeBytes: 2 << 20,
			Replica: &api.Replica{CpuLimit: 2, MemoryLimit: 16 << 20}}, 1<<20)
	c.platform(&api.HostFacts{Platform: &api.Platform{Criu: "4.2.1", Propagation: "shared"}, Missing: []string{"CPU features: no flags", "criu: not found"}},
		&api.Platform{Criu: "4.1", Propagation: "private"})
	c.add("clock", false, "3 s ahead")
	want := []string{
		"disk of volumes (leaf2): 1.0 MiB free for 2.0 MiB",
		"memory (leaf2): 30.0 MiB free for the service's and its image's 40.0 MiB",
		"budget (leaf2): services use 50.0 MiB of the 64.0 MiB they may (services_memory); this one brings 20.0 MiB",
		"limit (leaf2): it may use 16.0 MiB of memory here and uses 20.0 MiB",
		"platform (leaf2): CPU features: no flags",
		`platform (leaf2): criu: "4.2.1" here, "4.1" at the source; a restore needs both nodes alike`,
		`platform (leaf2): mount propagation of /: "shared" here, "private" at the source; a restore needs both nodes alike`,
	}
	if diff := cmp.Diff(want, missing(c.list)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A feature of the kernel is missing only for a move that needs it.
func TestFeatures(t *testing.T) {
	found := []*api.Check{{Name: "feature mem_dirty_track", Detail: "off"}, {Name: "feature uffd-noncoop", Detail: "off"}}
	for want, o := range map[string]*api.MoveOptions{
		"":                                     nil,
		"feature uffd-noncoop (leaf1): off":    {Lazy: true},
		"feature mem_dirty_track (leaf1): off": {Precopy: api.Precopy_PRECOPY_TRACKED},
	} {
		c := nodeChecks{node: "leaf1"}
		c.host(found, o)
		if got := strings.Join(missing(c.list), "; "); got != want {
			t.Errorf("%v: %q, want %q", o, got, want)
		}
	}
}

func TestExpectFreeze(t *testing.T) {
	moves := func(ms ...float64) (all []*api.Move) {
		for _, m := range ms {
			all = append(all, &api.Move{SwitchToReleaseMs: m, CheckpointBytes: 20e6, PresentBytes: 80e6}) // 415 ms by the formula
		}
		return all
	}
	for _, c := range []struct {
		mode   api.Mode
		memory int64
		recent []*api.Move
		ms     float64
		says   string
	}{
		{api.Mode_LIVE, 100e6, nil, 315, "160 ms + 1.55 ms/MB x 100.0 MB (a quiet machine"},
		{api.Mode_LIVE, 100e6, moves(630, 315, 3150), 630, "x 2.00, the median of the newest 3 moves"},
		{api.Mode_LIVE, 10e6, moves(0), 175.5, "no move of this mode"}, // one that never switched says nothing
		{api.Mode_WARM, 10e6, nil, 30, "nothing is frozen"},
	} {
		ms, says := expectFreeze(c.mode, c.memory, c.recent)
		if ms < c.ms-0.01 || ms > c.ms+0.01 || !strings.Contains(says, c.says) {
			t.Errorf("%v of %d bytes: %.2f ms by %q, want %.2f by %q", c.mode, c.memory, ms, says, c.ms, c.says)
		}
	}
}

// Bulk data tells how far it is, with what went before, and once at its end.
func TestProgress(t *testing.T) {
	op := newOperation("op1")
	op.expect(300)
	m := &sourceMove{out: op, order: &api.MoveOrder{To: "leaf2"}, trace: &api.Move{VolumeBytes: 100}, volumes: 150}
	if _, err := io.ReadAll(m.progress("volume/keys", strings.NewReader(strings.Repeat("k", 50)))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.progress("image", errorReader{}).Read(make([]byte, 1)); err == nil {
		t.Error("an error of the reader is lost")
	}
	slow := m.progress("volume/keys", strings.NewReader("k")).(*progressReader)
	slow.told = time.Now().Add(-2 * tellEvery)
	if _, err := slow.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	want := []*api.Event{
		{Op: "op1", Phase: "volumes", Detail: "keys to leaf2", Bytes: 150, ExpectedFreezeMs: 300},
		{Op: "op1", Phase: "volumes", Detail: "keys to leaf2", Bytes: 101, TotalBytes: 150, ExpectedFreezeMs: 300},
	}
	for _, e := range op.events {
		e.AtMs = 0
	}
	if diff := cmp.Diff(want, op.events, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +told):\n%s", diff)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("gone") }
