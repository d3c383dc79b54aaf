package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/testbed"
)

// kept connections of the load: those that a live move must not break.
const kept = 50

// rowTime is how long a row of the database may be behind the agent.
const rowTime = 3 * time.Second

// initialState proves that the switches are separate machines to each other, and that nothing waits on the target.
func (d *demo) initialState(ctx context.Context) error {
	const when = "before the first move"
	ids, disks := map[string]string{}, map[string]string{}
	for _, n := range d.bed.Nodes {
		id, err := d.run(ctx, n.Name, "docker", "info", "--format", "{{.ID}}")
		if err != nil {
			return err
		}
		if err := d.facts.add(unlike(when, n.Name+": docker info ID", id, n.Name, ids)); err != nil {
			return err
		}
		disk, err := inode(n.Path("/var/lib/docker"))
		if err != nil {
			return err
		}
		if err := d.facts.add(unlike(when, n.Name+": device:inode of /var/lib/docker", disk, n.Name, disks)); err != nil {
			return err
		}
	}
	target, err := d.bed.Node(there)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"docker", "image", "ls", "-aq", "--no-trunc", image},
		{"docker", "ps", "-aq", "--filter", d.live.filter()},
	} {
		if err := d.says(ctx, when, there, "", args...); err != nil {
			return err
		}
	}
	images, err := d.run(ctx, there, "docker", "image", "ls", "-aq", "--no-trunc")
	if err != nil {
		return err
	}
	if err := d.facts.equal(when, there+": has image "+short(d.live.imageID), false, strings.Contains(images, d.live.imageID)); err != nil {
		return err
	}
	return d.facts.equal(when, there+": volumes of "+d.live.service, "", d.volumes(target, d.live))
}

// unlike is the fact that no other node has the same value.
func unlike(when, what, value, node string, seen map[string]string) Fact {
	f := Fact{When: when, What: what, Want: "no other node's", Got: value, Holds: true}
	if other, ok := seen[value]; ok {
		f.Got, f.Holds = value+", as "+other, false
	}
	seen[value] = node
	return f
}

func inode(path string) (string, error) {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Sprintf("%d:%d", s.Dev, s.Ino), nil
}

// before is what a move finds.
type before struct {
	peers  map[string]bool // clients with an open connection
	others []string        // cgroups on the source that belong to other services
}

func (d *demo) beforeMove(ctx context.Context, s subject, from string) (before, error) {
	var b before
	source, err := d.bed.Node(from)
	if err != nil {
		return b, err
	}
	own, err := d.run(ctx, from, "docker", "ps", "-q", "--no-trunc", "--filter", s.filter())
	if err != nil {
		return b, err
	}
	cgroups, err := d.cgroups(source)
	if err != nil {
		return b, err
	}
	for _, c := range cgroups {
		if !strings.Contains(own, c) {
			b.others = append(b.others, c)
		}
	}
	b.peers, err = d.peers(ctx, s, from)
	return b, err
}

// afterMove looks for what a move may leave on the source and must bring to the target. The load goes on.
func (d *demo) afterMove(ctx context.Context, n int, mode string, s subject, from, to string, was before) error {
	when := fmt.Sprintf("after move %d, %s %s from %s to %s", n, s.service, mode, from, to)
	source, err := d.bed.Node(from)
	if err != nil {
		return err
	}
	if err := d.says(ctx, when, from, "", "docker", "ps", "-aq", "--filter", s.filter()); err != nil {
		return err
	}
	cgroups, err := d.cgroups(source)
	if err != nil {
		return err
	}
	if err := d.facts.equal(when, from+": containers running or frozen, but for those of other services",
		strings.Join(was.others, " "), strings.Join(cgroups, " ")); err != nil {
		return err
	}
	if err := d.facts.equal(when, from+": volumes of "+s.service, "", d.volumes(source, s)); err != nil {
		return err
	}
	if err := d.says(ctx, when, to, s.containers(), "docker", "ps", "--format", "{{.Names}}", "--filter", s.filter()); err != nil {
		return err
	}
	if mode != "live" {
		return nil
	}
	after, err := d.peers(ctx, s, to)
	if err != nil {
		return err
	}
	same := 0
	for peer := range after {
		if was.peers[peer] {
			same++
		}
	}
	return d.facts.atLeast(when, to+": ss in the holder shows connections from before the move", kept, same)
}

// cgroups are the services' containers that run or are frozen on a node.
func (d *demo) cgroups(n testbed.Node) ([]string, error) {
	paths, err := filepath.Glob(d.suite.Freezers(n))
	return dirs(paths), err
}

// dirs are the folders among paths: a v1 hierarchy has its files beside them.
func dirs(paths []string) []string {
	var all []string
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			all = append(all, filepath.Base(p))
		}
	}
	return all
}

// finalState compares what nsctl, Docker and resour_DB say in the end.
func (d *demo) finalState(ctx context.Context) error {
	const when = "in the end"
	services, err := d.suite.Services(ctx)
	if err != nil {
		return err
	}
	var places []string
	for _, s := range services {
		for _, i := range s.Instances {
			places = append(places, fmt.Sprintf("%s %s %s %s", i.Container, i.State, i.Node, i.ServiceAddress))
		}
	}
	want := fmt.Sprintf("%s running %s %s", d.live.id(), there, d.live.address)
	if err := d.facts.equal(when, "nsctl services", want, strings.Join(places, ", ")); err != nil {
		return err
	}
	for _, n := range d.bed.Nodes {
		names, state := "", ""
		if n.Name == there {
			names, state = d.live.containers(), string(netmap.Running)
		}
		if err := d.says(ctx, when, n.Name, names, "docker", "ps", "-a", "--format", "{{.Names}}", "--filter", "name="+program); err != nil {
			return err
		}
		row := strings.Join([]string{"RESOUR_INSTANCE", d.live.service, "0", n.Name}, "|")
		if err := d.says(ctx, when, n.Name, state, "redis-cli", "-n", "7", "hget", row, "state"); err != nil {
			return err
		}
	}
	return nil
}

// says notes what a command in a node prints. A database may be a moment behind.
func (d *demo) says(ctx context.Context, when, node, want string, args ...string) error {
	for begun := time.Now(); ; {
		got, err := d.run(ctx, node, args...)
		if err != nil {
			return err
		}
		if got == want || time.Since(begun) > rowTime {
			return d.facts.equal(when, "sonic-vs exec "+node+" "+strings.Join(args, " "), oneLine(want), oneLine(got))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// run gives what a command in a node prints.
func (d *demo) run(ctx context.Context, node string, args ...string) (string, error) {
	out, err := d.bed.Exec(ctx, node, args...).Output()
	if err != nil {
		said := ""
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			said = string(exit.Stderr)
		}
		return "", fmt.Errorf("%s: %s: %v %s", node, strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(string(out)), nil
}

// peers are the clients' ends of the service's open connections, as ss sees them in its holder.
func (d *demo) peers(ctx context.Context, s subject, node string) (map[string]bool, error) {
	pid, err := d.run(ctx, node, "docker", "inspect", "--format", "{{.State.Pid}}", s.id().Holder())
	if err != nil {
		return nil, err
	}
	text, err := d.run(ctx, node, "nsenter", "-t", pid, "-n", "ss", "-tnH", "state", "established", "sport", "=", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	peers := map[string]bool{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 4 { // received, sent, local, peer
			peers[f[3]] = true
		}
	}
	return peers, nil
}

// volumes lists what a node has of the service's volumes.
func (d *demo) volumes(n testbed.Node, s subject) string {
	all, _ := filepath.Glob(d.suite.Host(n, filepath.Join(netmap.VolumesDir, s.id().String()))) // the pattern is good
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	return strings.Join(all, " ")
}

// filter lets docker ps show the service's container and its holder, nothing else.
func (s subject) filter() string { return "name=^/" + s.id().String() + `(\.net)?$` }

// containers is what docker ps prints of them, newest first.
func (s subject) containers() string { return s.id().String() + "\n" + s.id().Holder() }

func short(id string) string { return strings.TrimPrefix(id, "sha256:")[:12] }
