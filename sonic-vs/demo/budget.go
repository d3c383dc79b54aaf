package demo

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/testbed"
)

// What the budgets shall make of the high load: shares of a node's CPU budget for services.
const (
	shareHere  = 0.97 // of leaf1's: too much for the tree, and a queue for the clients
	shareThere = 0.35 // of leaf2's: the most head-room, the tree's choice
	shareThird = 0.55 // of leaf3's: it fits as well, with less head-room over as many hops
)

// Of a calibration. What one request costs differs from minute to minute with all that shares caches and cores.
const (
	rounds    = 9           // at most
	apart     = 0.03        // so close must two in a row be
	warmTime  = time.Second // connections are made; that is no part of what a request costs
	roundTime = 4 * time.Second
	restTime  = 4 * time.Second // until the tree has seen that a round was but a spike
)

// budgets come of what the high load costs. Never less than the share needs: a quota is microseconds of 10 ms.
func budgets(cores float64) map[string]float64 {
	of := func(share float64) float64 { return math.Ceil(10000*cores/share) / 10000 }
	return map[string]float64{here: of(shareHere), there: of(shareThere), third: of(shareThird)}
}

// measure plays the high load until two rounds in a row agree on what it costs. The high one, for cost does not grow in
// proportion: at a low rate each request wakes a sleeping process. The first round is without a limit; each later one has
// the budget that comes of the one before, and is too short for the tree to act. The checker reads the same records.
func (d *demo) measure(ctx context.Context, part string, s subject) (*load.Calibration, error) {
	step("calibrate: what %d requests a second cost on %s", highRate, here)
	dir := filepath.Join(d.Dir, "calibration", part)
	for n := 1; ; n++ {
		if err := d.calm(ctx); err != nil {
			return nil, err
		}
		if err := d.round(ctx, filepath.Join(dir, strconv.Itoa(n)), s); err != nil {
			return nil, fmt.Errorf("round %d: %w", n, err)
		}
		c, err := load.ReadCalibration(dir, here)
		if err != nil {
			return nil, err
		}
		r := c.Rounds[n-1]
		step("  round %d: %.3f cores, %.3f ms a request, budget %.3f", n, r.Cores, r.PerRequest, r.Budget)
		switch {
		case r.Cores < 0.1:
			return nil, fmt.Errorf("%d requests a second cost %.3f cores: too little to calibrate with", highRate, r.Cores)
		case n > 2 && c.Apart <= apart:
			return c, nil
		case n == rounds:
			step("  ! the last two of %d rounds are %.1f %% apart, the machine is too busy: go on with the smaller", rounds, 100*c.Apart)
			return c, nil
		}
		if err := d.setBudget(ctx, here, budgets(r.Cores)[here]); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(restTime):
		}
	}
}

// round plays one load of a calibration, between two samples of what leaf1's services have used.
func (d *demo) round(ctx context.Context, dir string, s subject) error {
	clients, err := d.startLoad(ctx, dir, s, strconv.Itoa(highRate), randomly)
	if err != nil {
		return err
	}
	defer clients.kill()
	sample := func() error {
		n, err := d.bed.Node(here)
		if err != nil {
			return err
		}
		u, err := readUsage(n)
		if err != nil {
			return err
		}
		return load.AppendUsage(dir, u)
	}
	for _, wait := range []time.Duration{warmTime, roundTime} {
		if err := clients.wait(ctx, wait); err != nil {
			return err
		}
		if err := sample(); err != nil {
			return err
		}
	}
	return clients.stop()
}

// budgetTime is how long a node may take to set a new budget.
const budgetTime = 10 * time.Second

// setBudget says in CONFIG_DB how many cores a node's services may use together, and waits until the kernel knows.
func (d *demo) setBudget(ctx context.Context, node string, cores float64) error {
	n, err := d.bed.Node(node)
	if err != nil {
		return err
	}
	text := strconv.FormatFloat(cores, 'f', -1, 64)
	step("  %s: services_cpu %s", node, text)
	if _, err := d.run(ctx, node, "redis-cli", "-n", "4", "hset", "NETSERVICES|global", "services_cpu", text); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		u, err := readUsage(n)
		if err == nil && math.Abs(u.Budget-cores) < 0.00005 {
			return nil
		}
		if time.Since(begun) > budgetTime {
			return fmt.Errorf("%s: services_cpu is %s, but the quota of its services is %.3f (%v)", node, text, u.Budget, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// setBudgets sets those of a calibration.
func (d *demo) setBudgets(ctx context.Context, cores float64) error {
	step("budgets for services: %d requests/s would use %.0f %% of that of %s, %.0f %% of %s's, %.0f %% of %s's",
		highRate, 100*shareHere, here, 100*shareThere, there, 100*shareThird, third)
	of := budgets(cores)
	for _, n := range d.bed.Nodes {
		if err := d.setBudget(ctx, n.Name, of[n.Name]); err != nil {
			return err
		}
	}
	return nil
}

// usage of all nodes' services, and of what else runs here.
func (d *demo) usage(clients *clients) ([]load.Usage, error) {
	others, err := d.others(clients)
	if err != nil {
		return nil, err
	}
	all := []load.Usage{others}
	for _, n := range d.bed.Nodes {
		u, err := readUsage(n)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// readUsage reads the cgroup of a node's services from outside. A node that never had a service has none: nothing is
// used.
func readUsage(n testbed.Node) (load.Usage, error) {
	cpu, ok := n.Cgroups["cpu"]
	if !ok {
		return readUsageV2(n.Name, filepath.Join(n.Cgroups[""], services))
	}
	return readUsageV1(n.Name, filepath.Join(n.Cgroups["cpuacct"], services), filepath.Join(cpu, services))
}

// services is the cgroup of them all.
const services = "netservices"
