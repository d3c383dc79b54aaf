package orders

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/netmap"
)

// Budget of all services on this node together, and of their moves. CRIU, the agents and the switch's own features are
// outside it.
type Budget struct {
	CPU    float64 // cores; 0 = all
	Memory int64   // bytes; 0 = all
	Moves  int64   // bits a second that moves away from here may take of the links before their cut-over; 0 = all
}

// ParseBudget reads services_cpu, services_memory and move_bandwidth of CONFIG_DB NETSERVICES|global.
func ParseBudget(row map[string]string) (b Budget, err error) {
	if text := row["services_cpu"]; text != "" {
		b.CPU, err = strconv.ParseFloat(text, 64)
		if err != nil || !(b.CPU >= 0.01 && b.CPU <= 4096) {
			return Budget{}, fmt.Errorf("NETSERVICES|global services_cpu=%q: want 0.01..4096 cores", text)
		}
	}
	if text := row["services_memory"]; text != "" {
		b.Memory, err = strconv.ParseInt(text, 10, 64)
		if err != nil || b.Memory < 1<<20 {
			return Budget{}, fmt.Errorf("NETSERVICES|global services_memory=%q: want bytes, at least %d", text, 1<<20)
		}
	}
	if text := row["move_bandwidth"]; text != "" {
		b.Moves, err = strconv.ParseInt(text, 10, 64)
		if err != nil || b.Moves != 0 && b.Moves < leastMoves {
			return Budget{}, fmt.Errorf("NETSERVICES|global move_bandwidth=%q: want bits a second, 0 or at least %d", text, leastMoves)
		}
	}
	return b, nil
}

// leastMoves keeps a chunk of 256 KiB below two seconds: a target takes a source that is silent for longer for dead.
const leastMoves = 1_000_000

// within is the smaller of what a replica's spec allows and the budget; 0 = no limit of its own. cgroup v1 refuses to
// start a container whose quota is above that of the group it is in.
func (b Budget) within(r *api.Replica) (cpu float64, memory int64) {
	cpu, memory = r.CpuLimit, r.MemoryLimit
	if cpu > 0 && b.CPU > 0 {
		cpu = min(cpu, b.CPU)
	}
	if memory > 0 && b.Memory > 0 {
		memory = min(memory, b.Memory)
	}
	return cpu, memory
}

// limits of a replica on this node now.
func (a *Agent) limits(r *api.Replica) (cpu float64, memory int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.budget.within(r)
}

// followBudget applies every change of the budget, until ctx ends.
func (a *Agent) followBudget(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-a.cfg.Budgets:
			if err := a.setBudget(ctx, b); err != nil {
				a.log.Error("budget", "err", err)
				continue
			}
			a.log.Info("budget", "cores", b.CPU, "memory", b.Memory)
		}
	}
}

// setBudget limits the group and the containers in it: first whichever shrinks inside the other.
func (a *Agent) setBudget(ctx context.Context, b Budget) error {
	a.mu.Lock()
	before := a.budget
	a.budget = b
	a.mu.Unlock()
	a.pace.Set(b.Moves)
	shrinks := b.CPU > 0 && (before.CPU == 0 || b.CPU < before.CPU)
	if shrinks {
		a.limitContainers(ctx)
	}
	if _, err := a.helper.SetBudget(ctx, &api.Budget{Cpu: b.CPU, Memory: b.Memory, Group: a.docker.Group()}); err != nil {
		return err
	}
	if !shrinks {
		a.limitContainers(ctx)
	}
	return nil
}

// limitTimeout: Docker does not answer about a container whose start waits for a checkpoint.
const limitTimeout = 5 * time.Second

// limitContainers sets the limit of every replica that runs here. One on its way to or from here is left alone; the
// helper sees to it that its limit does not stand in the group's way.
func (a *Agent) limitContainers(ctx context.Context) {
	type limit struct {
		id  netmap.ReplicaID
		c   engine.Container
		cpu float64
	}
	var all []limit
	a.mu.Lock()
	for id, l := range a.locals {
		if cpu, _ := a.budget.within(l.spec); l.state == netmap.Running && cpu > 0 && l.container.ID != "" {
			all = append(all, limit{id, l.container, cpu})
		}
	}
	a.mu.Unlock()
	for _, l := range all {
		once, cancel := context.WithTimeout(ctx, limitTimeout)
		if err := a.docker.Limit(once, l.c.ID, l.cpu); err != nil {
			a.log.Warn("limit container", "service", l.id.Service, "replica", l.id.Replica, "err", err)
		}
		cancel()
	}
}
