package load

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Schedule fixes in advance when each request is due. What the service does never changes it: a client that waits for
// answers would send less while the service is away and hide the interruption.
type Schedule struct {
	Steps    []Step
	New      int           // requests a second that come on a new connection each; they count in the rate
	Duration time.Duration // 0: until stopped
	Seed     uint64        // of random moments, as independent clients choose them (Poisson); 0: evenly spaced
}

// Step is a rate that holds from a moment on.
type Step struct {
	From time.Duration `json:"from"` // since the load began
	Rate int           `json:"rate"` // requests a second
}

// Slot is one due request.
type Slot struct {
	N   int
	Due time.Duration // since the load began
	New bool          // on a connection of its own
}

// Slots counts through the due times: evenly spaced inside a step, or random, then the same for the same seed. The new
// connections are evenly spread among the requests.
func (s Schedule) Slots() iter.Seq[Slot] {
	return func(yield func(Slot) bool) {
		n := 0
		random := rand.New(rand.NewPCG(s.Seed, 0))
		for i, step := range s.Steps {
			end := s.Duration
			if next := i + 1; next < len(s.Steps) && (end == 0 || s.Steps[next].From < end) {
				end = s.Steps[next].From
			}
			passed := 0.0 // of the step, in mean distances between two requests
			for k := 0; ; k++ {
				due := step.From + time.Duration(k)*time.Second/time.Duration(step.Rate)
				if s.Seed != 0 {
					passed += random.ExpFloat64()
					due = step.From + time.Duration(passed*float64(time.Second)/float64(step.Rate))
				}
				if end != 0 && due >= end {
					break
				}
				fresh := (k+1)*s.New/step.Rate > k*s.New/step.Rate
				if !yield(Slot{n, due, fresh}) {
					return
				}
				n++
			}
		}
	}
}

// peak is the highest rate.
func (s Schedule) peak() int {
	peak := 0
	for _, step := range s.Steps {
		peak = max(peak, step.Rate)
	}
	return peak
}

func (s Schedule) check() error {
	if len(s.Steps) == 0 || s.Steps[0].From != 0 {
		return fmt.Errorf("schedule: no rate from the beginning")
	}
	for i, step := range s.Steps {
		if step.Rate < 1 || step.Rate > 100_000 {
			return fmt.Errorf("schedule: rate %d, want 1 to 100000 a second", step.Rate)
		}
		if s.New > step.Rate {
			return fmt.Errorf("schedule: %d new connections a second, but %d requests", s.New, step.Rate)
		}
		if i > 0 && step.From <= s.Steps[i-1].From {
			return fmt.Errorf("schedule: step at %v is not after %v", step.From, s.Steps[i-1].From)
		}
	}
	if s.New < 0 {
		return fmt.Errorf("schedule: %d new connections a second", s.New)
	}
	if s.Duration < 0 {
		return fmt.Errorf("schedule: duration %v", s.Duration)
	}
	return nil
}

// ParseSteps reads rates as people write them: "100" or "100,500@30s".
func ParseSteps(text string) ([]Step, error) {
	var steps []Step
	for _, field := range strings.Split(text, ",") {
		rate, from, stepped := strings.Cut(field, "@")
		var step Step
		var err error
		if step.Rate, err = strconv.Atoi(rate); err != nil {
			return nil, fmt.Errorf("rate %q: want RATE or RATE@TIME", field)
		}
		if stepped {
			if step.From, err = time.ParseDuration(from); err != nil {
				return nil, fmt.Errorf("rate %q: %w", field, err)
			}
		}
		steps = append(steps, step)
	}
	return steps, nil
}
