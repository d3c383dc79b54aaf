// Package chance is the chance of planning: numbers that look random and depend on a seed alone.
//
// It reads a seed, writes nothing, and is told by strategies, generators and experiments. The generator is our own
// (SplitMix64), so the same seed gives the same digits whatever the version of Go. Streams with different labels do not
// depend on each other: one more draw in one of them changes nothing in the others.
package chance

import "math"

// Rand is one stream. It is not safe for concurrent use.
type Rand struct{ state uint64 }

// New begins the stream of a seed and its labels.
func New(seed uint64, labels ...string) *Rand {
	r := &Rand{seed}
	for _, label := range labels {
		h := r.Uint64()
		for _, b := range []byte(label) {
			h = (h ^ uint64(b)) * 0x100000001b3
		}
		r.state = h
	}
	return r
}

// Uint64 is any of 64 bits.
func (r *Rand) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Float64 is in [0, 1).
func (r *Rand) Float64() float64 { return float64(r.Uint64()>>11) / (1 << 53) }

// Uniform is in [low, high).
func (r *Rand) Uniform(low, high float64) float64 { return low + (high-low)*r.Float64() }

// Exp is exponential with a mean.
func (r *Rand) Exp(mean float64) float64 { return -mean * math.Log(1-r.Float64()) }

// Normal is normal with mean 0 and deviation 1 (Box and Muller; the second value is not kept).
func (r *Rand) Normal() float64 {
	return math.Sqrt(-2*math.Log(1-r.Float64())) * math.Cos(2*math.Pi*r.Float64())
}

// IntN is in [0, n); n must be positive.
func (r *Rand) IntN(n int) int {
	if n <= 0 {
		panic("chance: IntN of nothing")
	}
	return int(r.Float64() * float64(n))
}

// Shuffle puts n things into a random order.
func (r *Rand) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, r.IntN(i+1))
	}
}

// Perm is 0..n-1 in a random order.
func (r *Rand) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	r.Shuffle(n, func(i, j int) { p[i], p[j] = p[j], p[i] })
	return p
}
