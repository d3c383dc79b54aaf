// Package scn carries requests for atomic capabilities: a carrying network for each category of requests, built when the
// first of them comes and used by all that follow, and in it the shortest path that does the capabilities in order
// (the carrying-network paper).
//
// It reads a plan.View and requests, writes paths and decisions, and is told by the scheduler: no I/O, no clock.
package scn

import (
	"fmt"
	"math"
	"slices"

	"sonic-netservices/plan"
)

// Mode is what happens when a path that fits layer by layer does not fit as a whole.
type Mode string

const (
	Paper  Mode = "paper"  // the request is rejected
	Replan Mode = "replan" // the path is planned again around what it overused
)

// Params of building and planning.
type Params struct {
	Hops  int     // most hops of the network below between two hosts that are joined
	Theta float64 // part of a node's computing that one carrying network gets, 0..1
	Phi   float64 // part of a path's bandwidth, 0..1

	Mode    Mode
	Replans int     // mode replan: plans after the first
	Penalty float64 // and what an overused element weighs more from plan to plan, in hops

	// Congestion makes used elements dearer: a link of use u weighs hops (1 + Congestion u^2). Small: only among equally
	// long paths the emptiest is taken; large: detours, which take more bandwidth in all.
	Congestion float64

	// Reserve takes the bandwidth of carrying networks from the links below when they are built, so that nothing is sold
	// twice. Without it every network offers phi of each link, however many there are.
	Reserve bool
}

// Defaults are the product's. With Reserve four hops cost about what the paper's three cost without (decisions/0061).
func Defaults() Params {
	return Params{Hops: 4, Theta: 0.1, Phi: 0.1, Mode: Replan, Replans: 8, Penalty: 4, Congestion: 0.05, Reserve: true}
}

// PaperDefaults are the paper's method.
func PaperDefaults() Params {
	return Params{Hops: 3, Theta: 0.1, Phi: 0.1, Mode: Paper}
}

// Check names the first field whose value cannot be meant.
func (p Params) Check() error {
	switch {
	case p.Hops < 1:
		return fmt.Errorf("hops: %d: want 1 or more", p.Hops)
	case !(p.Theta > 0 && p.Theta <= 1):
		return fmt.Errorf("theta: %v is not in (0, 1]", p.Theta)
	case !(p.Phi > 0 && p.Phi <= 1):
		return fmt.Errorf("phi: %v is not in (0, 1]", p.Phi)
	case p.Mode != Paper && p.Mode != Replan:
		return fmt.Errorf("mode %q: want paper or replan", p.Mode)
	case p.Replans < 0 || !plan.Amount(p.Penalty) || !plan.Amount(p.Congestion):
		return fmt.Errorf("replans %d, penalty %v or congestion %v is negative or no number", p.Replans, p.Penalty, p.Congestion)
	}
	return nil
}

// Carrier is all carrying networks over one view: what the paper's management server keeps. It is changed by Network,
// Take and Release, and serves one caller at a time.
type Carrier struct {
	View   *plan.View
	Params Params

	categories [][]string
	networks   map[string]*Network
	left       []float64 // of each link of the view, to reserve
}

// NewCarrier has no network yet. Categories are the classes of business, each with the capabilities its requests may ask
// for; a request that none of them covers is a category of its own.
func NewCarrier(view *plan.View, categories [][]string, p Params) (*Carrier, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("scn: %w", err)
	}
	c := &Carrier{View: view, Params: p, networks: map[string]*Network{}, left: make([]float64, len(view.Links))}
	for _, category := range categories {
		c.categories = append(c.categories, Category(category))
	}
	for i, l := range view.Links {
		c.left[i] = l.Free()
	}
	return c, nil
}

// Category that a request belongs to (step 1 of the paper): the smallest that covers what it asks for, by name among
// equals.
func (c *Carrier) Category(r Request) []string {
	asked := r.Capabilities()
	var best []string
	for _, category := range c.categories {
		covers := !slices.ContainsFunc(asked, func(a string) bool { return !slices.Contains(category, a) })
		if covers && (best == nil || len(category) < len(best) || len(category) == len(best) && Key(category) < Key(best)) {
			best = category
		}
	}
	if best != nil {
		return best
	}
	return asked
}

// Network is the carrying network of a category (step 2 of the paper): the one that exists, or a new one.
func (c *Carrier) Network(category []string) (n *Network, built bool) {
	key := Key(category)
	if n := c.networks[key]; n != nil {
		return n, false
	}
	var left []float64
	if c.Params.Reserve {
		left = c.left
	}
	n = build(c.View, category, c.Params, left)
	c.networks[key] = n
	return n, true
}

// Networks are those that exist, by category.
func (c *Carrier) Networks() []*Network {
	var keys []string
	for key := range c.networks {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var all []*Network
	for _, key := range keys {
		all = append(all, c.networks[key])
	}
	return all
}

// Sold is the part of the most sold link of the view that carrying networks offer: above 1 they promise what is not there.
func (c *Carrier) Sold() float64 {
	sold, worst := make([]float64, len(c.View.Links)), 0.0
	for _, n := range c.networks {
		for _, l := range n.Links {
			for _, below := range l.Path {
				sold[below] += l.Bandwidth
			}
		}
	}
	for i, l := range c.View.Links {
		if sold[i] > 0 {
			worst = max(worst, sold[i]/math.Max(l.Bandwidth, math.SmallestNonzeroFloat64))
		}
	}
	return worst
}
