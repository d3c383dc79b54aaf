package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
	servicefile "sonic-netservices/spec"
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
	program = "kms"
	volume  = "keys"
	image   = "kms:1.0.0"
	spec    = "examples/kms/kms.yaml"
	port    = 8080
	here    = "leaf1"
	there   = "leaf2"
	client  = "client"
)

// subject is one deployed service that is moved. Live and cold have one each: a cold move ends the memory of its own
// service only, and what the live moves keep can be followed from the first to the last.
type subject struct {
	service string
	address string // as deploy answered
	imageID string
}

func (s subject) id() netmap.ReplicaID { return netmap.ReplicaID{Service: s.service} }

// quiet is the pause before and after each move of a load: what its clients see without one.
const quiet = 4 * time.Second

// demo is one run.
type demo struct {
	Options
	bed   *testbed.Testbed
	suite *suite.Suite
	live  subject
	cold  subject
	facts facts
	moves []suite.Move // all, in order
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
	if err := d.loadImage(ctx); err != nil {
		return err
	}
	var err error
	if d.live, err = d.deploy(ctx, spec); err != nil {
		return err
	}
	if err := d.initialState(ctx); err != nil {
		return err
	}
	if err := d.load(ctx, "1-live", "live", d.live, there, here); err != nil {
		return fmt.Errorf("1-live: %w", err)
	}
	if err := d.coldPart(ctx); err != nil {
		return fmt.Errorf("2-cold: %w", err)
	}
	if err := d.load(ctx, "3-live", "live", d.live, there); err != nil {
		return fmt.Errorf("3-live: %w", err)
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

// loadImage gives the manager the image.
func (d *demo) loadImage(ctx context.Context) error {
	var tarball string
	err := images.With(ctx, d.bed.Nodes[0], func(sw images.Switch) (err error) {
		tarball, err = images.Build(ctx, sw.Docker, ".", program)
		return err
	})
	if err != nil {
		return err
	}
	step("nsctl image load %s", tarball)
	_, err = d.suite.Nsctl(ctx, "image", "load", tarball)
	return err
}

// deploy runs a service on its first switch.
func (d *demo) deploy(ctx context.Context, file string) (subject, error) {
	step("nsctl deploy -f %s --node %s", file, here)
	instances, err := d.suite.Deploy(ctx, file, here)
	if err != nil {
		return subject{}, err
	}
	if len(instances) != 1 {
		return subject{}, fmt.Errorf("deploy answered %d instances, want 1", len(instances))
	}
	i := instances[0]
	step("  node %s (%s), service address %s, container %s, %s", i.Node, i.NodeAddress, i.ServiceAddress, i.Container, i.State)
	return subject{service: i.Service, address: i.ServiceAddress, imageID: i.ImageID}, nil
}

// coldPart does the same with cold moves, on a second service of the same program beside the first.
func (d *demo) coldPart(ctx context.Context) error {
	file, err := d.coldSpec()
	if err != nil {
		return err
	}
	if d.cold, err = d.deploy(ctx, file); err != nil {
		return err
	}
	if err := d.load(ctx, "2-cold", "cold", d.cold, there, here); err != nil {
		return err
	}
	step("nsctl remove %s", d.cold.service)
	_, err = d.suite.Nsctl(ctx, "remove", d.cold.service)
	return err
}

// coldSpec is the service file with another name and address.
func (d *demo) coldSpec() (string, error) {
	text, err := os.ReadFile(spec)
	if err != nil {
		return "", err
	}
	service, err := servicefile.Parse(spec, text)
	if err != nil {
		return "", err
	}
	service.Name += "-cold"
	service.Address = netip.PrefixFrom(service.Address.Addr().Next(), service.Address.Bits())
	if text, err = servicefile.Print(service); err != nil {
		return "", err
	}
	file := filepath.Join(d.Dir, service.Name+".yaml")
	return file, os.WriteFile(file, text, 0o644)
}

// load plays clients and moves the service under them, to each target in turn.
func (d *demo) load(ctx context.Context, name, mode string, s subject, targets ...string) error {
	dir := filepath.Join(d.Dir, name)
	step("%s: 100 requests a second, 50 kept connections and 20 new ones a second", name)
	clients, err := d.startLoad(ctx, dir, s, "100")
	if err != nil {
		return err
	}
	defer clients.kill()
	if err := clients.wait(ctx, quiet); err != nil {
		return err
	}
	for n, target := range targets {
		if err := d.move(ctx, dir, n+1, mode, s, target); err != nil {
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
	return copyVolume(filepath.Join(dir, "volume"), d.suite.Volume(last, s.id().String(), volume))
}

// move orders one move and looks at both switches before and after.
func (d *demo) move(ctx context.Context, dir string, n int, mode string, s subject, to string) error {
	from := map[string]string{here: there, there: here}[to]
	before, err := d.beforeMove(ctx, s, from)
	if err != nil {
		return err
	}
	step("nsctl migrate %s --to %s --mode %s", s.service, to, mode)
	begin := time.Now()
	m, err := d.suite.Migrate(ctx, s.id().String(), to, mode)
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
	step("  done in %d ms; %d packets held", m.TookMS, m.PacketsHeld)
	return d.afterMove(ctx, len(d.moves), mode, s, from, to, before)
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
