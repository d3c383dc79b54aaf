package topology

import (
	"fmt"
	"math"

	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/graph"
)

// Stub says how large a transit-stub network is: transit nodes in the middle, and at each some stubs, small networks of
// their own that only reach others through it (Zegura, Calvert and Bhattacharjee, the model of GT-ITM).
type Stub struct {
	Transit int     // nodes in the middle
	Stubs   int     // at each transit node
	Size    int     // nodes of a stub
	Dense   float64 // chance of each further link inside a part, beside the tree that holds it together
}

// TransitStub draws a transit-stub network. Every part is a random tree with further links; so it hangs together at once.
func TransitStub(r *chance.Rand, s Stub) (Topology, error) {
	if s.Transit < 1 || s.Stubs < 0 || s.Stubs > 0 && s.Size < 1 || !(s.Dense >= 0 && s.Dense <= 1) {
		return Topology{}, fmt.Errorf("transit-stub: %+v: want a transit node at least, sizes of 1 or more, and a chance from 0 to 1", s)
	}
	n := s.Transit * (1 + s.Stubs*s.Size)
	t := Topology{Name: fmt.Sprintf("transit-stub-%d", n), Names: names("n", n), X: make([]float64, n), Y: make([]float64, n)}
	place := func(i, of int, x, y, radius float64) {
		for k := range of {
			angle := 2 * math.Pi * (float64(k) + r.Float64()/2) / float64(of)
			t.X[i+k], t.Y[i+k] = x+radius*math.Cos(angle), y+radius*math.Sin(angle)
		}
	}
	part := func(first, size int) {
		for i := 1; i < size; i++ {
			parent := r.IntN(i)
			for j := range i {
				if j == parent || r.Float64() < s.Dense {
					t.Links = append(t.Links, graph.Pair{A: int32(first + j), B: int32(first + i)})
				}
			}
		}
	}
	place(0, s.Transit, 0.5, 0.5, 0.25)
	part(0, s.Transit)
	next := s.Transit
	for transit := range s.Transit {
		for range s.Stubs {
			place(next, s.Size, t.X[transit], t.Y[transit], 0.1)
			part(next, s.Size)
			t.Links = append(t.Links, graph.Pair{A: int32(transit), B: int32(next + r.IntN(s.Size))})
			next += s.Size
		}
	}
	return t, nil
}
