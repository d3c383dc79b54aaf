package scenario

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/examples/kms/keylog"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
	"sonic-netservices/sonic-vs/suite"
)

// unsettled lists what is not as it must be once a move has ended, however it ended, and says who has the service. An
// empty list means: it runs exactly once, everybody says so, and nothing is left over anywhere.
func (s *stage) unsettled(ctx context.Context) (owner string, faults []string) {
	var owners []string
	for _, n := range s.nodes {
		running, more := s.inspect(ctx, n)
		faults = append(faults, more...)
		if running {
			owners = append(owners, n.Name)
		}
	}
	if len(owners) != 1 {
		return "", append(faults, fmt.Sprintf("%s runs on %d nodes: %s", replica, len(owners), strings.Join(owners, ", ")))
	}
	owner = owners[0]
	faults = append(faults, s.disagree(ctx, owner)...)
	if err := s.healthy(ctx); err != nil {
		faults = append(faults, fmt.Sprintf("%s does not answer at its address: %v", service, err))
	}
	return owner, faults
}

// inspect looks at one node: running says that the replica runs there.
func (s *stage) inspect(ctx context.Context, n *node) (running bool, faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, n.Name+": "+fmt.Sprintf(format, args...))
	}
	state, err := n.containers(ctx)
	if err != nil {
		fault("%v", err)
		return false, faults
	}
	count := 0
	for _, is := range state {
		if is == "running" {
			count++
		}
	}
	for _, name := range []string{suite.Agent, helper} {
		if state[name] != "running" {
			fault("%s is %q", name, state[name])
		}
	}
	running = state[replica] == "running"
	switch {
	case running && state[holder] != "running":
		fault("%s is %q beside a running %s", holder, state[holder], replica)
	case !running && (state[replica] != "" || state[holder] != ""):
		fault("%s is %q, %s is %q", replica, state[replica], holder, state[holder])
	}
	for _, path := range []string{filepath.Join(netmap.VolumesDir, replica), filepath.Join(netmap.AgentDir, "replicas", replica+".json")} {
		if _, err := os.Lstat(n.Path(path)); running != (err == nil) {
			fault("%s: there is %v, runs is %v", path, err == nil, running)
		}
	}
	for _, dir := range []string{"work/op", "work/armed"} {
		left, err := os.ReadDir(n.Path(filepath.Join(netmap.AgentDir, dir)))
		if err == nil && len(left) > 0 {
			fault("%s has %d entries, such as %s", dir, len(left), left[0].Name())
		}
	}
	for _, dir := range n.frozen() {
		fault("frozen: %s", dir)
	}
	for _, m := range n.leftMounts(count) {
		fault("mount: %s", m)
	}
	want := 0
	if running {
		want = 1
	}
	if left, err := s.holderLinks(n); err != nil || len(left) != want {
		fault("interfaces of holders: %q (%v)", left, err)
	}
	faults = append(faults, n.unfinished()...)
	if running {
		for _, what := range n.heldBack(ctx) {
			fault("%s", what)
		}
	}
	return running, faults
}

// containers are the states of the node's containers by name.
func (n *node) containers(ctx context.Context) (map[string]string, error) {
	all, err := n.docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	state := map[string]string{}
	for _, c := range all {
		state[strings.TrimPrefix(c.Names[0], "/")] = c.State
	}
	return state, nil
}

// disagree lists who says something else than that the owner has the replica: the manager, and the rows of every node.
func (s *stage) disagree(ctx context.Context, owner string) (faults []string) {
	all, err := s.suite.Services(ctx)
	if err != nil {
		faults = append(faults, err.Error())
	}
	said := []string{}
	for _, v := range all {
		for _, i := range v.Instances {
			if v.Name == service {
				said = append(said, i.Node+" "+i.State)
			}
		}
		if v.Problem != "" {
			faults = append(faults, "nsctl services: "+v.Problem)
		}
	}
	if want := []string{owner + " " + string(netmap.Running)}; !slices.Equal(said, want) {
		faults = append(faults, fmt.Sprintf("nsctl services says %q, want %q", said, want))
	}
	for _, n := range s.nodes {
		want := []string{owner + " " + string(netmap.Running)}
		rows, err := n.instances(ctx, replica)
		copyless := n.Name != owner && len(rows) == 0 // resource-sync may bring the owner's row here, or not run
		if err != nil || !copyless && !slices.Equal(rows, want) {
			faults = append(faults, fmt.Sprintf("%s: %s says %q, want %q (%v)", n.Name, resourdb.InstanceTable, rows, want, err))
		}
	}
	return faults
}

// instances are the node's rows of a replica.
func (n *node) instances(ctx context.Context, replica string) ([]string, error) {
	db, err := resourdb.Open(ctx, n.db)
	if err != nil {
		return nil, err
	}
	rows, err := resourdb.List(ctx, db, resourdb.InstanceTable, resourdb.ParseInstance)
	said := []string{}
	for _, r := range rows {
		if r.ID.String() == replica {
			said = append(said, r.Node+" "+string(r.State))
		}
	}
	return said, err
}

// healthy asks the service from where its clients are.
func (s *stage) healthy(ctx context.Context) error { return s.answers(ctx, kmsAddress) }

// answers asks a service at its address.
func (s *stage) answers(ctx context.Context, address string) error {
	conn := http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}, Timeout: time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return err
	}
	reply, err := conn.Do(req)
	if err != nil {
		return err
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("healthz: %s", reply.Status)
	}
	return nil
}

// serials checks that the volume of the owner only ever counts upward.
func (s *stage) serials(owner string) error {
	f, err := os.Open(filepath.Join(s.suite.Volume(s.node(owner).Node, replica, volume), "keys.log"))
	if err != nil {
		return err
	}
	defer f.Close()
	entries, _, err := keylog.Read(f)
	if err != nil {
		return fmt.Errorf("keys.log of %s: %w", owner, err)
	}
	for i := 1; i < len(entries); i++ {
		if now, before := entries[i].Serial, entries[i-1].Serial; now <= before {
			return fmt.Errorf("keys.log of %s: line %d has serial %d after %d", owner, i+1, now, before)
		}
	}
	return nil
}
