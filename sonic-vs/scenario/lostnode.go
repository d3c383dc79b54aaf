package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/suite"
)

// A second service of the same image, which is placed again when its node is lost.
const (
	moving        = "kmsr"
	movingReplica = moving + "-0"
	movingAddress = "10.20.0.12:8080"
)

// earliest is when its lease can be over: 8 s and a margin of 3 s after the last renewal that was answered, which may
// be one renewal and its time limit, 3.5 s, before the power is cut.
const earliest = 7 * time.Second

// lostNode powers off an idle leaf, then the one with the services: the one that waits stays and says so, the other
// runs elsewhere exactly once, also when the leaf is back.
func lostNode(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	if err := s.deployMoving(ctx, owner); err != nil {
		return err
	}
	if err := s.loseIdle(ctx, other(owner)); err != nil {
		return err
	}
	if err := s.loseBusy(ctx, owner); err != nil {
		return err
	}
	if _, err := s.suite.Nsctl(ctx, "remove", moving); err != nil {
		return err
	}
	now, faults, err := s.settle(ctx)
	for _, n := range s.nodes {
		left, err := n.traces(ctx, movingReplica)
		if err != nil {
			return err
		}
		faults = append(faults, left...)
	}
	for _, f := range faults {
		s.fault("in the end: %s", f)
	}
	if now != owner {
		s.fault("%s runs on %q in the end, want %s", replica, now, owner)
	} else if err := s.serials(owner); err != nil {
		s.fault("%v", err)
	}
	return err
}

// deployMoving runs the second service beside the first.
func (s *stage) deployMoving(ctx context.Context, node string) error {
	text, err := os.ReadFile(s.spec())
	if err != nil {
		return err
	}
	changed := strings.NewReplacer("name: kms\n", "name: "+moving+"\n", "10.20.0.10/", "10.20.0.12/").Replace(string(text))
	path := filepath.Join(s.dir, moving+".yaml")
	if err := os.WriteFile(path, []byte(changed+"on_lost_node: redeploy\n"), 0o644); err != nil {
		return err
	}
	_, err = s.suite.Deploy(ctx, path, node)
	return err
}

// loseIdle: nobody runs there, nothing changes.
func (s *stage) loseIdle(ctx context.Context, name string) error {
	before, err := s.places(ctx)
	if err != nil {
		return err
	}
	records, err := s.managerRecords(0)
	if err != nil {
		return err
	}
	if err := s.powerOff(s.node(name)); err != nil {
		return err
	}
	began := time.Now()
	if err := s.awaitDead(ctx, s.node(name)); err != nil {
		return err
	}
	s.say("%s, idle, is off: dead after %v", name, time.Since(began).Round(100*time.Millisecond))
	for _, address := range []string{kmsAddress, movingAddress} {
		if err := s.answers(ctx, address); err != nil {
			s.fault("%s does not answer while %s is off: %v", address, name, err)
		}
	}
	if err := s.repair(ctx); err != nil {
		return err
	}
	s.say("%s is back", name)
	after, err := s.places(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		s.fault("an idle leaf was off: %q became %q", before, after)
	}
	since, err := s.managerRecords(len(records))
	for _, r := range since {
		if r.Kind == orders.Begun {
			s.fault("an idle leaf was off, and %s %s of %s was begun", r.Op.Verb, r.Op.ID, r.Op.Replica)
		}
	}
	return err
}

// places are all instances as nsctl services shows them, and what it says is wrong.
func (s *stage) places(ctx context.Context) (list []string, err error) {
	all, err := s.suite.Services(ctx)
	for _, v := range all {
		for _, i := range v.Instances {
			list = append(list, strings.TrimSpace(i.Container+" "+i.Node+" "+i.State+" "+i.Since+" "+i.Op+" "+v.Problem))
		}
	}
	return list, err
}

// loseBusy: both services ran there.
func (s *stage) loseBusy(ctx context.Context, name string) error {
	records, err := s.managerRecords(0)
	if err != nil {
		return err
	}
	if err := s.powerOff(s.node(name)); err != nil {
		return err
	}
	began := time.Now()
	home, problem, err := s.awaitPlaced(ctx, name)
	if err != nil {
		return err
	}
	s.say("%s, with both services, is off: %s runs on %s after %v", name, movingReplica, home, time.Since(began).Round(100*time.Millisecond))
	s.say("nsctl services says of %s: %s", service, problem)
	if !strings.Contains(problem, name) {
		s.fault("%s is lost with %s, and nsctl services says %q", replica, name, problem)
	}
	for _, w := range []struct{ service, what, want string }{
		{service, "waits", "on_lost_node is wait: it stays down until the node returns"},
		{moving, "redeploy", name + " is dead"},
	} {
		list, err := s.why(ctx, w.service)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(d decision) bool {
			return strings.Contains(d.What+" "+d.Text, w.what) && strings.Contains(d.Text, name+" is dead") && strings.Contains(d.Text, w.want)
		})
		if i < 0 {
			s.fault("nsctl why %s does not say %q, but %v", w.service, w.want, list)
			continue
		}
		s.say("nsctl why %s: %s %s", w.service, list[i].What, list[i].Text)
	}
	if err := s.answers(ctx, movingAddress); err != nil {
		s.fault("%s does not answer on %s: %v", moving, home, err)
	}

	if err := s.repair(ctx); err != nil {
		return err
	}
	if err := s.awaitBoth(ctx, name, home); err != nil {
		return err
	}
	since, err := s.managerRecords(len(records))
	if err != nil {
		return err
	}
	if ops, outcomes := begun(since, movingReplica, orders.Deploy); len(ops) != 1 || outcomes[0] != orders.Committed {
		s.fault("%s was placed again by %d orders, ended %q; want one", movingReplica, len(ops), outcomes)
	} else if after := ops[0].Started.Sub(began); after < earliest {
		s.fault("%s was placed again %v after the power was cut: its lease was not over", movingReplica, after)
	}
	for _, verb := range []orders.Verb{orders.Deploy, orders.Move} {
		if ops, _ := begun(since, replica, verb); len(ops) > 0 {
			s.fault("%s waits for its node, and yet there was a %s to %s", replica, verb, ops[0].Node)
		}
	}
	return nil
}

// awaitPlaced returns when the second service runs elsewhere, with where, and what is said of the first.
func (s *stage) awaitPlaced(ctx context.Context, lost string) (home, problem string, err error) {
	limit, cancel := context.WithTimeout(ctx, 2*settleTime)
	defer cancel()
	for {
		all, err := s.suite.Services(limit)
		for _, v := range all {
			if v.Name == service {
				problem = v.Problem
			}
			for _, i := range v.Instances {
				if v.Name == moving && i.Node != lost && i.State == string(netmap.Running) {
					home = i.Node
				}
			}
		}
		if home != "" {
			return home, problem, nil
		}
		if pause(limit) != nil {
			return "", "", fmt.Errorf("%s is off, but %s runs nowhere else: %v (%v)", lost, moving, all, err)
		}
	}
}

// awaitBoth waits until the first service runs on the node that is back and the second where it was placed, each once
// and with nothing left on the other nodes; what is left then are faults.
func (s *stage) awaitBoth(ctx context.Context, back, home string) error {
	began := time.Now()
	for {
		var faults []string
		for _, n := range s.nodes {
			for name, at := range map[string]string{replica: back, movingReplica: home} {
				left, err := n.traces(ctx, name)
				switch {
				case err != nil:
					faults = append(faults, err.Error())
				case n.Name != at:
					faults = append(faults, left...)
				case !slices.Contains(left, n.running(name)):
					faults = append(faults, n.Name+": "+name+" does not run")
				}
				rows, err := n.instances(ctx, name)
				if want := []string{at + " " + string(netmap.Running)}; err != nil || !slices.Equal(rows, want) {
					faults = append(faults, fmt.Sprintf("%s: rows of %s say %q, want %q (%v)", n.Name, name, rows, want, err))
				}
			}
		}
		for _, address := range []string{kmsAddress, movingAddress} {
			if err := s.answers(ctx, address); err != nil {
				faults = append(faults, fmt.Sprintf("%s does not answer: %v", address, err))
			}
		}
		all, err := s.suite.Services(ctx)
		if err != nil {
			faults = append(faults, err.Error())
		}
		for _, v := range all {
			if v.Problem != "" || len(v.Instances) != 1 {
				faults = append(faults, fmt.Sprintf("nsctl services: %s: %d instances, problem %q", v.Name, len(v.Instances), v.Problem))
			}
		}
		if len(faults) == 0 {
			s.say("%s is back: %s runs there, %s on %s alone, after %v", back, replica, movingReplica, home, time.Since(began).Round(100*time.Millisecond))
			return nil
		}
		if time.Since(began) > settleTime {
			for _, f := range faults {
				s.fault("%s is back: %s", back, f)
			}
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// running is the trace of a replica that runs.
func (n *node) running(replica string) string { return n.Name + ": " + replica + " is running" }

// traces lists what a node has of a replica: containers, files.
func (n *node) traces(ctx context.Context, replica string) (list []string, err error) {
	all, err := n.docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("%s: list containers: %w", n.Name, err)
	}
	for _, c := range all {
		name := strings.TrimPrefix(c.Names[0], "/")
		if name == replica || strings.HasPrefix(name, replica+".") {
			list = append(list, n.Name+": "+name+" is "+c.State)
		}
	}
	for _, path := range []string{filepath.Join(netmap.VolumesDir, replica), filepath.Join(netmap.AgentDir, "replicas", replica+".json")} {
		if _, err := os.Lstat(n.Path(path)); err == nil {
			list = append(list, n.Name+": there is "+path)
		}
	}
	return list, nil
}

// repair powers on what is off, and returns when the suite is complete again.
func (s *stage) repair(ctx context.Context) error {
	if err := s.close(); err != nil {
		return err
	}
	bed, err := s.up(ctx)
	if err != nil {
		return err
	}
	if s.suite, err = suite.Install(ctx, bed, s.suiteOptions()); err != nil {
		return err
	}
	return s.open()
}
