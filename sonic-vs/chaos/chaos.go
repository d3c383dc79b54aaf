// Package chaos says what is broken at which step of a move, and what must hold then.
//
// It is pure: a seed gives a deck of cases, a Move tells what came of one, Violations judges it. Package scenario
// breaks things on virtual switches, reads what came of it from raw records, and writes the moves to out/chaos.jsonl.
package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"sonic-netservices/mig-agent/journal"
)

// Steps of a move at which something is broken: when the record stands in the journal. Reserved is the target's, the
// others are the source's.
var Steps = []journal.Step{journal.Reserved, journal.Prepared, journal.Switched, journal.Frozen, journal.Sent,
	journal.Restored, journal.Committed, journal.Released}

// Fault is one thing that breaks.
type Fault struct {
	Name  string
	About string
	Steps []journal.Step // at which it means something; nil = all

	// Spoils lists the steps at which clients may go without answers, because the only running copy dies with what
	// breaks; nil = none. Around the commit it is not known which copy that is: the commit follows within milliseconds.
	Spoils []journal.Step
	Heavy  bool // a switch has to come up again: tens of seconds
}

// Faults is the matrix, one line a fault.
var Faults = []Fault{
	{Name: "source-agent", About: "kill -9 of the agent that gives away"},
	{Name: "target-agent", About: "kill -9 of the agent that takes"},
	{Name: "source-helper", About: "kill -9 of the source's helper"},
	{Name: "target-helper", About: "kill -9 of the target's helper"},
	{Name: "manager", About: "kill -9 of bt-manager"},
	{Name: "source-criu", About: "kill -9 of CRIU as it dumps", Steps: at(journal.Frozen), Spoils: at(journal.Frozen)},
	{Name: "target-criu", About: "kill -9 of CRIU as it restores", Steps: at(journal.Sent)},
	{Name: "source-dockerd", About: "kill -9 of the source's dockerd, whose next life ends all containers", Spoils: until(journal.Restored), Heavy: true},
	{Name: "target-dockerd", About: "kill -9 of the target's dockerd, whose next life ends all containers", Spoils: from(journal.Restored), Heavy: true},
	{Name: "source-dockerd-live", About: "kill -9 of the source's dockerd with live-restore"},
	{Name: "target-dockerd-live", About: "kill -9 of the target's dockerd with live-restore"},
	{Name: "target-dockerd-agent", About: "the same, and of the agent in the middle of what it does about that",
		Steps: []journal.Step{journal.Restored, journal.Committed}, Spoils: Steps},
	{Name: "link-cut", About: "the link between source and target loses everything for 8 s"},
	{Name: "link-flap", About: "the link between source and target loses everything for 0.2 s, four times"},
	{Name: "target-disk-full", About: "no room for volumes on the target", Steps: until(journal.Prepared)},
	{Name: "target-memory-short", About: "no memory for services on the target", Steps: until(journal.Frozen)},
	{Name: "image-missing", About: "the image is deleted at the target after it was reserved", Steps: at(journal.Reserved)},
	{Name: "source-power", About: "power of the source off, for a few seconds", Spoils: Steps, Heavy: true},
	{Name: "target-power", About: "power of the target off, for a few seconds", Spoils: from(journal.Restored), Heavy: true},
}

func at(s journal.Step) []journal.Step { return []journal.Step{s} }

func until(s journal.Step) []journal.Step { return Steps[:slices.Index(Steps, s)+1] }

func from(s journal.Step) []journal.Step { return Steps[slices.Index(Steps, s):] }

// Case is one fault at one step.
type Case struct {
	Fault Fault
	Step  journal.Step
}

func (c Case) String() string { return c.Fault.Name + "/" + string(c.Step) }

// Spoils says that clients may go without answers.
func (c Case) Spoils() bool { return slices.Contains(c.Fault.Spoils, c.Step) }

// Choice narrows the matrix; the zero value is all of it.
type Choice struct {
	Faults []string
	Steps  []string
	Light  bool // nothing heavy
}

// Cases are the matrix as far as it is chosen.
func Cases(c Choice) (list []Case, err error) {
	for _, name := range c.Faults {
		if !slices.ContainsFunc(Faults, func(f Fault) bool { return f.Name == name }) {
			return nil, fmt.Errorf("no fault %q; faults are %s", name, names())
		}
	}
	for _, step := range c.Steps {
		if !slices.Contains(Steps, journal.Step(step)) {
			return nil, fmt.Errorf("no step %q; steps are %v", step, Steps)
		}
	}
	for _, f := range Faults {
		if len(c.Faults) > 0 && !slices.Contains(c.Faults, f.Name) || c.Light && f.Heavy {
			continue
		}
		steps := f.Steps
		if steps == nil {
			steps = Steps
		}
		for _, step := range steps {
			if len(c.Steps) == 0 || slices.Contains(c.Steps, string(step)) {
				list = append(list, Case{f, step})
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no chosen fault happens at %s", strings.Join(c.Steps, " or "))
	}
	return list, nil
}

func names() string {
	var list []string
	for _, f := range Faults {
		list = append(list, f.Name)
	}
	return strings.Join(list, ", ")
}

// Deck draws so many cases. First comes one of each fault, then the rest of the matrix, then again and again what is
// not heavy, each round in an order of its own. The same seed gives the same deck.
func Deck(cases []Case, moves int, seed uint64) []Case {
	r := rand.New(rand.NewPCG(seed, 0))
	shuffle := func(list []Case) []Case {
		list = slices.Clone(list)
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list
	}
	var first, rest []Case
	seen := map[string]bool{}
	for _, c := range shuffle(cases) {
		if seen[c.Fault.Name] {
			rest = append(rest, c)
		} else {
			seen[c.Fault.Name] = true
			first = append(first, c)
		}
	}
	deck := append(first, rest...)
	light := slices.DeleteFunc(slices.Clone(cases), func(c Case) bool { return c.Fault.Heavy })
	if len(light) == 0 {
		light = cases
	}
	for len(deck) < moves {
		deck = append(deck, shuffle(light)...)
	}
	return deck[:moves]
}
