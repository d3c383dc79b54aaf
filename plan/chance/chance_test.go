package chance

import (
	"math"
	"slices"
	"testing"
)

// The digits are promised: experiments of years must repeat.
func TestDigitsStay(t *testing.T) {
	r := New(1)
	got := []uint64{r.Uint64(), r.Uint64()}
	if want := []uint64{0x910a2dec89025cc1, 0xbeeb8da1658eec67}; !slices.Equal(got, want) {
		t.Errorf("seed 1: %#x, want %#x (SplitMix64)", got, want)
	}
}

func TestStreamsDiffer(t *testing.T) {
	a, b, again := New(7, "load"), New(7, "net"), New(7, "load")
	x, y, z := a.Uint64(), b.Uint64(), again.Uint64()
	if x == y || x != z {
		t.Errorf("load %x, net %x, load again %x", x, y, z)
	}
}

func TestMoments(t *testing.T) {
	r := New(3)
	var exp, normal, square, uniform float64
	const n = 200_000
	for range n {
		exp += r.Exp(5) / n
		x := r.Normal()
		normal += x / n
		square += x * x / n
		uniform += r.Uniform(2, 4) / n
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"exp", exp, 5}, {"normal", normal, 0}, {"variance", square, 1}, {"uniform", uniform, 3}} {
		if math.Abs(c.got-c.want) > 0.05 {
			t.Errorf("%s: mean %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestPermIsFair(t *testing.T) {
	r := New(9)
	var first [4]int
	for range 40_000 {
		p := r.Perm(4)
		first[p[0]]++
		slices.Sort(p)
		if !slices.Equal(p, []int{0, 1, 2, 3}) {
			t.Fatalf("no permutation: %v", p)
		}
	}
	for i, n := range first {
		if math.Abs(float64(n)-10_000) > 500 {
			t.Errorf("%d is first %d times of 40,000", i, n)
		}
	}
}
