package serve

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/run"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/plan/balance"
)

// The file is taken when it has changed and stayed so; one with faults, or one that is gone, leaves the old trees.
func TestTreeFileIsWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trees.xml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil { // as editors do
			t.Fatal(err)
		}
	}
	good := string(trees.Manager)
	write(good)
	synctest.Test(t, func(t *testing.T) {
		file, err := readTrees(path)
		if err != nil {
			t.Fatal(err)
		}
		runner, err := run.New(run.Config{Params: decide.Defaults(), Balance: balance.Defaults(), File: file}, nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		d := &deciding{treeFile: path, runner: runner}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.watchTrees(ctx)
		first := d.Trees().Hash
		steps := []struct {
			text    string // "" = the file is taken away
			problem string
			same    bool // trees as before
		}{
			{good, "", true},
			{strings.Replace(good, "<LeavesFirst", "<LeavesLast", 1), path + ":", true},
			{"", path + ":", true}, // what is wrong with the last one stays known
			{strings.Replace(good, `msec="120000"`, `msec="130000"`, 1), "", false},
			{good, "", true},
		}
		for i, s := range steps {
			if s.text == "" {
				os.Remove(path)
			} else {
				write(s.text)
			}
			time.Sleep(5 * lookEvery / 2)
			if got := d.Trees(); !strings.Contains(got.Problem, s.problem) || (got.Problem != "") != (s.problem != "") || (got.Hash == first) != s.same {
				t.Errorf("step %d: %+v", i, got)
			}
		}
		write("<half")
		time.Sleep(lookEvery)
		write(strings.Replace(good, `msec="120000"`, `msec="140000"`, 1)) // before the next look
		time.Sleep(3 * lookEvery)
		if got := d.Trees(); got.Problem != "" || got.Hash == first {
			t.Errorf("a file written in two steps: %+v", got)
		}
	})
}
