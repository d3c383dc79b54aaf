package demo

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/load"
)

// cores of the machine: a budget that limits nothing.
func cores() float64 { return float64(runtime.NumCPU()) }

// lookOn tells what happens, second by second, and records what the nodes' services use, until the service has been
// elsewhere for long enough, or has not moved for too long. It returns where the service is.
func (d *demo) lookOn(ctx context.Context, clients *clients, dir string, s subject) (string, error) {
	judge, err := decide.NewJudge(decide.Defaults()) // for the progress only: the tree has its own, and its own samples
	if err != nil {
		return "", err
	}
	begun := time.Now()
	var last, moved time.Duration // since then
	place := here
	before := map[string]load.Usage{}
	for n := 1; ; n++ {
		if err := clients.wait(ctx, time.Until(begun.Add(time.Duration(n)*time.Second))); err != nil {
			return "", err
		}
		now := time.Since(begun)
		all, err := d.usage(clients)
		if err != nil {
			return "", err
		}
		if err := load.AppendUsage(dir, all...); err != nil {
			return "", err
		}
		for _, u := range all {
			if u.Node == place {
				say(n, place, judge, share(before[u.Node], u), now)
			}
			before[u.Node] = u
		}
		pause := 2 * time.Second // asking costs CPU time as well
		if place != here {
			pause = 20 * time.Second
		}
		if now-last < pause && now < max(moved+watchTime+2*time.Second, loadTime) || now < stepAt {
			continue
		}
		last = now
		at, err := d.runsAt(ctx, s)
		if err != nil {
			return "", err
		}
		if at != "" && at != place {
			step("  second %d: %s runs on %s", n, s.id(), at)
			judge.Disarm("moved")
			place, moved = at, now
		}
		switch {
		case place == here && now > stepAt+moveTime:
			step("  ! %s is still on %s", s.id(), here)
			return place, nil
		case place != here && now > max(moved+watchTime+2*time.Second, loadTime):
			return place, nil
		}
	}
}

// say prints a sample that matters.
func say(second int, node string, judge *decide.Judge, use float64, at time.Duration) {
	p := decide.Defaults()
	v, _ := judge.Feed(decide.Sample{At: at, Use: map[netmap.Kind]float64{netmap.Compute: use}}).Of(netmap.Compute)
	over := use > p.Threshold
	switch {
	case over || v.State == decide.Armed:
		sign := map[bool]string{true: ">", false: "<="}[over]
		step("  second %d: compute %.2f %s %.2f on %s (%s, sample %d of %d)", second, use, sign, p.Threshold, node, v.State, v.Seen, p.Samples)
	case second%10 == 0:
		step("  second %d: compute %.2f on %s", second, use, node)
	}
}

// share of its budget that a node's services used between two samples.
func share(from, to load.Usage) float64 {
	budget := to.Budget
	if budget == 0 {
		budget = cores()
	}
	if from.At.IsZero() {
		return 0
	}
	return float64(to.CPU-from.CPU) / float64(to.At.Sub(from.At)) / budget
}

// runsAt is the node where the service runs; "" while it is on its way.
func (d *demo) runsAt(ctx context.Context, s subject) (string, error) {
	services, err := d.suite.Services(ctx)
	if err != nil {
		return "", err
	}
	for _, service := range services {
		if service.Name != s.service {
			continue
		}
		for _, i := range service.Instances {
			if i.State == string(netmap.Running) {
				return i.Node, nil
			}
		}
		return "", nil
	}
	return "", fmt.Errorf("nsctl services does not show %s", s.service)
}
