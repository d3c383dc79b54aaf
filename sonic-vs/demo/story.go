package demo

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/load"
	servicefile "sonic-netservices/spec"
)

// The paper's load (P1-72), and how long it is watched.
const (
	lowRate   = 100
	highRate  = 500
	stepAt    = 30 * time.Second
	moveTime  = 60 * time.Second  // a move that is not done so long after the step does not come
	watchTime = 60 * time.Second  // after the move: no second one may come
	loadTime  = 120 * time.Second // of each load, at least
)

// randomly lets the requests come at random moments, always the same: where they come evenly spaced, a switch that is
// used to 97 % answers as fast as an idle one.
const randomly = "--poisson=1"

// third is the other switch the tree could choose.
const third = "leaf3"

// Story runs the demo of the paper's figure 8: the load of a service grows until its switch is overloaded, and the
// behaviour tree moves it. Nobody orders a move; the demo sets budgets, plays clients and looks on.
func Story(ctx context.Context, o Options, out io.Writer) error {
	d := &demo{Options: o, facts: facts{path: filepath.Join(o.Dir, factsFile)}}
	if err := d.clear(); err != nil {
		return err
	}
	if err := d.raise(ctx); err != nil {
		return err
	}
	if err := d.loadImage(ctx); err != nil {
		return err
	}
	undo, err := d.bed.Prefer()
	if err != nil {
		return err
	}
	defer undo()
	if err := d.part(ctx, "", netmap.Live, &d.live); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	if err := d.part(ctx, "-cold", netmap.Cold, &d.cold); err != nil {
		return fmt.Errorf("cold: %w", err)
	}
	return d.concludeStory(out)
}

// storySpec is the service's file without a CPU limit of its own, so that the node's budget is what limits it. Its keys
// are cheaper, so that this machine has room for switches, clients and CRIU at 500 requests a second, and one thread runs
// Go code: idle threads that look for work use up CPU time, more of it the less there is to do, and a request would have
// no certain cost.
func (d *demo) storySpec(suffix string, mode netmap.Mode) (string, error) {
	text, err := os.ReadFile(spec)
	if err != nil {
		return "", err
	}
	service, err := servicefile.Parse(spec, text)
	if err != nil {
		return "", err
	}
	service.Name += suffix
	service.Migration = mode
	service.Limits.CPU = 0
	service.Demand["compute"] = 0.25 // 500 keys a second at 0.5 ms each
	service.Environment["KMS_WORK"] = "5000"
	service.Environment["GOMAXPROCS"] = "1"
	if suffix != "" {
		service.Address = netip.PrefixFrom(service.Address.Addr().Next(), service.Address.Bits())
	}
	if text, err = servicefile.Print(service); err != nil {
		return "", err
	}
	path := filepath.Join(d.Dir, service.Name+".yaml")
	return path, os.WriteFile(path, text, 0o644)
}

// unlimited gives every node's services all cores.
func (d *demo) unlimited(ctx context.Context) error {
	step("budgets for services: all cores of the machine")
	for _, n := range d.bed.Nodes {
		if err := d.setBudget(ctx, n.Name, cores()); err != nil {
			return err
		}
	}
	return nil
}

// part is one service with one load, from its deployment to its removal. It begins with all cores for everybody: a
// budget that is nearly used up would admit no service.
func (d *demo) part(ctx context.Context, suffix string, mode netmap.Mode, s *subject) error {
	file, err := d.storySpec(suffix, mode)
	if err != nil {
		return err
	}
	if err := d.unlimited(ctx); err != nil {
		return err
	}
	if *s, err = d.deploy(ctx, file); err != nil {
		return err
	}
	c, err := d.measure(ctx, string(mode), *s)
	if err != nil {
		return fmt.Errorf("calibrate: %w", err)
	}
	if err := d.setBudgets(ctx, c.Cores); err != nil {
		return err
	}
	if err := d.calm(ctx); err != nil {
		return err
	}
	if err := d.watch(ctx, mode, *s); err != nil {
		return err
	}
	step("nsctl remove %s", s.service)
	_, err = d.suite.Nsctl(ctx, "remove", s.service)
	return err
}

// watch plays the load and looks on.
func (d *demo) watch(ctx context.Context, mode netmap.Mode, s subject) error {
	dir := filepath.Join(d.Dir, string(mode))
	step("%s: %d requests a second, from second %.0f on %d; nobody orders anything", mode, lowRate, stepAt.Seconds(), highRate)
	clients, err := d.startLoad(ctx, dir, s, fmt.Sprintf("%d,%d@%v", lowRate, highRate, stepAt), randomly)
	if err != nil {
		return err
	}
	defer clients.kill()
	if err := (load.Watch{Replica: s.id().String(), Mode: string(mode), Node: here, After: watchTime}).Write(dir); err != nil {
		return err
	}
	place, err := d.lookOn(ctx, clients, dir, s)
	if err != nil {
		return err
	}
	if err := clients.stop(); err != nil {
		return err
	}
	return d.keep(ctx, dir, s, place)
}

// keep copies what proves who moved the service, and the volume as the load left it.
func (d *demo) keep(ctx context.Context, dir string, s subject, place string) error {
	for i, n := range d.bed.Nodes {
		if err := load.CopyJournal(dir, n.Name, d.suite.Journal(n)); err != nil {
			return err
		}
		if d.bed.Topology.Nodes[i].Manager {
			if err := load.CopyAudit(dir, d.suite.Host(n, filepath.Join(netmap.ManagerDir, "audit.jsonl"))); err != nil {
				return err
			}
		}
	}
	why, err := d.suite.Nsctl(ctx, "why", s.service)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "why.txt"), []byte(why), 0o644); err != nil {
		return err
	}
	last, err := d.bed.Node(place)
	if err != nil {
		return err
	}
	return copyVolume(filepath.Join(dir, "volume"), d.suite.Volume(last, s.id().String(), volume))
}
