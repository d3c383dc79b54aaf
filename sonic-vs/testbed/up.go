package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sonic-netservices/build/rootfs"
	"sonic-netservices/sonic-vs/vswitch"
)

// Options say what to raise.
type Options struct {
	Topology string // file
	Instance string // default: the topology's name
	Restart  Restart
	Out      string // folder that gets nsctl.yaml and pki/; "": none
	Binary   string // the sonic-vs program that becomes the nodes' first process; default: this program
}

// Restart is how a switch restarts a failed feature: SONiC leaves it to systemd.
type Restart struct {
	Sec        float64 `json:"sec"`         // pause before a restart, seconds
	LimitBurst int     `json:"limit_burst"` // so many starts ...
	LimitSec   float64 `json:"limit_sec"`   // ... in so many seconds, then never again
}

// SONiCRestart is what a switch has: 30 s, 3 starts in 20 minutes.
func SONiCRestart() Restart { return Restart{Sec: 30, LimitBurst: 3, LimitSec: 1200} }

// Up raises an instance, or those parts of it that are not there. What stands and lives is left alone, so a second Up
// changes nothing and one after a crash repairs. On failure everything stays for inspection; Down removes it.
func Up(ctx context.Context, o Options) (*Testbed, error) {
	topo, err := ReadTopology(o.Topology)
	if err != nil {
		return nil, err
	}
	if o.Instance == "" {
		o.Instance = topo.Name
	}
	if !instanceName.MatchString(o.Instance) {
		return nil, fmt.Errorf("instance %q: want %s", o.Instance, instanceName)
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}

	// Up to here nothing was touched.
	lock, err := takeLock(ctx, o.Instance)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	u := &raising{Options: o, topo: topo, hierarchies: all, lock: lock}
	if err := u.begin(ctx); err != nil {
		return nil, err
	}
	if err := u.wire(); err != nil {
		return nil, err
	}
	if err := u.start(ctx); err != nil {
		return nil, err
	}
	if u.changed {
		slog.Info("up", "instance", o.Instance)
	} else {
		slog.Info("already up", "instance", o.Instance)
	}
	return look(o.Instance, topo)
}

// raising is one run of Up, under the instance's lock.
type raising struct {
	Options
	topo        *Topology
	hierarchies []hierarchy
	lock        *os.File
	base        string
	changed     bool // something was not there
}

// begin finds the base root and records the instance before anything of it exists.
func (u *raising) begin(ctx context.Context) error {
	want := &state{Topology: u.topo, Restart: u.Restart}
	if u.Out != "" {
		out, err := filepath.Abs(u.Out)
		if err != nil {
			return err
		}
		want.Nsctl = filepath.Join(out, "nsctl.yaml")
	}
	have, err := readState(u.Instance)
	switch {
	case err == nil:
		if !sameJSON(have.Topology, want.Topology) || have.Restart != want.Restart {
			return fmt.Errorf("instance %s is up with another topology or other restart settings: down it first", u.Instance)
		}
		want.Base = have.Base
		if _, err := os.Stat(want.Base); err != nil && want.Base != "" {
			return fmt.Errorf("base root of the instance: %w", err)
		}
	case errors.Is(err, fs.ErrNotExist):
		// What is there without a record is of no known topology, such as the disks that survive a reboot.
		if err := remove(ctx, u.Instance); err != nil {
			return fmt.Errorf("remove what an earlier instance left: %w", err)
		}
		if len(u.topo.Nodes) > 0 {
			if want.Base, err = rootfs.Switch.Ensure(ctx); err != nil {
				return err
			}
		}
		u.changed = true
	default:
		return err
	}
	u.base = want.Base
	if err := want.write(u.Instance); err != nil {
		return fmt.Errorf("record the instance: %w", err)
	}
	return writeNsctl(u.Instance, u.topo, want.Nsctl)
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// wire makes folders, namespaces and links.
func (u *raising) wire() error {
	for _, n := range u.topo.Nodes {
		for _, dir := range []string{"upper", "work", "root", "docker", "host"} {
			if err := os.MkdirAll(dataDir(u.Instance, n.Name, dir), 0o755); err != nil {
				return err
			}
		}
		if err := u.did(ensureNetns(u.Instance, n.Name)); err != nil {
			return err
		}
	}
	for _, c := range u.topo.Clients {
		if err := u.did(ensureNetns(u.Instance, c.Name)); err != nil {
			return err
		}
	}
	for i, l := range u.topo.Links {
		if err := u.wireLink(i, l); err != nil {
			return err
		}
	}
	for _, c := range u.topo.Clients {
		// The client's packets must fit the segment; the access port may be wider.
		client := linkEnd{netnsPath(u.Instance, c.Name), clientPort, u.topo.Segment.MTU}
		if err := u.did(ensureLink(client, linkEnd{netns: netnsPath(u.Instance, c.Port.Node), name: c.Port.Port})); err != nil {
			return err
		}
		if err := configureClient(u.Instance, c, u.topo.Segment); err != nil {
			return fmt.Errorf("client %s: %w", c.Name, err)
		}
	}
	return u.wireSites()
}

// did remembers whether a step had something to do.
func (u *raising) did(made bool, err error) error {
	u.changed = u.changed || made
	return err
}

// start starts the nodes that are dead, all at once, and waits until every node answers.
func (u *raising) start(ctx context.Context) error {
	if len(u.topo.Nodes) == 0 {
		return nil
	}
	configs := switchConfigs(u.Instance, u.topo, u.Restart)
	errs := make([]error, len(u.topo.Nodes))
	var wg sync.WaitGroup
	for i, n := range u.topo.Nodes {
		pid := findInit(u.hierarchies, u.Instance, n.Name)
		alive := pid != 0
		if !alive {
			u.changed = true
		}
		wg.Go(func() {
			if !alive {
				if errs[i] = u.startNode(ctx, configs[n.Name]); errs[i] != nil {
					errs[i] = fmt.Errorf("start %s: %w", n.Name, errs[i])
					return
				}
				slog.Info("started", "node", n.Name)
			}
			errs[i] = u.waitReady(ctx, n.Name)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// startNode starts one dead node: what its last life left is cleared as a power cycle would, its disk stays.
func (u *raising) startNode(ctx context.Context, c vswitch.Config) error {
	if err := sweepCgroups(ctx, u.nodeCgroups(c.Name)); err != nil {
		return err
	}
	if err := makeCgroups(u.hierarchies, u.Instance, c.Name); err != nil {
		return fmt.Errorf("make cgroups: %w", err)
	}
	var names []string
	for _, p := range c.Ports {
		names = append(names, p.Name)
	}
	if err := resetNetns(netnsPath(u.Instance, c.Name), names); err != nil {
		return fmt.Errorf("reset network namespace: %w", err)
	}
	spec := u.topo.Nodes[slices.IndexFunc(u.topo.Nodes, func(n SwitchSpec) bool { return n.Name == c.Name })]
	return runStage(u.Binary, u.lock, stageConfig{
		Name: c.Name, Instance: u.Instance, Base: u.base, Dir: dataDir(u.Instance, c.Name),
		Netns: netnsPath(u.Instance, c.Name), Hierarchies: u.hierarchies, Hosts: u.hosts(), Switch: c, NoCRIU: spec.NoCRIU,
	})
}

func (u *raising) nodeCgroups(node string) []string {
	var dirs []string
	for _, h := range u.hierarchies {
		dirs = append(dirs, h.dir(u.Instance, node))
	}
	return dirs
}

// hosts is /etc/hosts of a node: every switch by the name its certificate has.
func (u *raising) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, n := range u.topo.Nodes {
		fmt.Fprintf(&b, "%s %s\n", n.Loopback, n.Name)
	}
	return b.String()
}
