package serve

import (
	"fmt"
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

// watching is a manager that has taken a file and watches it, until the test ends.
func watching(t *testing.T, path string, file trees.File) *deciding {
	t.Helper()
	runner, err := run.New(run.Config{Params: decide.Defaults(), Balance: balance.Defaults(), File: file}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := &deciding{treeFile: path, runner: runner}
	go d.watchTrees(t.Context())
	return d
}

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
		file, _, err := readTrees(path)
		if err != nil {
			t.Fatal(err)
		}
		d := watching(t, path, file)
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

// What a file includes is watched like the file itself; what is wrong with it is told with its own name, and the place
// where a file that is missing is asked for.
func TestIncludedTreesAreWatched(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trees.xml")
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			os.Remove(name)
		} else if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Intake stays in the file, each other tree goes to the folder parts, some through a list of them.
	all := strings.SplitAfter(string(trees.Manager), "</BehaviorTree>")
	main, list := `<root BTCPP_format="4" main_tree_to_execute="Intake"><include path="parts/list.xml"/>`, `<root BTCPP_format="4">`
	replica := ""
	for i, text := range all[:len(all)-1] {
		text = text[strings.Index(text, "<BehaviorTree"):]
		part := fmt.Sprintf("part%d.xml", i)
		switch {
		case strings.Contains(text, `ID="Intake"`):
			main += text
		case strings.Contains(text, `ID="Replica"`):
			replica = text
			main += `<include path="./parts/` + part + `"/>`
			write("parts/"+part, `<root BTCPP_format="4">`+text+`</root>`)
		default:
			list += `<include path="` + part + `"/>`
			write("parts/"+part, `<root BTCPP_format="4">`+text+`</root>`)
		}
	}
	write("trees.xml", main+`</root>`)
	write("parts/list.xml", list+`</root>`)
	replica = `<root BTCPP_format="4">` + replica + `</root>`

	synctest.Test(t, func(t *testing.T) {
		file, _, err := readTrees(path)
		if err != nil || len(file.Includes) != len(all)-1 {
			t.Fatalf("%d files are included: %v", len(file.Includes), err)
		}
		d := watching(t, path, file)
		time.Sleep(5 * lookEvery / 2)
		first := d.Trees().Hash
		for i, s := range []struct {
			name, text string
			problem    string
			same       bool // trees as at first
		}{
			{"parts/part1.xml", strings.Replace(replica, "<NotDeployed", "<NotDeplyed", 1), "parts/part1.xml:", true},
			{"parts/part1.xml", "", "parts/part1.xml: no such file", true},
			{"parts/part1.xml", strings.Replace(replica, `name="replica"`, `name="another"`, 1), "", false},
			{"parts/part1.xml", replica, "", true},
			{"parts/list.xml", list + `<include path="../../etc/passwd"/></root>`, "the path leaves the folder", true},
			{"parts/list.xml", list + `<include path="../trees.xml"/></root>`, "files include each other", true},
			{"parts/list.xml", list + `</root>`, "", true},
			{"trees.xml", main + `<include path="more.xml"/></root>`, "more.xml: no such file", true},
			{"more.xml", `<root BTCPP_format="4"/>`, "", true},
		} {
			write(s.name, s.text)
			time.Sleep(9 * lookEvery / 2)
			if got := d.Trees(); !strings.Contains(got.Problem, s.problem) || (got.Problem != "") != (s.problem != "") || (got.Hash == first) != s.same {
				t.Errorf("step %d: %+v", i, got)
			}
		}
	})
}

// All files of a tree go into the journal as one record.
func TestTreesTogetherAreBounded(t *testing.T) {
	dir := t.TempDir()
	half := `<root BTCPP_format="4"><!--` + strings.Repeat("x", 600<<10) + `-->`
	for name, text := range map[string]string{"a.xml": half + `<include path="b.xml"/></root>`, "b.xml": half + `</root>`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := readTrees(filepath.Join(dir, "a.xml")); err == nil || !strings.Contains(err.Error(), "together") {
		t.Errorf("two files of 600 KiB: %v", err)
	}
	if file, asked, err := readTrees(filepath.Join(dir, "b.xml")); err != nil || len(file.Includes)+len(asked) != 0 {
		t.Errorf("one of them: %v, %v", asked, err)
	}
}
