// Package arch_test holds the fences of docs/architecture.md: which room may import what, and that every package says
// what it is.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

const module = "sonic-netservices/"

// programs never import each other. They meet in the shared rooms.
var programs = []string{"syncd-plugin", "resource-sync", "bt-manager", "mig-agent", "scheduler", "probe",
	"n2n-supernode", "n2n-edge", "nsctl", "examples/kms"}

// shared rooms may not import a program either. sonic-vs may use anything.
var shared = []string{"netmap", "plan", "spec", "resourdb", "api", "internal"}

// owners name the rooms a foreign library is confined to, and why: what it can do to the machine is then to be found
// in one place.
var owners = []struct {
	library string
	rooms   []string
	why     string
}{
	{"github.com/redis/go-redis", []string{"internal/sonicdb"}, "one place knows how a switch's databases are found and watched"},
	{"github.com/docker/docker", []string{"mig-agent/engine"}, "containers are made, moved and ended in one room"},
	{"github.com/checkpoint-restore/go-criu", []string{"mig-agent/engine"}, "as Docker"},
	{"github.com/vishvananda/netlink", []string{"mig-agent/address", "n2n-edge"}, "machine state is set, not changed from everywhere"},
	{"github.com/vishvananda/netns", []string{"mig-agent/address", "n2n-edge"}, "as netlink"},
	{"github.com/google/nftables", []string{"mig-agent/address", "n2n-edge"}, "as netlink"},
	{"github.com/openconfig/gnmi", []string{"resource-sync/inspect"}, "a view of rows, not a way to keep them"},
	{"github.com/hashicorp/memberlist", []string{"resource-sync/replica"}, "membership has one source"},
	{"github.com/prometheus/client_golang", []string{"internal/daemon", "bt-manager/serve", "n2n-edge/edge", "n2n-supernode"}, "metrics are shown by programs; rooms count in plain numbers"},
	{"github.com/hashicorp/raft", []string{"bt-manager/journal"}, "durable state hides behind the journal's interface"},
	{"gonum.org/v1/gonum", []string{"sonic-vs/bench"}, "what our graphs are measured against is in no program"},
	{"github.com/hashicorp/raft-wal", []string{"bt-manager/journal"}, "as raft"},
}

// open are rooms of a program that another one may import. They, and every room of ours that they use, are pure or shared: what
// comes along is knowledge, not a part of the program that runs (docs/decisions/0040).
var open = []struct{ room, to, why string }{
	{"bt-manager/lint", "nsctl", "tree files are checked offline, by the loader and the leaves of the manager itself"},
	{"bt-manager/bt/xmlv4", "nsctl", "as lint: the faults it finds"},
}

// pure rooms decide; they have no socket, clock, file or foreign library.
var pure = []string{"netmap", "plan", "mig-agent/migrate", "bt-manager/bt", "bt-manager/decide", "bt-manager/lint",
	"n2n-supernode/rendezvous", "n2n-supernode/control", "n2n-edge/edge/peering", "n2n-edge/edge/offload"}

var impure = map[string]string{
	"net": "no sockets", "net/http": "no sockets", "os": "no files", "os/exec": "no processes", "syscall": "no system calls",
	"math/rand": "chance comes in a Config", "math/rand/v2": "chance comes in a Config",
}

type file struct {
	path    string // from the root, with slashes
	room    string // folder
	imports []string
	test    bool
	doc     string
}

func TestFences(t *testing.T) {
	for _, f := range sources(t) {
		for _, imp := range f.imports {
			own, inside := strings.CutPrefix(imp, module)
			switch {
			case inside:
				if why := crosses(f.room, own); why != "" {
					t.Errorf("%s imports %s: %s", f.path, own, why)
				}
			default:
				for _, o := range owners {
					if in(imp, o.library) && !anyIn(f.room, o.rooms) && !in(f.room, "sonic-vs") && !f.test {
						t.Errorf("%s imports %s: only %v may (%s)", f.path, imp, o.rooms, o.why)
					}
				}
				if why, bad := impure[imp]; bad && anyIn(f.room, pure) && !f.test {
					t.Errorf("%s imports %s: the room is pure (%s)", f.path, imp, why)
				}
			}
		}
	}
}

// crosses says why a room may not import another of ours, "" when it may.
func crosses(from, to string) string {
	if in(from, "sonic-vs") {
		return ""
	}
	if in(to, "sonic-vs") {
		return "the test bed is no part of the product"
	}
	for _, p := range programs {
		switch {
		case !in(to, p) || in(from, p):
		case isOpen(to, from):
			return ""
		case anyIn(from, shared):
			return "a shared room may not know the program " + p
		default:
			return "programs never import each other; they meet in " + strings.Join(shared, ", ")
		}
	}
	return ""
}

func isOpen(room, to string) bool {
	for _, o := range open {
		if o.room == room && in(to, o.to) {
			return true
		}
	}
	return false
}

// What an open room brings along is pure, or shared.
func TestOpenRoomsArePure(t *testing.T) {
	imports := map[string][]string{}
	for _, f := range sources(t) {
		if !f.test {
			imports[f.room] = append(imports[f.room], f.imports...)
		}
	}
	for _, o := range open {
		seen := map[string]bool{}
		var walk func(room string)
		walk = func(room string) {
			if seen[room] {
				return
			}
			seen[room] = true
			if !anyIn(room, pure) && !anyIn(room, shared) {
				t.Errorf("%s is open to %s and brings along %s, which is neither pure nor shared", o.room, o.to, room)
			}
			for _, imp := range imports[room] {
				if own, inside := strings.CutPrefix(imp, module); inside {
					walk(own)
				}
			}
		}
		if len(imports[o.room]) == 0 {
			t.Errorf("no room %s", o.room)
		}
		walk(o.room)
	}
}

// Pure rooms read no clock: durations and times are values that come in.
func TestPureRoomsReadNoClock(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || !anyIn(f.room, pure) {
			continue
		}
		text, err := os.ReadFile(filepath.FromSlash(f.path))
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"time.Now(", "time.Since(", "time.Sleep(", "time.After(", "go func("} {
			if strings.Contains(string(text), call) {
				t.Errorf("%s has %s): the room is pure", f.path, call)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	docs := map[string]string{}
	for _, f := range sources(t) {
		if f.test || strings.HasSuffix(f.path, ".pb.go") {
			continue
		}
		docs[f.room] += f.doc
	}
	var rooms []string
	for room := range docs {
		rooms = append(rooms, room)
	}
	sort.Strings(rooms)
	for _, room := range rooms {
		if room != "api" && len(docs[room]) < 60 {
			t.Errorf("package %s has no package comment worth the name", room)
		}
	}
}

func TestNoJunkRooms(t *testing.T) {
	for _, f := range sources(t) {
		switch path.Base(f.room) {
		case "util", "utils", "common", "helpers", "misc", "lib":
			t.Errorf("%s: a room is named after what it is about", f.room)
		}
	}
}

func sources(t *testing.T) []file {
	t.Helper()
	var list []file
	err := filepath.WalkDir(".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == "out" || e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".") && p != ".") {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(p), room: path.Dir(filepath.ToSlash(p)), test: strings.HasSuffix(p, "_test.go"),
			doc: parsed.Doc.Text()}
		for _, i := range parsed.Imports {
			f.imports = append(f.imports, strings.Trim(i.Path.Value, `"`))
		}
		list = append(list, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("found only %d Go files: started in the wrong folder?", len(list))
	}
	return list
}

// in says whether a path is or lies below another.
func in(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func anyIn(p string, roots []string) bool {
	for _, r := range roots {
		if in(p, r) {
			return true
		}
	}
	return false
}
