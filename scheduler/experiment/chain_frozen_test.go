package experiment

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sonic-netservices/plan"
)

var (
	full   = flag.Bool("full", false, "prove every frozen optimum again, not the quick ones only")
	freeze = flag.Int("freeze", 0, "make so many more frozen chain problems, each with an optimum that CBC proves")
	from   = flag.Uint64("from", 500, "with -freeze: seed of the first")
)

// quick is how many of the frozen problems, of which the first are the easiest, are proved in each run: each in a few seconds.
const quick = 2

func TestFrozenOptima(t *testing.T) {
	if _, err := exec.LookPath("cbc"); err != nil {
		t.Fatalf("%v: build/setup.sh installs it", err)
	}
	all, err := frozenChains()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < quick {
		t.Fatalf("%d frozen problems", len(all))
	}
	for i, f := range all {
		if i >= quick && !*full {
			break
		}
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			view, err := plan.NewView(f.Nodes, f.Links)
			if err != nil {
				t.Fatal(err)
			}
			optimum, proved := newOracle(view, &f.Problem).solve(t, 600)
			if !proved || math.Abs(optimum-f.Optimum) > 1e-4*f.Optimum {
				t.Errorf("CBC finds %.4f (proved: %v), frozen is %.4f", optimum, proved, f.Optimum)
			}
		})
	}
}

// The frozen problems are made by this test with -freeze: small networks, tight, of 6 to 12 requests. What CBC does not prove
// within a minute is left out, so those that are there are the easier ones.
func TestFreeze(t *testing.T) {
	if *freeze == 0 {
		t.Skip("only with -freeze")
	}
	all, err := frozenChains()
	if err != nil {
		t.Fatal(err)
	}
	number := len(all)
	for seed := *from; number < len(all)+*freeze; seed++ {
		s := chainDefault(50, 200)
		s.Cores, s.Edges, s.Services, s.Degree = 2, 4+int(seed%3), 2+int(seed%2), 3
		s.Scale = []float64{0.16, 0.2, 0.25}[seed%3]
		s.Reserve *= s.Scale
		requests := 6 + int(seed%7)
		view, err := s.network(seed)
		if err != nil {
			t.Fatal(err)
		}
		p := s.problem(view, seed, requests)
		p.Replicas, p.Paths, p.SteadyDelay, p.Batch, p.Rejection = 1, 1, true, true, 3000
		begun := time.Now()
		optimum, proved := newOracle(view, p).solve(t, 60)
		t.Logf("seed %d: %d requests: %.1f, proved %v, %.0f s", seed, requests, optimum, proved, time.Since(begun).Seconds())
		if !proved {
			continue
		}
		number++
		f := frozenChain{Name: fmt.Sprintf("%02d, %d requests", number, requests), Optimum: optimum, Solver: "CBC 2.10.8", Nodes: view.Nodes, Links: view.Links, Problem: *p}
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("frozen", fmt.Sprintf("%02d.json", number)), append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
