package load

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// Times of a watched load.
const (
	settling = time.Second      // after the step of the load: queues build up
	lastPart = 30 * time.Second // the latency after the move is that of the end of the load
)

// Automatic is what the records of a watched load say about the move that nobody ordered.
type Automatic struct {
	Automatic bool     `json:"automatic"`
	Missing   []string `json:"not_automatic,omitempty"` // what it is not proved by

	Orders      int     `json:"orders"`       // operations of the replica in the agents' journals since the load began
	OrdersAfter int     `json:"orders_after"` // of these begun after the first was done
	WatchedS    float64 `json:"watched_after_s"`
	Op          string  `json:"op"`
	Path        string  `json:"tree_path"` // the leaf that ordered it
	From        string  `json:"from"`
	To          string  `json:"to"`

	// Seconds since the load began. Overload begins with the step of the load.
	StepS           float64  `json:"load_step_s"`
	ConfirmedS      *float64 `json:"confirmed_s"`
	BeginS          float64  `json:"move_begin_s"` // first record in a journal
	DoneS           float64  `json:"move_done_s"`  // last record in both journals
	OverloadToDoneS float64  `json:"overload_to_done_s"`

	Phases  Phases           `json:"phases"`
	Compute map[string]Share `json:"compute"` // of source and target, and of what else ran on the machine

	Calibration *Calibration `json:"calibration"`
	WouldUse    WouldUse     `json:"would_use"`
}

// WouldUse is the part of their budgets that the calibrated cost is; null: not calibrated, or no budget.
type WouldUse struct {
	Source *float64 `json:"source"`
	Target *float64 `json:"target"`
}

// Phases of the load: before its step, from a second after it to the move, the last 30 s.
type Phases struct {
	Before     Level `json:"before"`
	Overloaded Level `json:"overloaded"`
	After      Level `json:"after"`
}

func (p Phases) typical() (before, overloaded, after *ms) {
	return p.Before.Typical, p.Overloaded.Typical, p.After.Typical
}

// Level is the latency in a phase.
type Level struct {
	Latency
	Mean *ms `json:"mean"`

	// Typical is the median over the seconds of the phase of the mean latency in each, a point of the paper's curve: one
	// second in which the machine was busy with something else does not decide.
	Typical *ms `json:"typical"`

	within span
}

// Share is the part of its budget that a node's services used; null: no samples, or no budget.
type Share struct {
	Node       string   `json:"node"`
	Budget     float64  `json:"budget"` // cores
	Before     *float64 `json:"before"`
	Overloaded *float64 `json:"overloaded"`
	After      *float64 `json:"after"`
}

// order is one operation of the replica as the journals of both agents tell it.
type order struct {
	op, from, to string
	begin, end   time.Time
	committed    bool
}

// judgeAutomatic finds the moves of the watched replica, adds them to the events, and reports the first.
func (a *analysis) judgeAutomatic() *Automatic {
	if len(a.Events) > 0 {
		a.problem("%s: a watched load has moves that somebody ordered", eventFile)
	}
	orders := a.orders()
	for _, o := range orders {
		if o.committed {
			a.Events = append(a.Events, Event{Kind: a.Watch.Mode, Move: len(a.Events) + 1, From: o.from, To: o.to, Begin: o.begin, End: o.end})
		}
	}
	r := &Automatic{Orders: len(orders), Compute: map[string]Share{}, Calibration: a.Calibration}
	if len(orders) != 1 {
		r.Missing = append(r.Missing, fmt.Sprintf("%d operations in the agents' journals, want 1", len(orders)))
	}
	steps := a.About.Steps
	if len(steps) != 2 {
		a.problem("%s: a watched load has %d steps, want 2", aboutFile, len(steps))
		return r
	}
	if len(orders) == 0 {
		return r
	}
	first := orders[0]
	r.Op, r.From, r.To = first.op, first.from, first.to
	for _, o := range orders[1:] {
		if o.begin.After(first.end) {
			r.OrdersAfter++
		}
	}
	r.Missing = append(r.Missing, a.missing(r, first)...)
	r.Automatic = len(r.Missing) == 0

	since := func(t time.Time) time.Duration { return t.Sub(a.About.Start) }
	step, begin, done := steps[1].From, since(first.begin), since(first.end)
	end := time.Duration(0)
	for _, x := range a.Records {
		end = max(end, x.Due+1)
	}
	r.StepS, r.BeginS, r.DoneS = seconds(step), seconds(begin), seconds(done)
	r.OverloadToDoneS, r.WatchedS = seconds(done-step), seconds(end-done)
	if end-lastPart < done {
		a.problem("the load ends %.0f s after the move, want %v at least", (end - done).Seconds(), lastPart)
	}
	before, overloaded, after := span{0, step}, span{step + settling, begin}, span{max(done, end-lastPart), end}
	r.Phases = Phases{a.level(before), a.level(overloaded), a.level(after)}
	for role, node := range map[string]string{"source": first.from, "target": first.to, "others": Others} {
		r.Compute[role] = Share{node, a.budget(node, begin), a.share(node, before), a.share(node, overloaded), a.share(node, after)}
	}
	r.WouldUse = WouldUse{a.wouldUse(r.Compute["source"]), a.wouldUse(r.Compute["target"])}
	return r
}

// wouldUse is the calibrated cost as a share of a node's budget.
func (a *analysis) wouldUse(s Share) *float64 {
	if a.Calibration == nil || s.Budget == 0 {
		return nil
	}
	return new(rounded(a.Calibration.Cores / s.Budget))
}

// orders of the replica since the load began, oldest first.
func (a *analysis) orders() []order {
	byOp := map[string]*order{}
	for _, j := range a.Journals {
		facts := journal.FactsOf(j.Records)
		if facts == nil || (netmap.ReplicaID{Service: facts.Service, Replica: facts.Replica}).String() != a.Watch.Replica {
			continue
		}
		first, last := j.Records[0], j.Records[len(j.Records)-1]
		if last.At.Before(a.About.Start) {
			continue
		}
		o := byOp[first.Op]
		if o == nil {
			o = &order{op: first.Op, begin: first.At, end: last.At}
			byOp[first.Op] = o
		}
		if first.At.Before(o.begin) {
			o.begin = first.At
		}
		if last.At.After(o.end) {
			o.end = last.At
		}
		switch first.Role {
		case journal.Source:
			o.from, o.to = j.Node, facts.Peer
			o.committed = journal.Settled(j.Records) == journal.Committed
		case journal.Target:
			o.to = j.Node
		}
	}
	orders := make([]order, 0, len(byOp))
	for _, op := range slices.Sorted(maps.Keys(byOp)) {
		orders = append(orders, *byOp[op])
	}
	slices.SortStableFunc(orders, func(x, y order) int { return x.begin.Compare(y.begin) })
	return orders
}

// missing lists what keeps the move from being proved automatic, and notes what the audit says of it.
func (a *analysis) missing(r *Automatic, o order) (why []string) {
	if want := "tree-" + a.Watch.Replica + "-e"; !strings.HasPrefix(o.op, want) {
		why = append(why, fmt.Sprintf("operation %s was not issued by the tree: its id does not begin with %s", o.op, want))
	}
	if !o.committed {
		why = append(why, "operation "+o.op+" was not committed")
	}
	if o.from != a.Watch.Node {
		why = append(why, fmt.Sprintf("the move began on %q, not on %s", o.from, a.Watch.Node))
	}
	named := false
	for _, e := range a.Audit {
		if e.Replica != a.Watch.Replica || e.At.Before(a.About.Start) || e.At.After(o.end) {
			continue
		}
		if e.What == "confirmed" && !e.At.After(o.begin) {
			r.ConfirmedS = new(seconds(e.At.Sub(a.About.Start)))
		}
		if e.Op == o.op {
			named = true
			r.Path = cmp.Or(r.Path, e.Path)
		}
	}
	if r.ConfirmedS == nil {
		why = append(why, "the audit has no confirmed overload before the move")
	}
	if !named {
		why = append(why, "the audit does not name operation "+o.op)
	} else if r.Path == "" {
		why = append(why, "the audit names no leaf of the tree for operation "+o.op)
	}
	return why
}

// seconds as the report writes them: milliseconds are what two clocks and a log agree on.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

func (a *analysis) level(s span) Level {
	all := a.latencies(s)
	l := Level{Latency: latency(all), Mean: mean(all), within: s}
	var seconds []time.Duration
	for from := s.from; from < s.to; from += time.Second {
		if m := mean(a.latencies(span{from, min(from+time.Second, s.to)})); m != nil {
			seconds = append(seconds, time.Duration(*m))
		}
	}
	l.Typical = latency(seconds).Median
	return l
}

func mean(all []time.Duration) *ms {
	if len(all) == 0 {
		return nil
	}
	var sum time.Duration
	for _, x := range all {
		sum += x
	}
	return new(ms(sum / time.Duration(len(all))))
}

// budget of a node at a moment.
func (a *analysis) budget(node string, at time.Duration) (cores float64) {
	for _, u := range a.Usage {
		if u.Node == node && u.At.Sub(a.About.Start) <= at {
			cores = u.Budget
		}
	}
	return cores
}

// share of its budget that a node used within a span, from the first to the last sample inside.
func (a *analysis) share(node string, s span) *float64 {
	var inside []Usage
	for _, u := range a.Usage {
		if at := u.At.Sub(a.About.Start); u.Node == node && s.from <= at && at < s.to {
			inside = append(inside, u)
		}
	}
	if len(inside) < 2 || inside[0].Budget == 0 {
		return nil
	}
	first, last := inside[0], inside[len(inside)-1]
	used := float64(last.CPU-first.CPU) / float64(last.At.Sub(first.At))
	return new(math.Round(1000*used/first.Budget) / 1000)
}
