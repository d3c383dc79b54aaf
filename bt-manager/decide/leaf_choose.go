package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
)

// candidates are the nodes a replica fits on, with the question they answer.
type candidates struct {
	problem   balance.Problem
	admission float64
	nodes     []string
}

func (n candidates) String() string { return strings.Join(n.nodes, ", ") }

// scored is a ranking, with why.
type scored struct{ balance.Decision }

func (s scored) String() string {
	var words []string
	for _, n := range s.Candidates {
		words = append(words, fmt.Sprintf("%s %.3f", n.Node, n.Gain))
	}
	return strings.Join(words, ", ")
}

// question is where a replica may go from a node, "" when it is nowhere.
func (l *leaves) question(r *Replica, v view, source string) balance.Problem {
	p := balance.Problem{Replica: r.ID, Demand: r.Demand, Source: source, DataBytes: r.DataBytes, Pin: r.Pin, Avoid: r.Avoid,
		Together: r.Together, Exclude: map[string]string{}, Peaks: l.memory.Peaks()}
	if source == "" {
		return p
	}
	for _, node := range v.Nodes {
		if why := l.moves.Enter(node.Name); why != "" {
			p.Exclude[node.Name] = why
		}
	}
	return p
}

// scoring reads the ports mode, lambda, balance_weight, cost_weight and t_ref_ms, of which the first has that place.
func (l *leaves) scoring(c *bt.Ctx, first int) balance.Params {
	p := l.balance
	p.Mode, p.Lambda, p.BalanceWeight, p.CostWeight = balance.Mode(c.Text(first)), c.Float(first+1), c.Float(first+2), c.Float(first+3)
	p.TRef = time.Duration(c.Int(first+4)) * time.Millisecond
	return p
}

// preselectNodes finds the nodes the replica fits on. That there is none is no failure: the answer has to say why of each.
func (l *leaves) preselectNodes(c *bt.Ctx) bt.Status {
	v, n := bt.ReadAs[view](c, 0), bt.ReadAs[need](c, 1)
	if c.Fault() != nil {
		return bt.Failure
	}
	problem := l.question(n.Replica, v, c.Text(2))
	maps.Copy(problem.Exclude, refusals(c.Text(3)))
	if problem.Source == "" && n.Wanted != "" {
		problem.Pin = []string{n.Wanted}
	}
	found := candidates{problem: problem, admission: c.Float(4)}
	p := l.balance
	p.Admission = found.admission
	d, err := balance.Decide(v.Snapshot, problem, p)
	if err != nil {
		return c.Failf("%v", err)
	}
	for _, s := range slices.Concat(d.Candidates, d.Refused) {
		if len(s.Refused) == 0 {
			found.nodes = append(found.nodes, s.Node)
		}
	}
	slices.Sort(found.nodes)
	c.Say(fmt.Sprintf("%d of %d nodes", len(found.nodes), len(v.Nodes)))
	c.PutAny(5, found)
	return bt.Success
}

// scoreCandidates ranks what was preselected, and explains every other node.
func (l *leaves) scoreCandidates(c *bt.Ctx) bt.Status {
	v, found := bt.ReadAs[view](c, 0), bt.ReadAs[candidates](c, 1)
	if c.Fault() != nil {
		return bt.Failure
	}
	p := l.scoring(c, 2)
	p.Admission = found.admission
	problem := found.problem
	problem.Windows = int(c.Int(7))
	d, err := balance.Decide(v.Snapshot, problem, p)
	if err != nil {
		return c.Failf("%v", err)
	}
	d.Candidates = slices.DeleteFunc(d.Candidates, func(s balance.Score) bool { return !slices.Contains(found.nodes, s.Node) })
	c.PutAny(8, scored{d})
	return bt.Success
}

func (l *leaves) selectOptimalNode(c *bt.Ctx) bt.Status {
	s := bt.ReadAs[scored](c, 1)
	if c.Fault() != nil {
		return bt.Failure
	}
	best, ok := s.Best()
	if !ok {
		l.audit(l.w, c.Text(0), Entry{What: "full", Text: "no node fits " + s.Replica, Path: c.Path(), Detail: s.Decision})
		return c.Failf("no node fits")
	}
	c.PutText(2, best.Node)
	c.PutFloat(3, best.Gain)
	l.audit(l.w, c.Text(0), Entry{What: "chosen", Text: fmt.Sprintf("%s, gain %.3f, of %d candidates", best.Node, best.Gain, len(s.Candidates)),
		Path: c.Path(), Detail: s.Decision})
	return bt.Success
}

// refusals reads the list of nodes that said no.
func refusals(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if node, why, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			all[node] = why
		}
	}
	return all
}

// refuse adds a node to the list a port holds.
func refuse(c *bt.Ctx, port int, node, why string) {
	c.PutText(port, c.Text(port)+node+": refused: "+strings.Join(strings.Fields(why), " ")+"\n")
}

// sayNo is a refusal without the word that says it is one.
func sayNo(err error) string { return strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ") }

// operation fills in what deployments and moves have in common.
func (l *leaves) operation(verb Verb, id netmap.ReplicaID, to, reason string, gain float64) Operation {
	return Operation{ID: l.newOp(id), Verb: verb, Replica: id, To: to, Reason: reason, Gain: gain}
}
