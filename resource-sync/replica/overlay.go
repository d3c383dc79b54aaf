package replica

import (
	"math"
	"slices"
)

// fullMesh is the largest AS in which every pair of nodes has a link.
const fullMesh = 8

// overlay says with which of the members a node has links. Small networks are a full mesh. Larger ones are a circulant
// graph: with the members in a circle, each is linked to those 1 and about sqrt(n) places away on both sides. That is
// four links per node and at most about sqrt(n) hops, and it takes four dead nodes to cut anybody off.
//
// Nodes may disagree about the members for a moment; a link stands as soon as one end wants it.
func overlay(self string, members []string) []string {
	all := slices.Clone(members)
	slices.Sort(all)
	all = slices.Compact(all)
	n := len(all)
	at, ok := slices.BinarySearch(all, self)
	if !ok {
		return nil
	}
	var peers []string
	if n <= fullMesh {
		peers = slices.Delete(all, at, at+1)
	} else {
		far := int(math.Round(math.Sqrt(float64(n))))
		for _, step := range []int{1, far, n - far, n - 1} {
			peers = append(peers, all[(at+step)%n])
		}
	}
	slices.Sort(peers)
	return slices.Compact(peers)
}
