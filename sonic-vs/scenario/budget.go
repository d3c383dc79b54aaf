package scenario

import (
	"context"
	"fmt"

	"sonic-netservices/netmap"
)

// coresOf is the budget of a node in an act.
func (l *lineStage) coresOf(a act, node string) float64 {
	if node == l.home {
		return scarce
	}
	for _, name := range []string{node, "*"} {
		if c, ok := a.cores[name]; ok {
			return c
		}
	}
	return l.cores
}

// budget says in CONFIG_DB what a node's services may use, and waits until the manager knows. A node that keeps all
// cores is never spoken to.
func (l *lineStage) budget(ctx context.Context, node string, cores float64) error {
	if old, ok := l.set[node]; ok && old == cores || !ok && cores == l.cores {
		return nil
	}
	l.set[node] = cores
	config, err := l.node(node).db.DB(ctx, "CONFIG_DB")
	if err != nil {
		return err
	}
	const key, field = "NETSERVICES|global", "services_cpu"
	if cores == l.cores {
		err = config.HDel(ctx, key, field)
	} else {
		err = config.HSet(ctx, key, map[string]string{field: fmt.Sprint(cores)})
	}
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	for {
		compute, err := l.compute(limit, node)
		if err == nil && compute.Capacity == cores {
			return nil
		}
		if pause(limit) != nil {
			return fmt.Errorf("%s: services_cpu is %v, and the manager sees %v (%v)", node, cores, compute.Capacity, err)
		}
	}
}

// compute of a node as the manager's switch sees it.
func (l *lineStage) compute(ctx context.Context, node string) (netmap.Resource, error) {
	snap, err := l.suite.Snapshot(ctx, l.leader().Node)
	n, _ := snap.Node(node)
	compute, _ := n.Resource(netmap.Compute)
	return compute, err
}
