package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/mig-agent/journal"
)

// Who is killed, and at which record of the source's journal; reserved is the target's, the source writes nothing
// before the cut-over.
var (
	victims = []string{"source-agent", "target-agent", "source-helper", "target-helper"}
	steps   = []journal.Step{journal.Reserved, journal.Prepared, journal.Switched, journal.Frozen, journal.Sent, journal.Restored,
		journal.Committed, journal.Released}
)

const (
	settleTime = 30 * time.Second // of one case; a restart of the agent takes 2 s of it
	awayTime   = 10 * time.Second // for an agent that was killed to join the manager again
)

// agentKill kills each victim at each record, one move after the other, under one load.
func agentKill(ctx context.Context, s *stage) error {
	cases := s.cases()
	if len(cases) == 0 {
		return fmt.Errorf("no case is called %s", strings.Join(s.Cases, " or "))
	}
	owner, err := s.quiet(ctx)
	if err != nil {
		return err
	}
	if _, err := s.underLoad(ctx, owner, cases, s.killOnce); err != nil {
		return err
	}
	s.table(cases)
	return nil
}

// cases are those asked for, step by step: two moves in a row never have the same victim. The sample has each record
// once and each victim twice.
func (s *stage) cases() []kill {
	var all []kill
	for i, step := range steps {
		for j, victim := range victims {
			if name := victim + "/" + string(step); s.wants(name, i%len(victims) == j) {
				all = append(all, kill{Case: name, Victim: victim, Step: step, Faults: []string{}})
			}
		}
	}
	return all
}

// wants says whether a case is to be run; sampled, whether it is one of the sample.
func (s *stage) wants(name string, sampled bool) bool {
	if len(s.Cases) > 0 {
		return slices.Contains(s.Cases, name)
	}
	return !s.Quick || sampled
}

// killOnce orders a move away from owner, kills the victim at its record, and waits until all is settled. It returns
// who has the service then, "" when nobody or several have it.
func (s *stage) killOnce(ctx context.Context, owner string, k *kill) (string, error) {
	target := other(owner)
	side, part, _ := strings.Cut(k.Victim, "-")
	k.Node = owner
	if side == "target" {
		k.Node = target
	}
	victim, pid := s.node(k.Node), s.suite.AgentPID
	if part == "helper" {
		pid = s.suite.HelperPID
	}
	var err error
	if k.PID, err = pid(ctx, victim.Node); err != nil {
		return "", err
	}
	writer, role := s.node(owner), journal.Source
	if k.Step == journal.Reserved {
		writer, role = s.node(target), journal.Target
	}
	w, err := watchJournal(writer.agentPath("journal"), role)
	if err != nil {
		return "", err
	}
	defer w.close()

	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	moved := make(chan error, 1)
	go func() {
		moved <- s.move(ctx, target)
		time.AfterFunc(time.Second, cancel) // a move that ends without the record never writes it
	}()
	k.Op, err = w.await(watching, k.Step)
	if err != nil {
		_, said := exitCode(<-moved)
		return "", fmt.Errorf("the move to %s ended without its record %s: %w: %s", target, k.Step, err, said)
	}
	if err := syscall.Kill(k.PID, syscall.SIGKILL); err != nil {
		return "", fmt.Errorf("kill %s: %w", k.Victim, err)
	}
	k.KilledAt = time.Now().UTC()

	limit, cancelLimit := context.WithTimeout(ctx, settleTime)
	defer cancelLimit()
	var order error
	select {
	case order = <-moved:
	case <-limit.Done():
		k.Faults = append(k.Faults, fmt.Sprintf("nsctl migrate has no answer after %v", settleTime))
	}
	var faults []string
	if k.Owner, faults, err = s.settleWithin(limit, ctx); err != nil {
		return "", err
	}
	k.Faults = append(k.Faults, faults...)
	k.SettledMS = time.Since(k.KilledAt).Milliseconds()
	if err := s.outcome(k, owner, order); err != nil {
		return "", err
	}
	if k.Owner != "" {
		if err := s.serials(k.Owner); err != nil {
			k.Faults = append(k.Faults, err.Error())
		}
	}
	return k.Owner, nil
}

// move orders it through nsctl. An agent that was killed a moment ago may not have joined again: then it is ordered
// again, for nothing was begun.
func (s *stage) move(ctx context.Context, to string) error {
	began := time.Now()
	for {
		_, err := s.suite.Migrate(ctx, replica, to, "live")
		_, said := exitCode(err)
		if !strings.Contains(said, "is away") || time.Since(began) > awayTime {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// settle waits until nothing is unsettled, for settleTime at most. What is left then are faults.
func (s *stage) settle(ctx context.Context) (owner string, faults []string, err error) {
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	return s.settleWithin(limit, ctx)
}

func (s *stage) settleWithin(limit, ctx context.Context) (owner string, faults []string, err error) {
	for {
		owner, faults = s.unsettled(ctx)
		if len(faults) == 0 || limit.Err() != nil {
			return owner, faults, ctx.Err()
		}
		s.waited = faults[0]
		pause(ctx)
	}
}

// outcome reads how the move ended where it is decided, and whether everybody acted and answered accordingly.
func (s *stage) outcome(k *kill, from string, order error) error {
	j, err := journal.Open(s.node(from).agentPath("journal"), "scenario")
	if err != nil {
		return err
	}
	recs, err := j.Load(k.Op, journal.Source)
	if err != nil {
		return err
	}
	k.Outcome = string(journal.Settled(recs))
	if len(recs) == 0 { // it never came to a cut-over
		k.Outcome = string(journal.Aborted)
	}
	code, said := exitCode(order)
	switch k.Outcome {
	case string(journal.Committed):
		if k.Owner == from {
			k.Faults = append(k.Faults, "committed, but it runs on the source")
		}
		if code != 0 {
			k.Faults = append(k.Faults, fmt.Sprintf("committed, but nsctl ended with %d: %s", code, lastLine(said)))
		}
	case string(journal.Aborted):
		if k.Owner != from {
			k.Faults = append(k.Faults, "aborted, but it does not run on the source")
		}
		if code != 1 {
			k.Faults = append(k.Faults, fmt.Sprintf("aborted, but nsctl ended with %d: %s", code, lastLine(said)))
		}
	default:
		k.Faults = append(k.Faults, "the source's journal does not say how it ended")
	}
	return nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
