package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sonic-netservices/sonic-vs/load"
)

// quiet waits until nothing of an earlier move is left, and says who has the service.
func (s *stage) quiet(ctx context.Context) (owner string, err error) {
	owner, faults, err := s.settle(ctx)
	if err == nil && len(faults) > 0 {
		err = fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	return owner, err
}

// underLoad plays cases one after the other under one load, and judges what came of them. play has the service moved away
// from owner, does the case's harm, and says who has it then.
func (s *stage) underLoad(ctx context.Context, owner string, cases []kill, play func(ctx context.Context, owner string, k *kill) (string, error)) (report load.Report, err error) {
	clients, err := s.startLoad(ctx)
	if err != nil {
		return report, err
	}
	defer clients.kill()
	for i := range cases {
		k := &cases[i]
		begin := time.Now()
		if owner, err = play(ctx, owner, k); err != nil {
			return report, fmt.Errorf("%s: %w", k.Case, err)
		}
		s.say("%-24s %-9s by %s, settled after %5d ms on %s", k.Case, k.Outcome, k.Op, k.SettledMS, k.Owner)
		for _, f := range k.Faults {
			s.fault("%s: %s", k.Case, f)
		}
		event := load.Event{Kind: "live", Move: i + 1, From: k.Case, To: k.Owner, Begin: begin, End: time.Now()}
		if err := errors.Join(load.AppendEvent(clients.dir, event), writeKills(s.dir, cases[:i+1])); err != nil {
			return report, err
		}
		if owner == "" {
			break // nothing can move any more
		}
	}
	if report, err = clients.stop(s, owner); err != nil {
		return report, err
	}
	s.judge(report, cases)
	return report, writeKills(s.dir, cases)
}

// treeMoves is underLoad where the tree of the service moves it, from one home to the other: play drains the one it is on.
// Whatever befalls managers and trees, no request may fail of it.
func (s *stage) treeMoves(ctx context.Context, owner string, cases []kill, play func(ctx context.Context, owner string, k *kill) (string, error)) (err error) {
	if err := s.drain(ctx, s.leader().Name); err != nil { // the service can go to the other home only
		return err
	}
	defer func() { err = errors.Join(err, s.undrain(context.WithoutCancel(ctx))) }()
	report, err := s.underLoad(ctx, owner, cases, play)
	for _, p := range report.Parts {
		if p.Failed+p.Broken > 0 {
			s.fault("load: %d failed requests, %d broken connections: managers and trees are not in anybody's way", p.Failed, p.Broken)
		}
	}
	return err
}
