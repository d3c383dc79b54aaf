package balance

import (
	"math"
	"slices"
	"time"

	"sonic-netservices/plan/graph"
)

// The equations of section 2.4. Utilisations a are the values of one node, one per kind.

// SU is eq. 1, the standard deviation of a node's utilisations. As printed, without square and root, it is always 0.
// It is reported and decides nothing.
func SU(a []float64) float64 {
	if len(a) == 0 {
		return 0
	}
	mean, square := 0.0, 0.0
	for _, x := range a {
		mean += x / float64(len(a))
	}
	for _, x := range a {
		square += (x - mean) * (x - mean) / float64(len(a))
	}
	return math.Sqrt(square)
}

// SUB is eq. 2, how far a node's fullest kind is from its emptiest; 0 = even.
func SUB(a []float64) float64 {
	if len(a) == 0 {
		return 0
	}
	return slices.Max(a) - slices.Min(a)
}

// leastSUB keeps eq. 3 finite on an even or idle node.
const leastSUB = 0.01

// Benefit is eq. 3, the part of a node's imbalance that a service takes away: (SUB - SUB') / SUB, in -1..1.
func Benefit(before, after float64) float64 {
	return max(-1, min(1, (before-after)/max(before, leastSUB)))
}

// Cost is eq. 4 in seconds: the time to carry bytes over every hop, one after the other.
func Cost(bytes float64, path []graph.Hop) float64 {
	sum := 0.0
	for _, h := range path {
		sum += HopCost(bytes, h)
	}
	return sum
}

// BottleneckCost is the time of a copy that is streamed through all hops at once.
func BottleneckCost(bytes float64, path []graph.Hop) float64 {
	slowest := 0.0
	for _, h := range path {
		slowest = max(slowest, HopCost(bytes, h))
	}
	return slowest
}

// HopCost is cost(l) of eq. 4 for one hop, in seconds.
func HopCost(bytes float64, h graph.Hop) float64 { return 8 * bytes / h.BPS }

// Gain is eq. 5. The cost is a number of tRefs: seconds cannot be weighed against a ratio.
func Gain(lambda, benefit, seconds float64, tRef time.Duration) float64 {
	return lambda*benefit - (1-lambda)*seconds/tRef.Seconds()
}

// Bounds of what a node can have or use, in any unit, and of bytes: an exabyte. They keep every quotient finite.
const (
	largest  = 1e18
	smallest = 1e-9
)

// measured says whether x can be a reading, a demand or a weight.
func measured(x float64) bool { return x >= 0 && x <= largest }
