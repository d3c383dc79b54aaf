package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
)

// Options of the demo.
type Options struct {
	Topology string
	Instance string // default: the topology's name
	Out      string // gets nsctl.yaml and pki/
	Dir      string // gets what the demo shows
}

// What is moved, and where.
const (
	service = "kms"
	replica = "kms-0"
	volume  = "keys"
	image   = "kms:1.0.0"
	spec    = "examples/kms/kms.yaml"
	port    = 8080
	here    = "leaf1"
	there   = "leaf2"
	client  = "client"
)

// quiet is the pause before and after each move of a load: what its clients see without one.
const quiet = 4 * time.Second

// demo is one run.
type demo struct {
	Options
	bed     *testbed.Testbed
	suite   *suite.Suite
	address string // of the service, as deploy answered
	imageID string
	facts   facts
	moves   []suite.Move // all, in order
}

// Move runs the demo and prints a summary to out; progress goes to standard error.
func Move(ctx context.Context, o Options, out io.Writer) error {
	d := &demo{Options: o, facts: facts{path: filepath.Join(o.Dir, factsFile)}}
	if err := d.clear(); err != nil {
		return err
	}
	if err := d.raise(ctx); err != nil {
		return err
	}
	if err := d.deploy(ctx); err != nil {
		return err
	}
	for _, l := range []struct {
		name, mode string
		targets    []string
	}{
		{"1-live", "live", []string{there, here}},
		{"2-cold", "cold", []string{there, here}},
		{"3-live", "live", []string{there}},
	} {
		if err := d.load(ctx, l.name, l.mode, l.targets); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if err := d.finalState(ctx); err != nil {
		return err
	}
	return d.conclude(out)
}

// clear makes room in the folder, if what is in it is a demo's.
func (d *demo) clear() error {
	entries, err := os.ReadDir(d.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == factsFile })
	if len(entries) > 0 && !ours {
		return fmt.Errorf("%s is not empty and no demo's: name another folder with --dir", d.Dir)
	}
	if err := os.RemoveAll(d.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return err
	}
	return d.facts.write() // from now on the folder is known as ours
}

// raise gives switches without a past and the suite on them.
func (d *demo) raise(ctx context.Context) error {
	topo, err := testbed.ReadTopology(d.Topology)
	if err != nil {
		return err
	}
	if d.Instance == "" {
		d.Instance = topo.Name
	}
	up, err := testbed.Instances()
	if err != nil {
		return err
	}
	if slices.Contains(up, d.Instance) {
		step("take down the switches of before")
		if err := testbed.Down(ctx, d.Instance); err != nil {
			return err
		}
	}
	step("raise %d switches: %s", len(topo.Nodes), d.Topology)
	d.bed, err = testbed.Up(ctx, testbed.Options{Topology: d.Topology, Instance: d.Instance, Out: d.Out, Restart: testbed.SONiCRestart()})
	if err != nil {
		return err
	}
	step("install mig-agent on every switch and bt-manager on one, from their manifests")
	d.suite, err = suite.Install(ctx, d.bed, suite.Options{Out: d.Out})
	return err
}

// deploy gives the manager the image and runs the service.
func (d *demo) deploy(ctx context.Context) error {
	var tarball string
	err := images.With(ctx, d.bed.Nodes[0], func(sw images.Switch) (err error) {
		tarball, err = images.Build(ctx, sw.Docker, ".", service)
		return err
	})
	if err != nil {
		return err
	}
	step("nsctl image load %s", tarball)
	if _, err := d.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return err
	}
	step("nsctl deploy -f %s --node %s", spec, here)
	instances, err := d.suite.Deploy(ctx, spec, here)
	if err != nil {
		return err
	}
	if len(instances) != 1 {
		return fmt.Errorf("deploy answered %d instances, want 1", len(instances))
	}
	i := instances[0]
	step("  node %s (%s), service address %s, container %s, %s", i.Node, i.NodeAddress, i.ServiceAddress, i.Container, i.State)
	d.address, d.imageID = i.ServiceAddress, i.ImageID
	return d.initialState(ctx)
}

// load plays clients and moves the service under them, to each target in turn.
func (d *demo) load(ctx context.Context, name, mode string, targets []string) error {
	dir := filepath.Join(d.Dir, name)
	step("%s: 100 requests a second, 50 kept connections and 20 new ones a second", name)
	clients, err := d.startLoad(ctx, dir)
	if err != nil {
		return err
	}
	defer clients.kill()
	if err := clients.wait(ctx, quiet); err != nil {
		return err
	}
	for n, target := range targets {
		if err := d.move(ctx, dir, n+1, mode, target); err != nil {
			return err
		}
		if err := clients.wait(ctx, quiet); err != nil {
			return err
		}
	}
	if err := clients.stop(); err != nil {
		return err
	}
	last, err := d.bed.Node(targets[len(targets)-1])
	if err != nil {
		return err
	}
	return copyVolume(filepath.Join(dir, "volume"), d.suite.Volume(last, replica, volume))
}

// move orders one move and looks at both switches before and after.
func (d *demo) move(ctx context.Context, dir string, n int, mode, to string) error {
	from := map[string]string{here: there, there: here}[to]
	before, err := d.peers(ctx, from)
	if err != nil {
		return err
	}
	step("nsctl migrate %s --to %s --mode %s", service, to, mode)
	begin := time.Now()
	m, err := d.suite.Migrate(ctx, replica, to, mode)
	if err != nil {
		return err
	}
	e := load.Event{Kind: mode, Move: n, From: from, To: to, Begin: begin, End: time.Now()}
	for _, p := range m.Phases {
		e.Phases = append(e.Phases, load.Phase(p))
	}
	if err := load.AppendEvent(dir, e); err != nil {
		return err
	}
	d.moves = append(d.moves, m)
	step("  done in %d ms; traffic held %.0f ms, %d packets", m.TookMS, m.HeldMS, m.PacketsHeld)
	return d.afterMove(ctx, len(d.moves), mode, from, to, before)
}

// copyVolume keeps the volume as the load left it. Nobody asks for keys any more.
func copyVolume(to, from string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy the final volume: %w", err)
	}
	return nil
}

// step tells who watches what happens now.
func step(format string, args ...any) { fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...) }
