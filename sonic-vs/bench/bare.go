package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/crit"
	"github.com/vishvananda/netns"

	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
)

// bareContainer is a container that runc alone runs, checkpoints and restores: what CRIU costs without a move around
// it. It is made from the service's own container on the same switch: root files, process, mounts, security and CRIU
// configuration are those, its network namespace has a loopback only. Two connections are open, as two clients keep one
// each in a move; no request is on them.
type bareContainer struct {
	bed  *testbed.Testbed
	node testbed.Node
	id   string
}

// bareRun is one checkpoint and restore, wall time of the two commands.
type bareRun struct {
	CheckpointMS float64 `json:"checkpoint_ms"`
	FreezingMS   float64 `json:"freezing_ms"` // of that, by CRIU's count: it looks every 100 ms whether all is frozen
	RestoreMS    float64 `json:"restore_ms"`
	Bytes        int64   `json:"bytes"` // of the image
}

// Folders in the node.
const (
	bundleDir = "/var/lib/bench-bare" // on the switch's disk, as a container's root files are
	imageDir  = "/run/bench-bare"     // a tmpfs
)

func (r bareRun) total() float64 { return r.CheckpointMS + r.RestoreMS }

// newBare copies the container of an instance into a bundle of runc's.
func newBare(ctx context.Context, s *suite.Suite, node testbed.Node, container string) (b *bareContainer, err error) {
	b = &bareContainer{bed: s.Bed, node: node, id: "bench-bare"}
	b.remove(ctx) // of a bench that was killed
	defer func() {
		if err != nil {
			b.remove(ctx)
		}
	}()
	found, err := b.run(ctx, "docker", "inspect", "--format", "{{.Id}} {{.GraphDriver.Data.MergedDir}}", container)
	if err != nil {
		return nil, err
	}
	id, merged, _ := strings.Cut(strings.TrimSpace(found), " ")
	for _, command := range [][]string{
		{"mkdir", imageDir, bundleDir},
		{"mount", "-t", "tmpfs", "tmpfs", imageDir},
		{"mkdir", imageDir + "/image", imageDir + "/work", bundleDir + "/mounts"},
		{"cp", "-a", merged, bundleDir + "/rootfs"},
		{"ip", "netns", "add", b.id},
		{"ip", "-n", b.id, "link", "set", "lo", "up"},
	} {
		if _, err := b.run(ctx, command...); err != nil {
			return nil, err
		}
	}
	return b, b.configure(ctx, id)
}

// runcConfigs is where dockerd's containerd has the config.json of each container.
const runcConfigs = "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby"

// configure writes dockerd's own config.json, with another root, network namespace and cgroup, and copies of the files
// that dockerd mounts and removes with the container.
func (b *bareContainer) configure(ctx context.Context, id string) error {
	var c map[string]any
	if err := readJSON(b.node.Path(filepath.Join(runcConfigs, id, "config.json")), &c); err != nil {
		return err
	}
	sources, err := rewire(c, b.id)
	if err != nil {
		return fmt.Errorf("config.json of %.12s: %w", id, err)
	}
	for n, source := range sources {
		if _, err := b.run(ctx, "cp", "-a", source, mountCopy(n)); err != nil {
			return err
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(b.node.Path(bundleDir+"/config.json"), text, 0o644)
}

// rewire changes a config.json of dockerd's and says what has to be copied to its mountCopy.
func rewire(c map[string]any, id string) (sources []string, err error) {
	delete(c, "hooks")
	c["root"] = map[string]any{"path": bundleDir + "/rootfs"}
	linux, ok := c["linux"].(map[string]any)
	if !ok {
		return nil, errors.New("no linux")
	}
	linux["cgroupsPath"] = "/" + id
	spaces, _ := linux["namespaces"].([]any)
	network := false
	for _, s := range spaces {
		if s, ok := s.(map[string]any); ok && s["type"] == "network" {
			s["path"] = "/run/netns/" + id
			network = true
		}
	}
	if !network {
		return nil, errors.New("no network namespace")
	}
	mounts, _ := c["mounts"].([]any)
	for _, m := range mounts {
		m, ok := m.(map[string]any)
		if !ok || m["type"] != "bind" {
			continue
		}
		if source, ok := m["source"].(string); ok {
			m["source"] = mountCopy(len(sources))
			sources = append(sources, source)
		}
	}
	return sources, nil
}

func mountCopy(n int) string { return fmt.Sprintf("%s/mounts/%d", bundleDir, n) }

// measure starts the process, lets it settle, and takes it through one checkpoint and restore. The checkpoint leaves it
// running, as a move's does, so that its end is no part of the time.
func (b *bareContainer) measure(ctx context.Context) (r bareRun, err error) {
	defer b.run(context.WithoutCancel(ctx), "sh", "-c", "runc delete -f "+b.id+"; rm -rf "+imageDir+"/image/* "+imageDir+"/work/*")
	log := imageDir + "/log"
	// CRIU cannot dump a process whose output goes to a file outside its container. Of /dev/null it has its own.
	const quiet = " </dev/null >/dev/null 2>&1"
	runc := "runc --log " + log + " "
	start := runc + "run --detach --bundle " + bundleDir + " " + b.id + quiet + " || { cat " + log + "; exit 1; }"
	if _, err := b.run(ctx, "sh", "-c", start); err != nil {
		return r, err
	}
	conns, err := b.connect(ctx)
	if err != nil {
		return r, err
	}
	for _, c := range conns {
		defer c.Close()
	}
	select {
	case <-ctx.Done():
		return r, ctx.Err()
	case <-time.After(settle):
	}
	// The clock is the node's shell's: entering the node is no part of it.
	timed := func(command string) string {
		return "a=$(date +%s%N); " + command + " || { tail -n 5 " + log + " " + imageDir + "/work/*.log >&2; exit 1; }; b=$(date +%s%N); echo $((b-a))"
	}
	files := " --tcp-established --image-path " + imageDir + "/image --work-path " + imageDir + "/work "
	for _, step := range []struct {
		command string
		ms      *float64
	}{
		{timed(runc + "checkpoint --leave-running" + files + b.id + quiet), &r.CheckpointMS},
		{"runc delete -f " + b.id, nil},
		{timed(runc + "restore --detach --bundle " + bundleDir + files + b.id + quiet), &r.RestoreMS},
	} {
		out, err := b.run(ctx, "sh", "-c", step.command)
		if err != nil {
			return r, err
		}
		if step.ms == nil {
			continue
		}
		var ns float64
		if _, err := fmt.Sscan(out, &ns); err != nil {
			return r, fmt.Errorf("%s: %q: %w", step.command, out, err)
		}
		*step.ms = ns / 1e6
	}
	counted, err := crit.GetDumpStats(b.node.Path(imageDir + "/work"))
	if err != nil {
		return r, fmt.Errorf("CRIU's statistics: %w", err)
	}
	r.FreezingMS = float64(counted.GetFreezingTime()) / 1000
	out, err := b.run(ctx, "du", "-sb", imageDir+"/image")
	if err != nil {
		return r, err
	}
	if _, err := fmt.Sscan(out, &r.Bytes); err != nil {
		return r, fmt.Errorf("du: %q: %w", out, err)
	}
	return r, nil
}

// connect waits until the process listens and gives a connection to each of its doors.
func (b *bareContainer) connect(ctx context.Context) (conns []net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, port := range []string{"9000", "8080"} {
		for {
			c, err := b.dial(ctx, "127.0.0.1:"+port)
			if err == nil {
				conns = append(conns, c)
				break
			}
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("the bare process does not listen: %w", err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return conns, nil
}

// dial opens a connection inside the container's network namespace.
func (b *bareContainer) dial(ctx context.Context, address string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		var ns netns.NsHandle
		if ns, err = netns.GetFromPath(b.node.Path("/run/netns/" + b.id)); err != nil {
			return
		}
		defer ns.Close()
		if err = netns.Set(ns); err != nil {
			return
		}
		d := net.Dialer{Timeout: time.Second}
		d.SetMultipathTCP(false)
		c, err = d.DialContext(ctx, "tcp", address)
	}()
	<-done
	return c, err
}

// remove leaves nothing.
func (b *bareContainer) remove(ctx context.Context) {
	b.run(context.WithoutCancel(ctx), "sh", "-c", "runc delete -f "+b.id+"; umount -l "+imageDir+"; rm -rf "+imageDir+" "+bundleDir+"; ip netns del "+b.id)
}

// run gives the output of a command in the node.
func (b *bareContainer) run(ctx context.Context, command ...string) (string, error) {
	var said strings.Builder
	cmd := b.bed.Exec(ctx, b.node.Name, command...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil { // not wrapped: main takes an exit code for its own command's
		err = fmt.Errorf("%s: %s: %v: %s", b.node.Name, strings.Join(command, " "), err, strings.TrimSpace(said.String()+string(out)))
	}
	return string(out), err
}
