package load

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// calibrationDir is beside the folders of watched loads: calibration/<load>/1, 2, ... are short loads before the watched
// one, each with two samples in usage.jsonl: one when its connections are made, one before it ends.
const calibrationDir = "calibration"

// Calibration is what a service costs at a rate.
type Calibration struct {
	Node   string  `json:"node"`
	Rate   int     `json:"rate"` // requests a second
	Rounds []Round `json:"rounds"`
	Cores  float64 `json:"cores"` // at that rate, the smaller one of the last two rounds: whatever disturbs adds to the cost
	Apart  float64 `json:"apart"` // share of it that those two differ by; one round: 1
}

// Round is one load of a calibration. A service that is short of CPU time works off more at once, and each request costs
// it less; so what counts is what it costs under the budget that it shall be short of.
type Round struct {
	Budget     float64 `json:"budget"` // cores
	Answers    int     `json:"answers"`
	PerRequest float64 `json:"per_request_ms"` // CPU time
	Cores      float64 `json:"cores"`          // at the rate
}

// leastAnswers of a round, so that a request more or less does not matter.
const leastAnswers = 1000

// ReadCalibration computes a calibration from the records in a folder of rounds; nil: there is no such folder.
func ReadCalibration(dir, node string) (*Calibration, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var parts []Part
	for _, n := range numbers {
		name := strconv.Itoa(n)
		p, err := readRecords(filepath.Join(dir, name), name)
		if err != nil {
			return nil, err
		}
		if p.Usage, _, err = readLines(&p, filepath.Join(dir, name), usageFile, ParseUsage); err != nil {
			return nil, err
		}
		if len(p.Problems) > 0 {
			return nil, fmt.Errorf("%w: calibration %s", ErrVerify, p.Problems[0])
		}
		parts = append(parts, p)
	}
	return calibrate(parts, node)
}

// calibrate is pure. Time for each request instead of each second: requests come at random moments.
func calibrate(parts []Part, node string) (*Calibration, error) {
	c := Calibration{Node: node, Apart: 1}
	for _, p := range parts {
		if len(p.About.Steps) != 1 || c.Rate != 0 && c.Rate != p.About.Steps[0].Rate {
			return nil, fmt.Errorf("round %s of the calibration has not one rate, that of the others", p.Name)
		}
		c.Rate = p.About.Steps[0].Rate
		r, err := p.round(node)
		if err != nil {
			return nil, fmt.Errorf("round %s of the calibration: %w", p.Name, err)
		}
		c.Rounds = append(c.Rounds, r)
	}
	n := len(c.Rounds)
	if n == 0 {
		return nil, errors.New("a calibration without a round")
	}
	if c.Cores = c.Rounds[n-1].Cores; n > 1 {
		x, y := c.Rounds[n-2].Cores, c.Rounds[n-1].Cores
		c.Cores = min(x, y)
		c.Apart = rounded(math.Abs(x-y) / max(c.Cores, 0.001))
	}
	return &c, nil
}

// round is what the answers between the first and the last sample of a node cost.
func (p Part) round(node string) (Round, error) {
	var r Round
	var samples []Usage
	for _, u := range p.Usage {
		if u.Node == node {
			samples = append(samples, u)
		}
	}
	if len(samples) < 2 {
		return r, fmt.Errorf("%d samples of %s, want 2 at least", len(samples), node)
	}
	first, last := samples[0], samples[len(samples)-1]
	from, to := first.At.Sub(p.About.Start), last.At.Sub(p.About.Start)
	for _, x := range p.Records {
		if inTime(x) && from <= x.Answered && x.Answered < to {
			r.Answers++
		}
	}
	if r.Answers < leastAnswers {
		return r, fmt.Errorf("%d answers between its samples, want %d at least", r.Answers, leastAnswers)
	}
	each := float64(last.CPU-first.CPU) / float64(r.Answers) / float64(time.Millisecond)
	r.Budget, r.PerRequest = last.Budget, rounded(each)
	r.Cores = rounded(each * float64(p.About.Steps[0].Rate) / 1000)
	return r, nil
}

func rounded(x float64) float64 { return math.Round(10000*x) / 10000 }
