package suite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/resourdb"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// Host is a path below a node's /host as this machine sees it, also while the node is dead.
func (s *Suite) Host(n testbed.Node, path string) string { return filepath.Join(n.Dir, path) }

// Volume is the folder of a replica's volume on a node.
func (s *Suite) Volume(n testbed.Node, replica, volume string) string {
	return s.Host(n, filepath.Join(netmap.VolumesDir, replica, volume))
}

// Journal is the folder of an agent's journal.
func (s *Suite) Journal(n testbed.Node) string {
	return s.Host(n, filepath.Join(netmap.AgentDir, "journal"))
}

// Freezers is a glob pattern of the cgroups of a node's service containers, in the hierarchy that freezes them.
func (s *Suite) Freezers(n testbed.Node) string {
	dir, ok := n.Cgroups["freezer"]
	if !ok {
		dir = n.Cgroups[""] // v2
	}
	return filepath.Join(dir, "netservices", "*")
}

// AgentPID is the agent's process as this machine counts.
func (s *Suite) AgentPID(ctx context.Context, n testbed.Node) (int, error) {
	return s.ContainerPID(ctx, n, Agent)
}

// HelperPID is the agent's helper's process as this machine counts.
func (s *Suite) HelperPID(ctx context.Context, n testbed.Node) (int, error) {
	return s.ContainerPID(ctx, n, helperContainer)
}

// ContainerPID is the first process of a running container of a node as this machine counts.
func (s *Suite) ContainerPID(ctx context.Context, n testbed.Node, name string) (int, error) {
	docker, err := vswitch.DockerAt(n.DockerSocket())
	if err != nil {
		return 0, err
	}
	defer docker.Close()
	c, err := docker.ContainerInspect(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", n.Name, err)
	}
	if !c.State.Running {
		return 0, fmt.Errorf("%s: %s is %s", n.Name, name, c.State.Status)
	}
	pid, err := outside(n, c.State.Pid)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", n.Name, name, err)
	}
	return pid, nil
}

// Snapshot is the network as one node's database shows it.
func (s *Suite) Snapshot(ctx context.Context, n testbed.Node) (netmap.Snapshot, error) {
	dbs, err := sonicdb.Open(n.Path("/"))
	if err != nil {
		return netmap.Snapshot{}, err
	}
	defer dbs.Close()
	db, err := resourdb.Open(ctx, dbs)
	if err != nil {
		return netmap.Snapshot{}, err
	}
	return db.Snapshot(ctx)
}

// outside translates a PID that a node's dockerd says. Numbers repeat from node to node: the cgroup tells them apart.
func outside(n testbed.Node, pid int) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	want := strconv.Itoa(pid)
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		_, line, _ := bytes.Cut(text, []byte("\nNSpid:"))
		line, _, _ = bytes.Cut(line, []byte("\n"))
		ids := strings.Fields(string(line)) // here, in the node, in the container
		if len(ids) < 2 || ids[1] != want || !inNode(n, filepath.Dir(path)) {
			continue
		}
		return strconv.Atoi(ids[0])
	}
	return 0, fmt.Errorf("no process is %d in the node", pid)
}

// inNode says whether a process, by its folder in /proc, is in a cgroup of the node.
func inNode(n testbed.Node, proc string) bool {
	text, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[2] == "/" {
			continue
		}
		for _, dir := range n.Cgroups {
			if at := strings.Index(dir, "/sonic-vs/"); at >= 0 && strings.HasPrefix(fields[2]+"/", dir[at:]+"/") {
				return true
			}
		}
	}
	return false
}

// Processes lists the processes of a node that run a program, as this machine counts.
func Processes(n testbed.Node, program string) (pids []int) {
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil // a pattern that is right
	}
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(text)) != program || !inNode(n, filepath.Dir(path)) {
			continue // it ended, or is another one
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
