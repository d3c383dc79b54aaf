package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// Calibration is calibration.json: what the service costs here, and the budgets that come of it.
type Calibration struct {
	Rates   []RateCost         `json:"rates"`   // measured on leaf1 without a limit
	Cores   float64            `json:"cores"`   // at the high rate
	Budgets map[string]float64 `json:"budgets"` // cores for services by node
}

// RateCost is the CPU time that the service takes at a rate.
type RateCost struct {
	Rate    int       `json:"rate"`    // requests a second
	Seconds []float64 `json:"seconds"` // cores used in each second
	Median  float64   `json:"median"`
}

// calibrate makes budgets of what was measured. Cost does not grow in proportion: at a low rate each request wakes a
// sleeping process. So the high rate is measured, not extrapolated.
func calibrate(rates []RateCost) (Calibration, error) {
	c := Calibration{Rates: rates}
	for i, r := range rates {
		if len(r.Seconds) == 0 {
			return c, fmt.Errorf("no second was measured at %d requests a second", r.Rate)
		}
		c.Rates[i].Median = median(r.Seconds)
		if r.Rate == highRate {
			c.Cores = c.Rates[i].Median
		}
	}
	if !(c.Cores > 0.1) {
		return c, fmt.Errorf("%d requests a second cost %.3f cores: too little to calibrate with", highRate, c.Cores)
	}
	c.Budgets = map[string]float64{
		here:  budget(c.Cores, shareHere),
		there: budget(c.Cores, shareThere),
		third: budget(c.Cores, shareThird),
	}
	return c, nil
}

// budget of which a use is the share, in thousandths of a core as a quota has them.
func budget(cores, share float64) float64 { return math.Round(1000*cores/share) / 1000 }

// median of some values, of an even number the mean of the two in the middle.
func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// measure plays a load for each rate without a limit and reads what it costs.
func (d *demo) measure(ctx context.Context, part string, s subject) (Calibration, error) {
	step("calibrate: what %d requests a second cost on %s without a limit", highRate, here)
	dir := filepath.Join(d.Dir, "calibration", part)
	var rates []RateCost
	for _, rate := range []int{lowRate, highRate} {
		seconds, err := d.cost(ctx, filepath.Join(dir, strconv.Itoa(rate)), s, rate)
		if err != nil {
			return Calibration{}, fmt.Errorf("%d requests a second: %w", rate, err)
		}
		rates = append(rates, RateCost{Rate: rate, Seconds: seconds})
		step("  %d requests/s: %.3f cores", rate, median(seconds))
	}
	c, err := calibrate(rates)
	if err != nil {
		return c, err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return c, err
	}
	return c, os.WriteFile(filepath.Join(dir, "calibration.json"), append(text, '\n'), 0o644)
}

// cost is the cores that leaf1's services use in each of some seconds of a load; the first second is not counted. The
// requests come evenly, so that each second has as many as the next.
func (d *demo) cost(ctx context.Context, dir string, s subject, rate int) ([]float64, error) {
	clients, err := d.startLoad(ctx, dir, s, strconv.Itoa(rate))
	if err != nil {
		return nil, err
	}
	defer clients.kill()
	n, err := d.bed.Node(here)
	if err != nil {
		return nil, err
	}
	var seconds []float64
	var last load.Usage
	for i := range calibrationTime + 2 {
		if err := clients.wait(ctx, time.Second); err != nil {
			return nil, err
		}
		u, err := readUsage(n)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			seconds = append(seconds, math.Round(1000*float64(u.CPU-last.CPU)/float64(u.At.Sub(last.At)))/1000)
		}
		last = u
	}
	return seconds, clients.stop()
}

// calibrationTime is how many seconds of each rate are measured.
const calibrationTime = 8

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
		if err == nil && math.Abs(u.Budget-cores) < 0.0015 {
			return nil
		}
		if time.Since(begun) > budgetTime {
			return fmt.Errorf("%s: services_cpu is %s, but the quota of its services is %.3f (%v)", node, text, u.Budget, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// setBudgets sets those of the calibration.
func (d *demo) setBudgets(ctx context.Context, c Calibration) error {
	step("budgets for services: %d requests/s would use %.0f %% of that of %s, %.0f %% of %s's, %.0f %% of %s's",
		highRate, 100*shareHere, here, 100*shareThere, there, 100*shareThird, third)
	for _, n := range d.bed.Nodes {
		if err := d.setBudget(ctx, n.Name, c.Budgets[n.Name]); err != nil {
			return err
		}
	}
	return nil
}

// usageOf all nodes.
func (d *demo) usage() ([]load.Usage, error) {
	var all []load.Usage
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
