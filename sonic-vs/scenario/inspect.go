package scenario

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/nftables"

	"sonic-netservices/examples/kms/keylog"
	"sonic-netservices/mig-agent/journal"
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

// runningOn names the nodes with a running container of the replica.
func (s *stage) runningOn(ctx context.Context) []string {
	var names []string
	for _, n := range s.nodes {
		if c, err := n.docker.ContainerInspect(ctx, replica); err == nil && c.State.Running {
			names = append(names, n.Name)
		}
	}
	return names
}

// inspect looks at one node: running says that the replica runs there.
func (s *stage) inspect(ctx context.Context, n *node) (running bool, faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, n.Name+": "+fmt.Sprintf(format, args...))
	}
	all, err := n.docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		fault("list containers: %v", err)
		return false, faults
	}
	state := map[string]string{}
	count := 0
	for _, c := range all {
		state[strings.TrimPrefix(c.Names[0], "/")] = c.State
		if c.State == "running" {
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

// frozen lists the cgroups of a node that do not run.
func (n *node) frozen() []string {
	var dirs []string
	for _, top := range []string{n.Cgroups["freezer"], n.Cgroups[""]} {
		if top == "" {
			continue
		}
		filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil // a cgroup that is just going
			}
			v1, _ := os.ReadFile(filepath.Join(path, "freezer.state"))
			v2, _ := os.ReadFile(filepath.Join(path, "cgroup.events"))
			if len(v1) > 0 && strings.TrimSpace(string(v1)) != "THAWED" || strings.Contains(string(v2), "frozen 1") {
				dirs = append(dirs, path)
			}
			return nil
		})
	}
	return dirs
}

// leftMounts lists mounts that belong to no running container: one overlay each is right.
func (n *node) leftMounts(running int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", n.Pid))
	if err != nil {
		return []string{err.Error()}
	}
	var overlays, others []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		switch point := fields[4]; {
		case strings.HasPrefix(point, "/var/lib/docker/overlay2/"):
			overlays = append(overlays, point)
		case strings.Contains(point, "criu"), strings.Contains(point, "/op/"):
			others = append(others, point)
		}
	}
	if len(overlays) != running {
		others = append(others, fmt.Sprintf("%d overlays for %d running containers", len(overlays), running))
	}
	return others
}

// holderLinks lists the node's ends of the links to holders.
func (s *stage) holderLinks(n *node) (names []string, err error) {
	err = s.suite.Bed.InNetns(n.Name, func() error {
		links, err := net.Interfaces()
		for _, l := range links {
			if strings.HasPrefix(l.Name, "nsh") {
				names = append(names, l.Name)
			}
		}
		return err
	})
	return names, err
}

// unfinished lists the operations that the node's journal has not ended.
func (n *node) unfinished() []string {
	j, err := journal.Open(n.agentPath("journal"), "scenario")
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", n.Name, err)}
	}
	list, err := j.List()
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", n.Name, err)}
	}
	var faults []string
	for _, e := range list {
		if recs, err := j.Load(e.Op, e.Role); err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", n.Name, err))
		} else if !journal.Finished(recs) {
			faults = append(faults, fmt.Sprintf("%s: operation %s is at %s as %s", n.Name, e.Op, journal.Last(recs), e.Role))
		}
	}
	return faults
}

// heldBack lists the packet rules and queues in the network namespace of the replica that serves.
func (n *node) heldBack(ctx context.Context) []string {
	c, err := n.docker.ContainerInspect(ctx, holder)
	if err != nil {
		return []string{err.Error()}
	}
	proc := n.Path(fmt.Sprintf("/proc/%d", c.State.Pid))
	var faults []string
	queues, err := os.ReadFile(filepath.Join(proc, "net/netfilter/nfnetlink_queue"))
	if err == nil && len(queues) > 0 {
		faults = append(faults, "packet queue in the holder: "+strings.TrimSpace(string(queues)))
	}
	ns, err := os.Open(filepath.Join(proc, "ns/net"))
	if err != nil {
		return append(faults, err.Error())
	}
	defer ns.Close()
	nft, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return append(faults, err.Error())
	}
	chains, err := nft.ListChains()
	if err != nil {
		return append(faults, fmt.Sprintf("list chains: %v", err))
	}
	for _, chain := range chains {
		rules, err := nft.GetRules(chain.Table, chain)
		if err != nil {
			faults = append(faults, fmt.Sprintf("list rules: %v", err))
		} else if len(rules) > 0 {
			faults = append(faults, fmt.Sprintf("%d rules in chain %s of the holder", len(rules), chain.Name))
		}
	}
	return faults
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
		want := []string{}
		if n.Name == owner {
			want = []string{owner + " " + string(netmap.Running)}
		}
		if rows, err := n.instances(ctx); err != nil || !slices.Equal(rows, want) {
			faults = append(faults, fmt.Sprintf("%s: %s says %q, want %q (%v)", n.Name, resourdb.InstanceTable, rows, want, err))
		}
	}
	return faults
}

// instances are the node's rows of the replica.
func (n *node) instances(ctx context.Context) ([]string, error) {
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
func (s *stage) healthy(ctx context.Context) error {
	conn := http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}, Timeout: time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+kmsAddress+"/healthz", nil)
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
func (s *stage) serials(owner string) (last uint64, err error) {
	path := filepath.Join(s.suite.Volume(s.node(owner).Node, replica, volume), "keys.log")
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	entries, _, err := keylog.Read(f)
	if err != nil {
		return 0, fmt.Errorf("keys.log of %s: %w", owner, err)
	}
	for i, e := range entries {
		if i > 0 && e.Serial <= entries[i-1].Serial {
			return last, fmt.Errorf("keys.log of %s: line %d has serial %d after %d", owner, i+1, e.Serial, entries[i-1].Serial)
		}
		last = e.Serial
	}
	return last, nil
}
