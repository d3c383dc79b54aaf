package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/sonic-vs/suite"
)

// The steps of a move that a tree orders, at each of which bt-manager is killed: the first four are in its own journal,
// the last is in the source's.
var managerSteps = []journal.Step{
	journal.Step(orders.StepTransfer), journal.Step(orders.StepTransferred), journal.Step(orders.StepReady), journal.Step(orders.StepCutover), journal.Committed,
}

// managerKill drains the node of the service, so that the tree moves it, and kills bt-manager in each phase of a move.
func managerKill(ctx context.Context, s *stage) error {
	owner, err := s.quiet(ctx)
	if err != nil {
		return err
	}
	var cases []kill
	for _, step := range managerSteps {
		if name := suite.Manager + "/" + string(step); s.wants(name, step == journal.Step(orders.StepCutover)) {
			cases = append(cases, kill{Case: name, Victim: suite.Manager, Node: s.leader().Name, Step: step, Faults: []string{}})
		}
	}
	if len(cases) == 0 {
		return fmt.Errorf("no case is called %s", strings.Join(s.Cases, " or "))
	}
	if err := s.treeMoves(ctx, owner, cases, s.killManager); err != nil {
		return err
	}
	s.table(cases)
	return nil
}

// killManager has the tree move the service away from owner, kills bt-manager at a step, and waits until all is
// settled. It returns who has the service then.
func (s *stage) killManager(ctx context.Context, owner string, k *kill) (string, error) {
	target := other(owner)
	if _, err := s.suite.Nsctl(ctx, "drain", target, "--end"); err != nil {
		return "", err
	}
	before, err := s.managerRecords(0)
	if err != nil {
		return "", err
	}
	moves, err := s.allMoves()
	if err != nil {
		return "", err
	}
	w, err := watchJournal(s.node(owner).agentPath("journal"), journal.Source)
	if err != nil {
		return "", err
	}
	defer w.close()
	if err := w.add(s.leader().managerFile("journal/log")); err != nil {
		return "", err
	}
	if k.PID, err = s.suite.ContainerPID(ctx, s.leader().Node, suite.Manager); err != nil {
		return "", err
	}
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := s.drain(ctx, owner); err != nil {
		return "", err
	}
	if k.Step == journal.Committed {
		k.Op, err = w.await(limit, k.Step)
	} else {
		k.Op, err = s.leader().awaitStep(limit, w, len(before), orders.Step(k.Step))
	}
	if err != nil {
		return "", fmt.Errorf("%s is drained, but the tree does not come to %s: %w", owner, k.Step, err)
	}
	if err := syscall.Kill(k.PID, syscall.SIGKILL); err != nil {
		return "", fmt.Errorf("kill %s: %w", k.Victim, err)
	}
	k.KilledAt = time.Now().UTC()
	for {
		if k.Owner, k.Faults = s.unsettled(ctx); len(k.Faults) == 0 && k.Owner == target {
			break
		}
		if limit.Err() != nil {
			k.Faults = append(k.Faults, fmt.Sprintf("after %v it runs on %q, want %s", settleTime, k.Owner, target))
			break
		}
		if err := pause(ctx); err != nil {
			return "", err
		}
	}
	k.SettledMS = time.Since(k.KilledAt).Milliseconds()
	records, err := s.managerRecords(len(before))
	if err != nil {
		return "", err
	}
	if n := starts(records); n != 1 {
		k.Faults = append(k.Faults, fmt.Sprintf("%s was started %d times since, want once", suite.Manager, n))
	}
	return k.Owner, s.oneMove(k, records, moves)
}

// starts counts how often a manager began to lead.
func starts(records []orders.Record) (n int) {
	for _, r := range records {
		if r.Kind == orders.Started {
			n++
		}
	}
	return n
}

// oneMove wants that one move, ordered by a tree, is all that came about since: in the records of the manager and in the
// journals of both agents, which had the moves before.
func (s *stage) oneMove(k *kill, records []orders.Record, before map[string][]string) error {
	fault := func(format string, args ...any) { k.Faults = append(k.Faults, fmt.Sprintf(format, args...)) }
	ops, outcomes := begun(records, replica, orders.Move)
	if len(ops) != 1 || ops[0].ID != k.Op || outcomes[0] != orders.Committed {
		fault("the manager's journal has the moves %v, ended %q; want %s alone, committed", ops, outcomes, k.Op)
	}
	if !strings.HasPrefix(k.Op, "tree-") {
		fault("the tree did not order %s", k.Op)
	}
	if len(outcomes) > 0 {
		k.Outcome = string(outcomes[0])
	}
	for _, n := range s.nodes {
		now, err := n.moves()
		if err != nil {
			return err
		}
		now = slices.DeleteFunc(now, func(op string) bool { return slices.Contains(before[n.Name], op) })
		var want []string
		if n != s.leader() {
			want = []string{k.Op}
		}
		if !slices.Equal(now, want) {
			fault("%s: the agent's journal has the moves %q, want %q", n.Name, now, want)
		}
	}
	if k.Owner == "" {
		return nil
	}
	if err := s.serials(k.Owner); err != nil {
		fault("%v", err)
	}
	return nil
}

// allMoves lists the operations in which each node was source or target.
func (s *stage) allMoves() (all map[string][]string, err error) {
	all = map[string][]string{}
	for _, n := range s.nodes {
		if all[n.Name], err = n.moves(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (n *node) moves() (ops []string, err error) {
	j, err := journal.Open(n.agentPath("journal"), "scenario")
	if err != nil {
		return nil, err
	}
	list, err := j.List()
	for _, e := range list {
		if e.Role != journal.Local {
			ops = append(ops, e.Op)
		}
	}
	return ops, err
}

// drain orders it; a manager that was killed a moment ago may not serve yet.
func (s *stage) drain(ctx context.Context, name string) error {
	began := time.Now()
	for {
		_, err := s.suite.Nsctl(ctx, "drain", name)
		if code, _ := exitCode(err); code == 0 || time.Since(began) > awayTime {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// undrain lets services come to every node again.
func (s *stage) undrain(ctx context.Context) error {
	var all error
	for _, n := range s.nodes {
		_, err := s.suite.Nsctl(ctx, "drain", n.Name, "--end")
		all = errors.Join(all, err)
	}
	return all
}
