package spec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBadProblem(t *testing.T) {
	_, err := ParseProblem("bad.yaml", read(t, "testdata/problems/bad.yaml"))
	if err == nil {
		t.Fatal("no error")
	}
	golden(t, "testdata/problems/bad.err", err.Error()+"\n")
}

func TestGoodProblem(t *testing.T) {
	p, err := ParseProblem("good.yaml", read(t, "testdata/problems/good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if f := p.Functions[0]; f.Ratio != 1 || f.Where != EdgeTier || f.Instance != 20 {
		t.Errorf("%+v", f)
	}
	if r := p.Requests[1]; r.Steps[0].Compute != 3 || !slices.Equal(r.Rates, []float64{5, 2.5}) {
		t.Errorf("%+v", r)
	}
	if n := p.Network.Nodes[1]; n.X != -1.5 || n.Used["compute"] != 2.5 || p.Hops != 2 || p.Class != Bandwidth {
		t.Errorf("%+v", n)
	}
	if s := p.Services[0]; s.RequestSize != 4096 || s.LoadModel.Linear != time.Millisecond || p.Move.Data != 100<<20 {
		t.Errorf("%+v", s)
	}
}

func TestTopologies(t *testing.T) {
	n, err := ParseTopology("t", []byte("name: pair\nsource: us\nnodes: [{name: a}, {name: b, x: 3}]\nlinks: [{a: a, b: b}]\n"))
	if err != nil || n.Name != "pair" || len(n.Links) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
	for text, want := range map[string]string{
		"nodes: [{name: a}]\nlinks: [{a: a, b: c}]": "t:2:19: links[0].b: no node c in the network",
		"name: abilene": "t:1:1: has no nodes",
		"":              "t:1:1: the file is empty",
	} {
		if _, err := ParseTopology("t", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// FuzzParseProblem: no text makes it panic, and everything that is wrong has a place, in order.
func FuzzParseProblem(f *testing.F) {
	files, _ := filepath.Glob("testdata/problems/*.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, parse := range []func() error{
			func() error { _, err := ParseProblem("f", text); return err },
			func() error { _, err := ParseTopology("f", text); return err },
		} {
			err := parse()
			if err == nil {
				continue
			}
			last := 1
			for _, e := range err.(Errors) {
				if e.Line < last || e.Column < 1 {
					t.Errorf("no place, or not in order: %v", err)
				}
				last = e.Line
			}
		}
	})
}
