package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/sonic-vs/suite"
)

// asleep is the case in which the leader is stopped, not killed, and wakes when another one leads.
const asleep = "asleep"

// wiped is the case in which a manager that follows loses its disk.
const wiped = "follower/wiped"

// leaderSteps are the steps of a move at which the leader is killed: while data goes over, between ready and the
// cut-over, and after the source has committed.
var leaderSteps = []journal.Step{journal.Step(orders.StepTransfer), journal.Step(orders.StepCutover), journal.Committed}

// failover has managers on all switches, and takes the one that leads away in the middle of moves: another one leads and
// finishes them, and nobody obeys the old one. In the end one that follows loses its disk.
func failover(ctx context.Context, s *stage) (err error) {
	owner, err := s.quiet(ctx)
	if err != nil {
		return err
	}
	var cases []kill
	for _, step := range leaderSteps {
		if name := "leader/" + string(step); s.wants(name, step == journal.Step(orders.StepCutover)) {
			cases = append(cases, kill{Case: name, Victim: suite.Manager, Step: step, Faults: []string{}})
		}
	}
	if name := "leader/" + asleep; s.wants(name, true) {
		cases = append(cases, kill{Case: name, Victim: suite.Manager, Step: journal.Step(orders.StepTransfer), Faults: []string{}})
	}
	if len(cases) == 0 && !s.wants(wiped, false) {
		return fmt.Errorf("no case is called %s", strings.Join(s.Cases, " or "))
	}
	defer func() { err = errors.Join(err, s.oneManager(context.WithoutCancel(ctx))) }()
	for _, n := range s.nodes {
		if n != s.leader() {
			if err := s.suite.AddManager(ctx, n.Node); err != nil {
				return err
			}
		}
	}
	if _, err := s.allManagers(ctx); err != nil {
		return err
	}
	status, err := s.suite.Nsctl(ctx, "manager", "status")
	if err != nil {
		return err
	}
	s.say("%s", strings.TrimSpace(status))
	if len(cases) > 0 {
		if err := s.treeMoves(ctx, owner, cases, s.loseLeader); err != nil {
			return err
		}
		s.table(cases)
	}
	if s.wants(wiped, false) {
		return s.loseDisk(ctx)
	}
	return nil
}

// loseDisk takes the journal of a manager that follows: it has no vote then, says so, and has its place again once it is
// joined.
func (s *stage) loseDisk(ctx context.Context) error {
	was, err := s.allManagers(ctx)
	if err != nil {
		return err
	}
	follower := s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.Name != was.Leader })]
	pid, err := s.suite.ContainerPID(ctx, follower.Node, suite.Manager)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	if err := os.RemoveAll(follower.managerFile("journal")); err != nil { // before it is started again
		return err
	}
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		now, err := s.suite.Managers(limit)
		if i := slices.IndexFunc(now.Managers, func(m suite.ManagerView) bool { return m.Node == follower.Name }); i >= 0 && now.Managers[i].Lost {
			break
		}
		if pause(limit) != nil {
			return fmt.Errorf("after %v nsctl manager status does not say that %s has lost its journal: %+v (%v)", settleTime, follower.Name, now.Managers, err)
		}
	}
	if _, err := s.suite.Nsctl(ctx, "manager", "join", follower.Name); err != nil {
		return err
	}
	now, err := s.allManagers(ctx)
	if err != nil {
		return err
	}
	if now.Leader != was.Leader || now.Epoch != was.Epoch {
		s.fault("%s led in epoch %d, and now %s in epoch %d", was.Leader, was.Epoch, now.Leader, now.Epoch)
	}
	s.say("%-24s %s has lost its journal, was joined again, and votes", wiped, follower.Name)
	return nil
}

// loseLeader has the tree move the service away from owner, takes the manager that leads away at a step, and waits until
// another one has finished the move and the lost one follows it. It returns who has the service then.
func (s *stage) loseLeader(ctx context.Context, owner string, k *kill) (string, error) {
	target := other(owner)
	if _, err := s.suite.Nsctl(ctx, "drain", target, "--end"); err != nil {
		return "", err
	}
	was, err := s.allManagers(ctx)
	if err != nil {
		return "", err
	}
	k.Node = was.Leader
	// What a follower has written and the leader has is stored for good; what the leader alone has written is not.
	follower := s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.Name != was.Leader })]
	before := map[string]int{}
	for _, n := range s.nodes {
		records, err := n.managerRecords(0)
		if err != nil {
			return "", err
		}
		before[n.Name] = len(records)
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
	if err := w.add(follower.managerFile("journal/log")); err != nil {
		return "", err
	}
	if k.PID, err = s.suite.ContainerPID(ctx, s.node(was.Leader).Node, suite.Manager); err != nil {
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
		k.Op, err = follower.awaitStep(limit, w, before[follower.Name], orders.Step(k.Step))
	}
	if err != nil {
		return "", fmt.Errorf("%s is drained, but the tree does not come to %s: %w", owner, k.Step, err)
	}
	signal := syscall.SIGKILL
	if strings.HasSuffix(k.Case, asleep) {
		signal = syscall.SIGSTOP
		defer syscall.Kill(k.PID, syscall.SIGCONT) // whatever comes
	}
	if err := syscall.Kill(k.PID, signal); err != nil {
		return "", fmt.Errorf("%s to %s: %w", signal, k.Victim, err)
	}
	k.KilledAt = time.Now().UTC()
	now, err := s.finished(limit, target, k)
	if err != nil {
		return "", err
	}
	s.say("%-24s %s led in epoch %d, %s leads in epoch %d and has finished %s", k.Case, was.Leader, was.Epoch, now.Leader, now.Epoch, k.Op)
	if now.Epoch <= was.Epoch {
		k.Faults = append(k.Faults, fmt.Sprintf("the epoch was %d and is %d", was.Epoch, now.Epoch))
	}
	if signal == syscall.SIGSTOP {
		if err := s.wake(ctx, k, was, owner); err != nil {
			return "", err
		}
	}
	if now, err = s.allManagers(ctx); err != nil {
		return "", err
	}
	if now.Leader == was.Leader {
		k.Faults = append(k.Faults, was.Leader+" leads again, although another one led and was well")
	}
	records, err := s.node(now.Leader).managerRecords(before[now.Leader])
	if err != nil {
		return "", err
	}
	if starts(records) == 0 {
		k.Faults = append(k.Faults, "nobody began to lead since")
	}
	return k.Owner, s.oneMove(k, records, moves)
}

// finished returns when the replica runs on target, nothing is unsettled, and another manager leads than the lost one.
func (s *stage) finished(ctx context.Context, target string, k *kill) (now suite.Managers, err error) {
	for {
		k.Owner, k.Faults = s.unsettled(ctx)
		if len(k.Faults) == 0 && k.Owner == target {
			if now, err = s.suite.Managers(ctx); err == nil && now.Leader != "" && now.Leader != k.Node {
				k.SettledMS = time.Since(k.KilledAt).Milliseconds()
				return now, nil
			}
		}
		if pause(ctx) != nil {
			return now, fmt.Errorf("after %v it runs on %q, want %s, and %q leads: %v, %s", settleTime, k.Owner, target, now.Leader, err, strings.Join(k.Faults, "; "))
		}
	}
}

// wake lets the former leader go on, and gives an order in its name and epoch as well: what it had not sent yet when it
// fell asleep.
func (s *stage) wake(ctx context.Context, k *kill, was suite.Managers, source string) error {
	if err := syscall.Kill(k.PID, syscall.SIGCONT); err != nil {
		return err
	}
	woken := time.Now()
	if _, err := s.allManagers(ctx); err != nil {
		return fmt.Errorf("%s is awake: %w", was.Leader, err)
	}
	manager, err := s.issue(was.Leader, pki.Manager)
	if err != nil {
		return err
	}
	target := s.node(other(source))
	order := &api.Order{Op: k.Op, Epoch: was.Epoch, Cluster: was.Cluster, What: &api.Order_Cutover{Cutover: &api.MoveOrder{
		Service: service, Mode: api.Mode_LIVE, To: target.Name, ToAgent: addressOf(target, pki.Node)}}}
	for _, name := range homes {
		answer := manager.order(ctx, s.node(name), order)
		s.say("%-24s the cut-over by %s in epoch %d, to %s: %s", k.Case, was.Leader, was.Epoch, name, answer)
		if want := fmt.Sprintf("^FailedPrecondition: epoch: %d is stale, the newest manager has epoch ", was.Epoch); !regexp.MustCompile(want).MatchString(answer) {
			k.Faults = append(k.Faults, fmt.Sprintf("%s answers an order of the former leader with %q, want %s", name, answer, want))
		}
	}
	for _, n := range s.nodes {
		for _, program := range []string{suite.Manager, suite.Agent} {
			since := woken.Add(-100 * time.Millisecond).UTC().Format(time.RFC3339Nano)
			log, err := s.suite.Bed.Exec(ctx, n.Name, "docker", "logs", "--since", since, program).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: log of %s: %w", n.Name, program, err)
			}
			for l := range strings.Lines(string(log)) {
				if strings.Contains(l, "is stale") || n.Name == was.Leader && strings.Contains(l, "lead") {
					s.say("  %s: %s: %s", n.Name, program, strings.TrimSpace(l))
				}
			}
		}
	}
	return nil
}

// allManagers returns when every switch has a manager that votes, answers and has what the leader has.
func (s *stage) allManagers(ctx context.Context) (suite.Managers, error) {
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		now, err := s.suite.Managers(limit)
		well := 0
		for _, m := range now.Managers {
			if m.Voter && m.Problem == "" && m.Lag == 0 {
				well++
			}
		}
		if err == nil && now.Leader != "" && well == len(s.nodes) {
			return now, nil
		}
		if pause(limit) != nil {
			return now, fmt.Errorf("after %v %d of %d managers vote, answer and keep up: %+v (%v)", settleTime, well, len(s.nodes), now.Managers, err)
		}
	}
}

// oneManager takes all managers out but that of the topology, as the other scenarios know it.
func (s *stage) oneManager(ctx context.Context) error {
	now, err := s.suite.Managers(ctx)
	if err != nil {
		return err
	}
	home := s.leader().Name
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for now.Leader != home {
		if _, err = s.suite.Nsctl(limit, "manager", "transfer", home); err == nil {
			now, err = s.suite.Managers(limit)
		}
		if pause(limit) != nil {
			return fmt.Errorf("%s does not lead again: %w", home, err)
		}
	}
	for _, m := range now.Managers {
		if m.Node == home {
			continue
		}
		if err := s.suite.RemoveManager(ctx, s.node(m.Node).Node); err != nil {
			return err
		}
	}
	return nil
}
