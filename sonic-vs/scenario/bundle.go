package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/resourdb"
	"sonic-netservices/sonic-vs/load"
)

// bundled moves a service between switches that come without CRIU, on the one that mig-agent's image brings, and
// damages that one before.
func bundled(ctx context.Context, s *stage) error {
	for _, name := range homes {
		if err := s.usesBundle(ctx, s.node(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := s.mendsBundle(ctx, s.node(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	clients, err := s.startLoad(ctx)
	if err != nil {
		return err
	}
	defer clients.kill()
	owner, err := s.moves(ctx, clients, 2)
	if err != nil {
		return err
	}
	report, err := clients.stop(s, owner)
	if err != nil {
		return err
	}
	s.flawless(report)
	return nil
}

// usesBundle checks what the node itself says of its CRIU.
func (s *stage) usesBundle(ctx context.Context, n *node) error {
	if out, err := s.suite.Bed.Exec(ctx, n.Name, "sh", "-c", "command -v criu").CombinedOutput(); err == nil {
		return fmt.Errorf("it has %s: this scenario wants a topology with criu: false, such as bare.yaml", out)
	}
	row, err := n.agentRow(ctx)
	if err != nil {
		return err
	}
	s.say("%s: criu %s from the %s, modes %v", n.Name, row.CRIU, row.From, row.Modes)
	if row.From != string(engine.FromBundle) || len(row.Modes) < 2 {
		s.fault("%s: %s says criu from %q, cannot %v", n.Name, resourdb.AgentTable, row.From, row.Cannot)
	}
	return nil
}

// agentRow is what the node's agent says of itself.
func (n *node) agentRow(ctx context.Context) (resourdb.Agent, error) {
	db, err := resourdb.Open(ctx, n.db)
	if err != nil {
		return resourdb.Agent{}, err
	}
	rows, err := resourdb.List(ctx, db, resourdb.AgentTable, resourdb.ParseAgent)
	for _, r := range rows {
		if r.Node == n.Name {
			return r, nil
		}
	}
	return resourdb.Agent{}, errors.Join(err, fmt.Errorf("no row %s", resourdb.AgentTable))
}

// mendsBundle flips a byte of CRIU and wants it back as it was after the helper's next start.
func (s *stage) mendsBundle(ctx context.Context, n *node) error {
	files, err := filepath.Glob(n.agentPath("criu", "*", "usr/sbin/criu"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("want one bundle, there are %q (%w)", files, err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	bad := append([]byte{}, good...)
	bad[len(bad)/2] ^= 0x10
	if err := os.WriteFile(files[0], bad, 0o755); err != nil {
		return err
	}
	pid, err := s.suite.HelperPID(ctx, n.Node)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	for {
		now, err := os.ReadFile(files[0])
		if err == nil && string(now) == string(good) {
			s.say("%s: a damaged bundle was put right", n.Name)
			return nil
		}
		if pause(limit) != nil {
			s.fault("%s: a damaged bundle stays after %v", n.Name, awayTime)
			return ctx.Err()
		}
	}
}

// moves the service live, n times, and wants each to end well. It returns who has it then.
func (s *stage) moves(ctx context.Context, c *clients, n int) (owner string, err error) {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return "", err
	}
	if len(faults) > 0 {
		return owner, fmt.Errorf("not ready to move: %q", faults)
	}
	for i := range n {
		from, to, begin := owner, other(owner), time.Now()
		if err := s.move(ctx, to); err != nil {
			_, said := exitCode(err)
			return owner, fmt.Errorf("move to %s: %w: %s", to, err, said)
		}
		if owner, faults, err = s.settle(ctx); err != nil {
			return owner, err
		}
		for _, f := range faults {
			s.fault("after the move to %s: %s", to, f)
		}
		if owner != to {
			return owner, fmt.Errorf("after the move to %s: it is on %q", to, owner)
		}
		err := load.AppendEvent(c.dir, load.Event{Kind: "live", Move: i + 1, From: from, To: to, Begin: begin, End: time.Now()})
		if err != nil {
			return owner, err
		}
		s.say("moved live from %s to %s", from, to)
	}
	return owner, nil
}

// flawless wants that no client noticed anything.
func (s *stage) flawless(report load.Report) {
	s.judge(report, make([]kill, len(report.Moves)))
	for _, p := range report.Parts {
		if p.Failed != 0 || p.Broken != 0 {
			s.fault("load: %d failed requests, %d broken connections: %v", p.Failed, p.Broken, p.Errors)
		}
	}
}
