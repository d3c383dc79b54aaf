package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonic-netservices/plan"
	"sonic-netservices/plan/topology"
)

func scheduler(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

const problemFile = "../spec/testdata/problems/good.yaml"

// One problem of a user's own, by each method that it has parts for: in words, and as JSON.
func TestProblem(t *testing.T) {
	for name, want := range map[string]string{
		"scn":     "route r2 from b to a over b > a, steps at b",
		"labels":  "kms: SHR, load 0, changed by -100 %",
		"relay":   "relay: 0 actions",
		"chain":   "refused request r1: infeasible because no replica of web has room for 50 Mbit/s",
		"balance": "1. migrate kms-0 from a to b, compute 1",
	} {
		code, out, errs := scheduler("experiment", name, "--problem", problemFile)
		if code != 0 || !strings.Contains(out, want) || errs != "" {
			t.Errorf("%s: exit %d, no %q in\n%s%s", name, code, want, out, errs)
		}
		code, out, _ = scheduler("experiment", name, "--problem", problemFile, "--json")
		var d plan.Decision
		if err := json.Unmarshal([]byte(out), &d); code != 0 || err != nil || d.Strategy != name {
			t.Errorf("%s: exit %d, %v: %s", name, code, err, out)
		}
	}
}

// The example has something to decide for each of them.
func TestExampleProblem(t *testing.T) {
	for name, want := range map[string]string{
		"scn":     "route audit from branch1 to branch3",
		"labels":  "resize auth to branch1",
		"relay":   "over branch1 > branch3 > branch2",
		"chain":   "2 of 3 requests are served",
		"balance": "migrate kms-0 from branch1",
	} {
		if code, out, errs := scheduler("experiment", name, "--problem", "../examples/problem.yaml"); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d, no %q in\n%s%s", name, code, want, out, errs)
		}
	}
}

// What cannot be meant ends with exit code 2 and nothing on standard output.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		args, want string
	}{
		{"experiment relay --paper --quick", "--paper, --quick"},
		{"experiment scn --paper --topology abilene", "the paper has a network of its own"},
		{"experiment scn --topology nowhere", "no file of that name, and none of abilene"},
		{"experiment scn --json", "go with --problem"},
		{"experiment scn --work 9", "go with --problem"},
		{"experiment chain --problem ../examples/problem.yaml --topology abilene", "is one problem on a network of its own"},
		{"experiment scn --seeds -1", "want 0 or more"},
		{"experiment scn --problem ../spec/testdata/problems/bad.yaml", "bad.yaml:4:14: network.nodes[1].name: a is given twice"},
	} {
		code, out, errs := scheduler(strings.Fields(c.args)...)
		if code != 2 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q, %q", c.args, code, out, errs)
		}
	}
}

// Every network that has a name, and one that a user wrote down, takes the place of the paper's.
func TestTopologies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ring.yaml")
	if err := os.WriteFile(file, []byte("nodes: [{name: a}, {name: b}, {name: c}]\nlinks: [{a: a, b: b}, {a: b, b: c}, {a: c, b: a}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(strings.Split(topology.Choices(), ", "), file) {
		code, out, errs := scheduler("experiment", "relay", "--quick", "--topology", name, "--out", t.TempDir())
		if code != 0 || !strings.Contains(out, "Pairs that a relay improves") {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errs)
		}
	}
}

// An experiment shows tables on standard output, progress on standard error, and leaves files behind.
func TestExperiment(t *testing.T) {
	folder := t.TempDir()
	code, out, errs := scheduler("experiment", "relay", "--quick", "--out", folder)
	if code != 0 || !strings.Contains(out, "Pairs that a relay improves") || !strings.Contains(errs, "2 of 2 runs") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	for _, file := range []string{"relay.csv", "relay.svg", "relay.png"} {
		if _, err := os.Stat(filepath.Join(folder, "experiments", file)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "bench.jsonl")); err == nil {
		t.Error("a quick run wrote figures")
	}
}
