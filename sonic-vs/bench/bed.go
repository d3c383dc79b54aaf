package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
	servicefile "sonic-netservices/spec"
)

// What is moved, between which switches.
const (
	program = "ballast"
	spec    = "examples/ballast/ballast.yaml"
	here    = "leaf1"
	there   = "leaf2"
)

// raise gives switches without a past, the suite on them and the image in it. Down undoes what is to be undone.
func (b *bench) raise(ctx context.Context) (down func() error, err error) {
	up, err := testbed.Instances()
	if err != nil {
		return nil, err
	}
	if slices.Contains(up, b.Instance) {
		say("take down the switches of before")
		if err := testbed.Down(ctx, b.Instance); err != nil {
			return nil, err
		}
	}
	say("raise the switches of %s, install the suite", b.Topology)
	out := filepath.Join(b.Out, "bench", "switches") // not beside another test bed's nsctl.yaml
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	bed, err := testbed.Up(ctx, testbed.Options{Topology: b.Topology, Instance: b.Instance, Out: out, Restart: testbed.SONiCRestart()})
	if err != nil {
		return nil, err
	}
	takeDown := func() error {
		if b.Keep {
			return nil
		}
		return testbed.Down(context.WithoutCancel(ctx), b.Instance)
	}
	undo, err := b.prepare(ctx, bed, out)
	if err != nil {
		return nil, errors.Join(err, takeDown())
	}
	return func() error { undo(); return takeDown() }, nil
}

func (b *bench) prepare(ctx context.Context, bed *testbed.Testbed, out string) (undo func(), err error) {
	if len(bed.Clients) == 0 {
		return nil, fmt.Errorf("%s has no client", b.Topology)
	}
	if b.suite, err = suite.Install(ctx, bed, suite.Options{Out: out}); err != nil {
		return nil, err
	}
	var tarball string
	err = images.With(ctx, bed.Nodes[0], func(sw images.Switch) (err error) {
		tarball, err = images.Build(ctx, sw.Docker, ".", program)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, err := b.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return nil, err
	}
	return bed.Prefer()
}

// subject is the service that is moved.
type subject struct {
	name      string
	replica   string
	address   string
	container string
	node      testbed.Node // where it runs now
}

func (s *subject) other() string {
	if s.node.Name == here {
		return there
	}
	return here
}

// deploy runs a ballast of a size.
func (b *bench) deploy(ctx context.Context, mb int) (*subject, error) {
	text, err := os.ReadFile(spec)
	if err != nil {
		return nil, err
	}
	service, err := servicefile.Parse(spec, text)
	if err != nil {
		return nil, err
	}
	service.Demand["memory"] = float64((mb + 64) << 20)
	service.Environment["BALLAST_MB"] = fmt.Sprint(mb)
	if text, err = servicefile.Print(service); err != nil {
		return nil, err
	}
	file := filepath.Join(b.Out, "bench", fmt.Sprintf("%s-%dmb.yaml", service.Name, mb))
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	say("nsctl deploy -f %s --node %s", file, here)
	instances, err := b.suite.Deploy(ctx, file, here)
	if err != nil {
		return nil, err
	}
	if len(instances) != 1 {
		return nil, fmt.Errorf("deploy answered %d instances, want 1", len(instances))
	}
	i := instances[0]
	s := &subject{name: i.Service, address: i.ServiceAddress, container: i.Container}
	s.replica = netmap.ReplicaID{Service: i.Service, Replica: i.Replica}.String()
	s.node, err = b.suite.Bed.Node(i.Node)
	return s, err
}

// find looks where the service runs after a move, as it may have failed.
func (s *subject) find(ctx context.Context, from *suite.Suite) error {
	services, err := from.Services(ctx)
	if err != nil {
		return err
	}
	for _, service := range services {
		for _, i := range service.Instances {
			if i.Service == s.name && i.State == string(netmap.Running) {
				s.node, err = from.Bed.Node(i.Node)
				return err
			}
		}
	}
	return fmt.Errorf("%s runs nowhere", s.replica)
}
