package topology

import (
	"reflect"
	"strings"
	"testing"

	"sonic-netservices/plan/chance"
)

func TestWaxman(t *testing.T) {
	for seed := range uint64(5) {
		w, err := Waxman(chance.New(seed), 50, 120, 0.08)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := Waxman(chance.New(seed), 50, 120, 0.08)
		if !reflect.DeepEqual(w, again) {
			t.Errorf("seed %d draws two networks", seed)
		}
		if _, parts := w.Graph().Components(); parts != 1 || len(w.Links) != 120 || len(w.Names) != 50 {
			t.Errorf("seed %d: %d nodes, %d links, %d parts", seed, len(w.Names), len(w.Links), parts)
		}
	}
	// A small beta keeps links short, so paths have more hops.
	short, err := Waxman(chance.New(1), 50, 120, 0.08)
	long, err2 := Waxman(chance.New(1), 50, 120, 5)
	if err != nil || err2 != nil || short.Diameter() <= long.Diameter() {
		t.Errorf("diameter %d at beta 0.08, %d at 5", short.Diameter(), long.Diameter())
	}
}

func TestBadNetworksAreRefused(t *testing.T) {
	for _, c := range [][2]int{{1, 0}, {5, 3}, {5, 11}} {
		if _, err := Waxman(chance.New(1), c[0], c[1], 0.1); err == nil {
			t.Errorf("waxman draws %d nodes with %d links", c[0], c[1])
		}
	}
	if _, err := TransitStub(chance.New(1), Stub{Transit: 2, Stubs: 1}); err == nil {
		t.Error("a stub without nodes is drawn")
	}
	for _, links := range []string{"a b\nb a", "a c", "a a"} {
		if _, err := typed("x", "", "a 0 0\nb 0 0", links); err == nil || !strings.Contains(err.Error(), "topology x") {
			t.Errorf("%q: %v", links, err)
		}
	}
}

func TestTransitStubHangsTogether(t *testing.T) {
	for seed := range uint64(20) {
		s, err := TransitStub(chance.New(seed), Stub{Transit: 4, Stubs: 3, Size: 4, Dense: 0.4})
		if err != nil {
			t.Fatal(err)
		}
		if _, parts := s.Graph().Components(); parts != 1 || len(s.Names) != 52 {
			t.Errorf("seed %d: %d nodes in %d parts", seed, len(s.Names), parts)
		}
	}
}

// The sizes are those that were published.
func TestKnownNetworks(t *testing.T) {
	sizes := map[string][2]int{"abilene": {12, 15}, "geant": {22, 36}, "germany50": {50, 88}, "nobel-eu": {28, 41}}
	if len(sizes) != len(known) {
		t.Errorf("%d networks are typed, %d sizes known", len(known), len(sizes))
	}
	for name, want := range sizes {
		n, ok, err := ByName(name, 0)
		if !ok || err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := [2]int{len(n.Names), len(n.Links)}; got != want || n.Source == "" {
			t.Errorf("%s has %d nodes and %d links, want %v", name, len(n.Names), len(n.Links), want)
		}
	}
}
