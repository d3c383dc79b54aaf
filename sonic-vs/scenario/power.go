package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"sonic-netservices/netmap"
	"sonic-netservices/plan/balance"
	"sonic-netservices/sonic-vs/testbed"
)

// powerOff kills a node's first process: its namespaces and all in them are gone, its disk stays. Nothing reaches it any
// more before that: the kernel takes a namespace's rules away some milliseconds before its addresses, and an address
// without its service answers with a reset, as no switch without power does.
func (s *stage) powerOff(n *node) error {
	var ports []string
	for _, l := range s.suite.Bed.Topology.Links {
		for _, end := range []testbed.PortRef{l.A, l.B} {
			if end.Node == n.Name {
				ports = append(ports, end.Port)
			}
		}
	}
	if err := s.losePackets(n.Name, true, ports...); err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	if err := unix.Kill(n.Pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("power off %s: %w", n.Name, err)
	}
	return nil
}

// nodeView is what a scenario looks at of `nsctl nodes --json`.
type nodeView struct {
	Name     string `json:"name"`
	Liveness string `json:"liveness"`
	Problem  string `json:"problem"`
}

func (s *stage) views(ctx context.Context) (list []nodeView, err error) {
	out, err := s.suite.Nsctl(ctx, "nodes", "--json")
	if err != nil {
		return nil, err
	}
	var answer struct{ Nodes []nodeView }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("answer of nsctl nodes: %w", err)
	}
	return answer.Nodes, nil
}

// awaitDead returns when the manager takes a node for dead.
func (s *stage) awaitDead(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		list, err := s.views(ctx)
		for _, v := range list {
			if v.Name == n.Name && v.Liveness == string(netmap.Dead) {
				return nil
			}
		}
		if pause(ctx) != nil {
			return fmt.Errorf("%s is off, but nsctl nodes says %v (%v)", n.Name, list, err)
		}
	}
}

// decision is what a scenario looks at of `nsctl why --json`.
type decision struct {
	At      time.Time       `json:"at"`
	Replica string          `json:"replica"`
	What    string          `json:"what"`
	Text    string          `json:"text"`
	Detail  json.RawMessage `json:"detail"`
}

// choice is the detail of a decision that chose a node, or found none.
func (d decision) choice() (all balance.Decision, err error) {
	if err := json.Unmarshal(d.Detail, &all); err != nil {
		return all, fmt.Errorf("nsctl why: detail of %q: %w", d.Text, err)
	}
	return all, nil
}

func (s *stage) why(ctx context.Context, service string) (list []decision, err error) {
	out, err := s.suite.Nsctl(ctx, "why", service, "--json")
	if err != nil {
		return nil, err
	}
	var answer struct{ Decisions []decision }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("answer of nsctl why: %w", err)
	}
	return answer.Decisions, nil
}
