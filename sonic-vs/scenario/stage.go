package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/docker/docker/client"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// The service every scenario plays with.
const (
	service    = "kms"
	replica    = "kms-0"
	holder     = replica + ".net"
	volume     = "keys"
	helper     = "mig-agent-helper"
	kmsAddress = "10.20.0.10:8080"
	firstHome  = "leaf1"
)

// homes are the nodes between which it moves; the third has the manager and the clients.
var homes = []string{firstHome, "leaf2"}

// restart is quick and without an end: a scenario kills more often than SONiC would forgive.
var restart = testbed.Restart{Sec: 2, LimitBurst: 1000, LimitSec: 1200}

// stage is a raised and installed test bed with the service on it, and what the scenario found there.
type stage struct {
	Config
	dir    string // of the records
	bed    *testbed.Testbed
	suite  *suite.Suite
	nodes  []*node
	faults []string
	fresh  map[string]map[string]string // traces by node, from before the suite was installed; none if it was there
	waited string                       // what was not settled when it was looked last
}

// node is a switch with its doors open.
type node struct {
	testbed.Node
	docker *client.Client
	db     *sonicdb.Set
}

// raise makes what is missing: switches, suite, service.
func raise(ctx context.Context, c Config) (*stage, error) {
	var err error
	if c.Out, err = filepath.Abs(c.Out); err != nil {
		return nil, err
	}
	s := &stage{Config: c, fresh: map[string]map[string]string{}}
	bed, err := s.up(ctx)
	if err != nil {
		return nil, err
	}
	s.bed = bed
	if len(bed.Nodes) == 0 { // plain hosts: nothing is installed there
		return s, nil
	}
	if s.suite, err = suite.At(bed, s.suiteOptions()); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	for _, n := range s.nodes {
		if _, err := os.Stat(n.agentPath()); err == nil {
			continue
		}
		if s.fresh[n.Name], err = s.traces(ctx, n); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if s.suite, err = suite.Install(ctx, bed, s.suiteOptions()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.deploy(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("deploy %s: %w", service, err), s.close())
	}
	return s, nil
}

func (s *stage) up(ctx context.Context) (*testbed.Testbed, error) {
	return testbed.Up(ctx, testbed.Options{Topology: s.Topology, Instance: s.Instance, Restart: restart, Out: s.Out})
}

func (s *stage) suiteOptions() suite.Options { return suite.Options{Repo: s.Repo, Out: s.Out} }

// open opens the doors of all nodes.
func (s *stage) open() error {
	s.nodes = nil
	for _, n := range s.suite.Bed.Nodes {
		docker, err := vswitch.DockerAt(n.DockerSocket())
		if err != nil {
			return errors.Join(err, s.close())
		}
		db, err := sonicdb.Open(n.Path("/"))
		if err != nil {
			return errors.Join(err, docker.Close(), s.close())
		}
		s.nodes = append(s.nodes, &node{n, docker, db})
	}
	return nil
}

func (s *stage) close() error {
	var err error
	for _, n := range s.nodes {
		err = errors.Join(err, n.docker.Close(), n.db.Close())
	}
	return err
}

// deploy runs the service unless it is there.
func (s *stage) deploy(ctx context.Context) error {
	all, err := s.suite.Services(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(v suite.Service) bool { return v.Name == service }) {
		return nil
	}
	tarball, err := images.Build(ctx, s.leader().docker, s.Repo, service)
	if err != nil {
		return err
	}
	if _, err := s.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return err
	}
	_, err = s.suite.Deploy(ctx, s.spec(), firstHome)
	return err
}

func (s *stage) spec() string { return filepath.Join(s.Repo, "examples", service, service+".yaml") }

// node by name; a scenario names only those of its topology.
func (s *stage) node(name string) *node {
	for _, n := range s.nodes {
		if n.Name == name {
			return n
		}
	}
	panic("no node " + name)
}

// leader is the node of bt-manager.
func (s *stage) leader() *node {
	for i, n := range s.suite.Bed.Topology.Nodes {
		if n.Manager {
			return s.nodes[i]
		}
	}
	panic("a topology without a manager")
}

// other is where the service can move to.
func other(home string) string {
	if home == homes[0] {
		return homes[1]
	}
	return homes[0]
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.Lines, format+"\n", args...) }

// fault notes what must not be.
func (s *stage) fault(format string, args ...any) {
	f := fmt.Sprintf(format, args...)
	s.faults = append(s.faults, f)
	s.say("  FAULT %s", f)
}

// agentPath is a path in the agent's folder on a node.
func (n *node) agentPath(names ...string) string {
	return filepath.Join(append([]string{n.Dir, netmap.AgentDir}, names...)...)
}

// pause waits a moment for the next look.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// exitCode is what nsctl ended with, and what it said; -1 when it did not run.
func exitCode(err error) (code int, said string) {
	failed := (*suite.NsctlError)(nil)
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &failed):
		return failed.Code, failed.Said
	}
	return -1, err.Error()
}
