package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
	"sonic-netservices/sonic-vs/suite"
)

// raiseTime is what a second owner has to be raised in: asked for every 2 s, confirmed, and looked at.
const raiseTime = 10 * time.Second

// twoOwners gives the service's address to a second container, by hand and behind the agent's back, and then makes an
// agent believe that it is its own, as a restored backup would: it is raised each time, and one serves in the end.
func twoOwners(ctx context.Context, s *stage) error {
	owner, faults, err := s.settle(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("not ready to begin: %s", strings.Join(faults, "; "))
	}
	home, away := s.node(owner), s.node(other(owner))
	if err := s.stranger(ctx, home, away); err != nil {
		return err
	}
	records, err := s.managerRecords(0)
	if err != nil {
		return err
	}
	if err := s.backup(ctx, home, away); err != nil {
		return err
	}
	now, faults, err := s.settle(ctx)
	for _, f := range faults {
		s.fault("in the end: %s", f)
	}
	if err != nil {
		return err
	}
	if now != owner {
		s.fault("%s runs on %q in the end, want %s", replica, now, owner)
	} else if err := s.serials(owner); err != nil {
		s.fault("%v", err)
	}
	since, err := s.managerRecords(len(records))
	if ops, _ := begun(since, replica, orders.Evict); len(ops) != 1 || ops[0].Node != away.Name {
		s.fault("%d orders removed the second %s, want one to %s", len(ops), replica, away.Name)
	}
	return err
}

// stranger is a container that no agent knows, wired to the segment by hand.
func (s *stage) stranger(ctx context.Context, home, away *node) error {
	agent, err := away.docker.ContainerInspect(ctx, suite.Agent)
	if err != nil {
		return err
	}
	const link = "byhand"
	defer s.in(context.WithoutCancel(ctx), away.Name, "ip link del "+link+" 2>/dev/null; docker rm -f stranger >/dev/null 2>&1")
	if err := s.in(ctx, away.Name, "docker run -d --name stranger --network none "+agent.Image+" pause"); err != nil {
		return err
	}
	began := time.Now()
	err = s.in(ctx, away.Name, `pid=$(docker inspect -f '{{.State.Pid}}' stranger)
ip link add `+link+` type veth peer name eth0 netns $pid
ip link set `+link+` master nsbr up
nsenter -t $pid -n ip address add 10.20.0.10/24 dev eth0
nsenter -t $pid -n ip link set eth0 up`)
	if err != nil {
		return err
	}
	problem, err := s.awaitSaid(ctx, "claimed by")
	if err != nil {
		return err
	}
	s.say("a container by hand on %s: after %v nsctl services says: %s", away.Name, time.Since(began).Round(100*time.Millisecond), problem)
	if want := "no node of this AS"; !strings.Contains(problem, want) || !strings.Contains(problem, home.Name) {
		s.fault("nsctl services says %q, want %s and %q in it", problem, home.Name, want)
	}
	db, err := resourdb.Open(ctx, home.db)
	if err != nil {
		return err
	}
	rows, err := resourdb.List(ctx, db, resourdb.InstanceTable, resourdb.ParseInstance)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(i resourdb.Instance) bool { return i.ID.String() == replica && i.Problem == problem }) {
		s.fault("%s of %s does not say %q: %v", resourdb.InstanceTable, replica, problem, rows)
	}
	if err := s.in(ctx, away.Name, "ip link del "+link+"; docker rm -f stranger"); err != nil {
		return err
	}
	if _, err := s.awaitSaid(ctx, ""); err != nil {
		return err
	}
	s.say("it is gone, and nothing is wrong any more")
	return nil
}

// backup puts the replica's container and file on a second node, whose agent then takes it for its own.
func (s *stage) backup(ctx context.Context, home, away *node) error {
	at, err := home.docker.ContainerInspect(ctx, replica)
	if err != nil {
		return err
	}
	tarball, err := home.docker.ImageSave(ctx, []string{at.Image})
	if err != nil {
		return err
	}
	defer tarball.Close()
	loaded, err := away.docker.ImageLoad(ctx, tarball)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, loaded.Body)
	if err := errors.Join(err, loaded.Body.Close()); err != nil {
		return err
	}
	folder := filepath.Join(netmap.VolumesDir, replica, volume)
	if err := os.CopyFS(away.Path(folder), os.DirFS(home.Path(folder))); err != nil {
		return err
	}
	file := filepath.Join("replicas", replica+".json")
	text, err := os.ReadFile(home.agentPath(file))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(away.agentPath(file)), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(away.agentPath(file), text, 0o600); err != nil {
		return err
	}
	agent, err := away.docker.ContainerInspect(ctx, suite.Agent)
	if err != nil {
		return err
	}
	began := time.Now()
	err = s.in(ctx, away.Name, "docker create --name "+holder+" --network none "+agent.Image+" pause && docker create --name "+replica+
		" --network container:"+holder+" -v "+strings.Join(at.HostConfig.Binds, " -v ")+" "+at.Image+" && docker kill "+suite.Agent)
	if err != nil {
		return err
	}
	// Who is believed in says so while the other one is there; the manager may be quicker than anybody's look.
	limit, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	said := ""
	for gone := false; !gone; {
		if pause(limit) != nil {
			return fmt.Errorf("the second %s is on %s after %v", replica, away.Name, settleTime)
		}
		all, err := s.suite.Services(limit)
		for _, v := range all {
			if err == nil && v.Name == service && v.Problem != "" {
				said = v.Problem
			}
		}
		records, err := s.managerRecords(0)
		if err != nil {
			return err
		}
		left, err := away.traces(limit, replica)
		ops, outcomes := begun(records, replica, orders.Evict)
		gone = err == nil && len(left) == 0 && len(ops) > 0 && outcomes[len(outcomes)-1] == orders.Committed
	}
	s.say("a backup on %s (%s): gone after %v, nsctl services said: %s", away.Name, address.MAC(away.Name, replica),
		time.Since(began).Round(100*time.Millisecond), said)
	if _, err := s.awaitSaid(ctx, ""); err != nil {
		return err
	}
	return nil
}

// awaitSaid waits until nsctl services says something of the service, or with "" that nothing is wrong.
func (s *stage) awaitSaid(ctx context.Context, want string) (problem string, err error) {
	limit, cancel := context.WithTimeout(ctx, raiseTime)
	defer cancel()
	for {
		all, err := s.suite.Services(limit)
		for _, v := range all {
			if v.Name != service {
				continue
			}
			problem = v.Problem
			if err == nil && (want == "" && problem == "" || want != "" && strings.Contains(problem, want)) {
				return problem, nil
			}
		}
		if pause(limit) != nil {
			return "", fmt.Errorf("nsctl services says %q for %v, want %q", problem, raiseTime, want)
		}
	}
}
