package scenario

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"

	"sonic-netservices/mig-agent/journal"
)

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
