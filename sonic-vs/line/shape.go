// Package line makes a cable slow: it passes frames on between two interfaces of a network namespace, each after a delay that
// may vary, some never, and so many a second. Kernels that switches are simulated on often lack netem.
//
// It reads frames from one interface and writes them to the other, and is told by package testbed, which starts it as
// `sonic-vs line` in a namespace of its own between the two ends of a link.
package line

import (
	"fmt"
	"time"
)

// Shape is what happens to frames, in each direction by itself. The zero Shape is a plain cable.
type Shape struct {
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"` // a frame's delay is Delay plus or minus up to Jitter, evenly: frames may overtake
	Loss   float64       `json:"loss,omitempty"`   // percent of the frames
	Rate   float64       `json:"rate,omitempty"`   // Mbit/s; 0: as fast as it goes
}

// Plain says that nothing happens to frames.
func (s Shape) Plain() bool { return s == Shape{} }

// Check names the field that means nothing.
func (s Shape) Check() error {
	switch {
	case s.Delay < 0 || s.Delay > time.Minute:
		return fmt.Errorf("delay %v: want 0 to 1m", s.Delay)
	case s.Jitter < 0 || s.Jitter > s.Delay:
		return fmt.Errorf("jitter %v: want 0 to the delay, %v", s.Jitter, s.Delay)
	case s.Loss < 0 || s.Loss > 100:
		return fmt.Errorf("loss %v: want percent", s.Loss)
	case s.Rate < 0:
		return fmt.Errorf("rate %v: want Mbit/s", s.Rate)
	}
	return nil
}
