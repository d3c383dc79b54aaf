package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A CRIU that is killed leaves what it had forked, which holds the lock and runc up for ever: it is ended, the dump fails
// at once, and the container is taken back.
func TestOrphansOfKilledCRIU(t *testing.T) {
	h, pages, _ := fakeHost(t)
	put(t, pages, "a\n")
	t.Setenv("ORPHAN", "1")
	began := time.Now()
	_, err := h.dumpOnce(t, DumpHow{})
	if err == nil || !strings.Contains(err.Error(), "CRIU is gone") {
		t.Errorf("dump: %v", err)
	}
	if err := h.TakeBack("op", dumped); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("all of it took %v", took)
	}
}

func TestOrphansOf(t *testing.T) {
	for name, c := range map[string]struct {
		all  map[int]procStat
		want []int
	}{
		"a dump":           {map[int]procStat{10: {parent: 1, name: "runc"}, 11: {parent: 10, name: "criu"}, 12: {parent: 11, name: "criu"}}, nil},
		"runc alone":       {map[int]procStat{10: {parent: 1, name: "runc"}}, nil},
		"CRIU was killed":  {map[int]procStat{10: {parent: 1, name: "runc"}, 12: {parent: 1, name: "criu"}}, []int{12}},
		"and runc as well": {map[int]procStat{12: {parent: 1, name: "criu"}}, []int{12}},
	} {
		if diff := cmp.Diff(c.want, orphansOf(c.all)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
