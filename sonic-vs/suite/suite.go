// Package suite installs the product on a raised test bed the way an operator would, and finds its parts there.
//
// It reads the programs in out/bin and writes images, the AS's certificates, packages and FEATURE rows, by the commands
// and the package manager an operator has. It is told by `sonic-vs suite`, by the demo and by scenarios, which go on
// with the Suite they get: nsctl, and where an agent keeps what.
package suite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
)

// Features of the suite: the manager on one switch, the others on every one, those of the overlay where somebody adds them.
const (
	Agent     = "mig-agent"
	Manager   = "bt-manager"
	Plugin    = "syncd-plugin"
	Sync      = "resource-sync"
	EdgeNode  = "n2n-edge"
	Supernode = "n2n-supernode"
)

// Options say where things are.
type Options struct {
	Repo string // repository with out/bin; "": the working directory
	Out  string // folder of nsctl.yaml, the same as that of testbed.Options; "": out in Repo
}

// Suite is the product on a test bed.
type Suite struct {
	Bed *testbed.Testbed

	repo, out string
}

// At is the suite on a test bed where it is installed already.
func At(bed *testbed.Testbed, o Options) (*Suite, error) {
	repo, err := filepath.Abs(o.Repo)
	if err != nil {
		return nil, err
	}
	s := &Suite{Bed: bed, repo: repo, out: filepath.Join(repo, "out")}
	if o.Out != "" {
		if s.out, err = filepath.Abs(o.Out); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Install brings the suite of out/bin onto the switches and returns when every agent has joined the manager and every
// switch sees all others alive. What is there already stays; what was built from other programs is replaced, and the
// services that run go on.
func Install(ctx context.Context, bed *testbed.Testbed, o Options) (*Suite, error) {
	s, err := At(bed, o)
	if err != nil {
		return nil, err
	}
	for _, n := range bed.Nodes {
		if n.Pid == 0 {
			return nil, fmt.Errorf("node %s is dead: sonic-vs up raises it again", n.Name)
		}
	}
	tarballs := map[string]string{}
	err = images.With(ctx, s.manager(), func(sw images.Switch) error {
		for _, name := range []string{Manager, Agent, Plugin, Sync} {
			if tarballs[name], err = images.Build(ctx, sw.Docker, s.repo, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.ensureAuthority(ctx); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	err = s.each(func(n testbed.Node) error {
		fresh, err := s.ensureIdentity(ctx, n)
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		for _, feature := range s.features(n) {
			if err := ensure(ctx, n, feature, tarballs[feature], fresh); err != nil {
				return fmt.Errorf("install %s: %w", feature, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, s.await(ctx)
}

// features are those of one node, the manager first: agents look for it.
func (s *Suite) features(n testbed.Node) []string {
	everywhere := []string{Agent, Plugin, Sync}
	if n.Name == s.manager().Name {
		return append([]string{Manager}, everywhere...)
	}
	return everywhere
}

// manager is the node of bt-manager; of several managers, that which founded their cluster.
func (s *Suite) manager() testbed.Node {
	for i, spec := range s.Bed.Topology.Nodes {
		if spec.Manager {
			return s.Bed.Nodes[i]
		}
	}
	panic("a topology without a manager passed the parser")
}

// each does the same on all nodes at once.
func (s *Suite) each(f func(testbed.Node) error) error {
	errs := make([]error, len(s.Bed.Nodes))
	var wg sync.WaitGroup
	for i, n := range s.Bed.Nodes {
		wg.Go(func() {
			if err := f(n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
