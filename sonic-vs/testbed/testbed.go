// Package testbed raises virtual switches on one Linux machine: namespaces, links, and a root with Docker and Redis each.
//
// It reads a topology file and writes everything below names of the instance: /run/netns/<instance>-<node>, the cgroups
// sonic-vs/<instance>/<node>, /var/lib/sonic-netservices/vs/<instance>, /run/sonic-vs/<instance>. It is told by the
// commands up, down, status and exec, and by scenarios and the demo, which look into a running testbed with Load.
// What happens inside a node is told by package vswitch, whose daemon is the one child of the node's PID 1.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNotUp: no such instance on this machine.
var ErrNotUp = errors.New("no virtual switches are up")

// Testbed is an instance as it stands. A node that was raised again since Load has another PID: load again.
type Testbed struct {
	Instance string
	Topology *Topology
	Nodes    []Node // in the order of the topology file
	Clients  []Client
	Sites    []Site

	hierarchies []hierarchy
}

// Node is one virtual switch.
type Node struct {
	Name     string
	Loopback netip.Addr
	Pid      int    // its PID 1, as this machine counts; 0: dead
	Netns    string // path of its network namespace
	Dir      string // its folder on this machine; host/ in it is the node's /host, docker/ its /var/lib/docker

	// Cgroups are its cgroups on this machine by controller: "cpu", "freezer", ..., "name=systemd", and "" for v2.
	Cgroups map[string]string
}

// Client is a host behind an access port: a network namespace, nothing else.
type Client struct {
	Name     string
	Address  netip.Addr
	Address6 netip.Addr // zero = none
	Netns    string
}

// Load looks at an instance that `up` has raised; "" means the only one.
func Load(instance string) (*Testbed, error) {
	instance, err := theInstance(instance)
	if err != nil {
		return nil, err
	}
	s, err := readState(instance)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("instance %s: %w", instance, ErrNotUp)
	}
	if err != nil {
		return nil, err
	}
	return look(instance, s.Topology)
}

func look(instance string, topo *Topology) (*Testbed, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	t := &Testbed{Instance: instance, Topology: topo, hierarchies: all}
	for _, n := range topo.Nodes {
		node := Node{
			Name: n.Name, Loopback: n.Loopback, Pid: findInit(all, instance, n.Name),
			Netns: netnsPath(instance, n.Name), Dir: dataDir(instance, n.Name), Cgroups: map[string]string{},
		}
		for _, h := range all {
			if h.v2() {
				node.Cgroups[""] = h.dir(instance, n.Name)
			}
			for _, c := range h.Controllers {
				node.Cgroups[c] = h.dir(instance, n.Name)
			}
		}
		t.Nodes = append(t.Nodes, node)
	}
	for _, c := range topo.Clients {
		t.Clients = append(t.Clients, Client{Name: c.Name, Address: c.Address, Address6: c.Address6, Netns: netnsPath(instance, c.Name)})
	}
	for _, s := range topo.Sites {
		t.Sites = append(t.Sites, siteOf(instance, s))
	}
	return t, nil
}

// Site finds a site by name.
func (t *Testbed) Site(name string) (Site, error) {
	if i := slices.IndexFunc(t.Sites, func(s Site) bool { return s.Name == name }); i >= 0 {
		return t.Sites[i], nil
	}
	return Site{}, fmt.Errorf("no site %q in instance %s", name, t.Instance)
}

// Node finds a node by name.
func (t *Testbed) Node(name string) (Node, error) {
	if i := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.Name == name }); i >= 0 {
		return t.Nodes[i], nil
	}
	return Node{}, fmt.Errorf("no node %q in instance %s", name, t.Instance)
}

// netnsOf finds the namespace of a node, client or site, of a site's NAT box, or of the internet, by name.
func (t *Testbed) netnsOf(name string) (string, error) {
	if i := slices.IndexFunc(t.Clients, func(c Client) bool { return c.Name == name }); i >= 0 {
		return t.Clients[i].Netns, nil
	}
	if n, err := t.Node(name); err == nil {
		return n.Netns, nil
	}
	if s, err := t.Site(strings.TrimSuffix(name, natName(""))); err == nil && (s.Name == name || s.NAT != Open) {
		return netnsPath(t.Instance, name), nil
	}
	if name == internetName && len(t.Sites) > 0 {
		return netnsPath(t.Instance, name), nil
	}
	return "", fmt.Errorf("no node, client or site %q in instance %s", name, t.Instance)
}

// Path is a path of the node as this machine reaches it. /var/run is taken for the /run it is: followed through
// /proc/PID/root, that link would lead to this machine's own /run.
func (n Node) Path(path string) string {
	path = filepath.Clean(path)
	if rest, ok := strings.CutPrefix(path, "/var/run"); ok && (rest == "" || rest[0] == '/') {
		path = "/run" + rest
	}
	return fmt.Sprintf("/proc/%d/root%s", n.Pid, path)
}

// DockerSocket is the node's Docker engine.
func (n Node) DockerSocket() string { return n.Path("/run/docker.sock") }

// RedisSocket is the node's Redis, where SONiC has it.
func (n Node) RedisSocket() string { return n.Path("/run/redis/redis.sock") }

// Exec is a command inside a node, in all its namespaces and its cgroup, or inside a client's network namespace. It ends
// with the node, and when ctx does.
func (t *Testbed) Exec(ctx context.Context, name string, command ...string) *exec.Cmd {
	// The node's own copy of sonic-vs enters the namespaces: a Go program with threads cannot fork a child into them.
	// Plain hosts have none, and need none: of them only the network is entered.
	self, _ := os.Executable()
	if len(t.Nodes) > 0 {
		self = filepath.Join(t.Nodes[0].Dir, "upper", switchBinary)
	}
	return exec.CommandContext(ctx, self, append([]string{"exec", "--instance", t.Instance, name}, command...)...)
}

// InNetns runs f on a thread inside the network namespace of a node, client or site. Sockets that f opens stay in it, and so do
// programs that it starts.
func (t *Testbed) InNetns(name string, f func() error) error {
	path, err := t.netnsOf(name)
	if err != nil {
		return err
	}
	return inNetns(path, f)
}
