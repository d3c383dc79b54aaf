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

// calibrationDir is beside the folders of watched loads: calibration/<load>/1, 2, ... are loads without a limit, with
// usage.jsonl, before the watched one.
const calibrationDir = "calibration"

// Calibration is what a service costs at a rate on a node that does not limit it.
type Calibration struct {
	Node   string  `json:"node"`
	Rate   int     `json:"rate"` // requests a second
	Rounds []Round `json:"rounds"`
	Cores  float64 `json:"cores"` // at that rate, the mean of the last two rounds
	Apart  float64 `json:"apart"` // share of it that those two differ by; one round: 1
}

// Round is one load of a calibration.
type Round struct {
	Seconds []float64 `json:"seconds"` // CPU time for each request answered, in ms, second by second
	Cores   float64   `json:"cores"`   // their median times the rate
}

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
		seconds := p.perRequest(node)
		if len(seconds) < 5 {
			return nil, fmt.Errorf("round %s of the calibration has %d seconds on %s, want 5 at least", p.Name, len(seconds), node)
		}
		c.Rounds = append(c.Rounds, Round{seconds, rounded(float64(c.Rate) * middle(seconds) / 1000)})
	}
	n := len(c.Rounds)
	if n == 0 {
		return nil, errors.New("a calibration without a round")
	}
	if c.Cores = c.Rounds[n-1].Cores; n > 1 {
		x, y := c.Rounds[n-2].Cores, c.Rounds[n-1].Cores
		c.Cores = rounded((x + y) / 2)
		c.Apart = rounded(math.Abs(x-y) / max(c.Cores, 0.001))
	}
	return &c, nil
}

// perRequest is the CPU time for each request between two samples of a node, in ms.
func (p Part) perRequest(node string) []float64 {
	var all []float64
	var last *Usage
	for i := range p.Usage {
		u := &p.Usage[i]
		if u.Node != node {
			continue
		}
		if last != nil {
			from, to := last.At.Sub(p.About.Start), u.At.Sub(p.About.Start)
			answers := 0
			for _, r := range p.Records {
				if inTime(r) && from <= r.Answered && r.Answered < to {
					answers++
				}
			}
			if answers > 0 {
				all = append(all, rounded(float64(u.CPU-last.CPU)/float64(answers)/float64(time.Millisecond)))
			}
		}
		last = u
	}
	return all
}

// middle is the median, of an even number the mean of the two in the middle.
func middle(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

func rounded(x float64) float64 { return math.Round(10000*x) / 10000 }
