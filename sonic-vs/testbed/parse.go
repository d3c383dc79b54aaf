package testbed

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// ReadTopology reads and checks a topology file. Every error names file:line:column and the field.
func ReadTopology(path string) (*Topology, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	return ParseTopology(path, text)
}

// ParseTopology is ReadTopology on a text; file only serves the messages.
func ParseTopology(file string, text []byte) (*Topology, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: no topology in it", file)
	}
	p := &parser{file: file, ports: map[PortRef]bool{}, addrs: map[netip.Addr]string{}}
	t := &Topology{AS: defaultAS}
	p.topology(doc.Content[0], t)
	if p.errs != nil {
		return nil, errors.Join(p.errs...)
	}
	return t, nil
}

// Names appear in namespace, folder and interface names. An instance has no hyphen, so that the first hyphen of
// <instance>-<node> ends it.
var (
	instanceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)
	nodeName     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	portName     = regexp.MustCompile(`^Ethernet(0|[1-9][0-9]{0,3})$`)
)

var tiers = []string{"core", "edge", "access", "cloud"} // netmap's and RESOUR_NODE's words

// parser collects every error of a file, so that one run shows them all.
type parser struct {
	file  string
	errs  []error
	ports map[PortRef]bool      // taken
	addrs map[netip.Addr]string // taken, by which field
}

func (p *parser) fail(n *yaml.Node, field, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d:%d: %s: %s", p.file, n.Line, n.Column, field, fmt.Sprintf(format, args...)))
}

func (p *parser) topology(n *yaml.Node, t *Topology) {
	// Nodes come before what refers to them, wherever they stand in the file.
	need, may := []string{"name", "segment", "nodes"}, []string{"as", "links", "clients", "internet", "sites"}
	if has(n, "sites") && !has(n, "nodes") {
		need, may = []string{"name", "internet", "sites"}, nil
	}
	f := p.fields(n, "topology", need, may)
	if v := f["name"]; v != nil {
		t.Name = p.name(v, "name", instanceName)
	}
	if v := f["as"]; v != nil {
		t.AS = p.number(v, "as", 1, 1<<32-1)
	}
	if v := f["segment"]; v != nil {
		p.segment(v, t)
	}
	if v := f["nodes"]; v != nil {
		p.nodes(v, t)
	}
	if v := f["links"]; v != nil {
		p.links(v, t)
	}
	if v := f["clients"]; v != nil {
		p.clients(v, t)
	}
	if v := f["internet"]; v != nil {
		p.internet(v, t)
	}
	if v := f["sites"]; v != nil {
		p.sites(v, t)
	}
}

func (p *parser) segment(n *yaml.Node, t *Topology) {
	f := p.fields(n, "segment", []string{"vni", "gateway", "mtu"}, []string{"gateway6"})
	if v := f["vni"]; v != nil {
		t.Segment.VNI = p.number(v, "segment.vni", 1, 1<<24-1)
	}
	if v := f["mtu"]; v != nil {
		t.Segment.MTU = p.number(v, "segment.mtu", 576, 9000)
	}
	if v := f["gateway"]; v != nil {
		g, err := netip.ParsePrefix(p.text(v, "segment.gateway"))
		switch {
		case err != nil || !g.Addr().Is4() || g.Bits() > 30 || g.Masked().Addr() == g.Addr():
			p.fail(v, "segment.gateway", "%q is not an IPv4 address with a length, such as 10.20.0.1/24", v.Value)
		case g.Overlaps(linkNet):
			p.fail(v, "segment.gateway", "%s overlaps %s, which the links use", g, linkNet)
		default:
			t.Segment.Gateway = g
			p.addrs[g.Addr()] = "segment.gateway"
		}
	}
	if v := f["gateway6"]; v != nil {
		g, err := netip.ParsePrefix(p.text(v, "segment.gateway6"))
		switch {
		case err != nil || !g.Addr().Is6() || g.Bits() > 126 || g.Masked().Addr() == g.Addr():
			p.fail(v, "segment.gateway6", "%q is not an IPv6 address with a length, such as fd20::1/64", v.Value)
		case t.Segment.MTU < leastMTU6 && t.Segment.MTU > 0:
			p.fail(v, "segment.gateway6", "IPv6 needs an mtu of %d", leastMTU6)
		default:
			t.Segment.Gateway6 = g
			p.addrs[g.Addr()] = "segment.gateway6"
		}
	}
}

// leastMTU6 is the smallest MTU that carries IPv6 (RFC 8200).
const leastMTU6 = 1280

func (p *parser) nodes(n *yaml.Node, t *Topology) {
	managers := 0
	p.entries(n, "nodes", func(key, value *yaml.Node, field string) {
		node := SwitchSpec{Name: p.name(key, field, nodeName), Tier: "access"}
		f := p.fields(value, field, []string{"loopback"}, []string{"tier", "manager", "criu"})
		if v := f["loopback"]; v != nil {
			node.Loopback = p.address(v, field+".loopback")
			if s := t.Segment.Gateway; s.IsValid() && s.Contains(node.Loopback) {
				p.fail(v, field+".loopback", "%s lies in the segment %s", node.Loopback, s.Masked())
			}
		}
		if v := f["tier"]; v != nil {
			if node.Tier = p.text(v, field+".tier"); !slices.Contains(tiers, node.Tier) {
				p.fail(v, field+".tier", "%q: want %s", node.Tier, strings.Join(tiers, ", "))
			}
		}
		if v := f["manager"]; v != nil {
			if node.Manager = p.flag(v, field+".manager"); node.Manager {
				managers++
			}
		}
		if v := f["criu"]; v != nil {
			node.NoCRIU = !p.flag(v, field+".criu")
		}
		t.Nodes = append(t.Nodes, node)
	})
	if managers != 1 {
		p.fail(n, "nodes", "%d of them have manager: true, want one", managers)
	}
}

func (p *parser) links(n *yaml.Node, t *Topology) {
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "links", "want a list")
		return
	}
	if len(n.Content) > 1<<(31-linkNet.Bits()) {
		p.fail(n, "links", "more than %s holds", linkNet)
		return
	}
	for i, value := range n.Content {
		field := fmt.Sprintf("links[%d]", i)
		link := LinkSpec{Speed: defaultSpeed}
		f := p.fields(value, field, []string{"a", "b"}, append([]string{"speed"}, shapeFields...))
		if v := f["a"]; v != nil {
			link.A = p.port(v, field+".a", t)
		}
		if v := f["b"]; v != nil {
			link.B = p.port(v, field+".b", t)
		}
		if v := f["speed"]; v != nil {
			link.Speed = p.number(v, field+".speed", 1, 1_600_000)
		}
		link.Line = p.shape(f, value, field)
		if link.A.Node == link.B.Node && link.A.Node != "" {
			p.fail(value, field, "both ends are on %s", link.A.Node)
		}
		t.Links = append(t.Links, link)
	}
}

func (p *parser) clients(n *yaml.Node, t *Topology) {
	p.entries(n, "clients", func(key, value *yaml.Node, field string) {
		c := ClientSpec{Name: p.name(key, field, nodeName)}
		if t.hasNode(c.Name) {
			p.fail(key, field, "a node has this name")
		}
		if c.Name == internetName {
			p.fail(key, field, "the net of the sites has this name")
		}
		f := p.fields(value, field, []string{"port", "address"}, []string{"address6"})
		if v := f["port"]; v != nil {
			c.Port = p.port(v, field+".port", t)
		}
		if v := f["address"]; v != nil {
			c.Address = p.address(v, field+".address")
			if s := t.Segment.Gateway; s.IsValid() && c.Address.IsValid() && !s.Contains(c.Address) {
				p.fail(v, field+".address", "%s is not in the segment %s", c.Address, s.Masked())
			}
		}
		if v := f["address6"]; v != nil {
			addr, err := netip.ParseAddr(p.text(v, field+".address6"))
			switch s := t.Segment.Gateway6; {
			case err != nil || !s.IsValid() || !s.Contains(addr):
				p.fail(v, field+".address6", "%q is not an address in segment.gateway6", v.Value)
			case p.addrs[addr] != "":
				p.fail(v, field+".address6", "%s is taken by %s", addr, p.addrs[addr])
			default:
				c.Address6, p.addrs[addr] = addr, field+".address6"
			}
		}
		t.Clients = append(t.Clients, c)
	})
}

// port reads node:EthernetN and takes the port.
func (p *parser) port(n *yaml.Node, field string, t *Topology) PortRef {
	node, port, _ := strings.Cut(p.text(n, field), ":")
	ref := PortRef{node, port}
	switch {
	case !portName.MatchString(port):
		p.fail(n, field, "%q: want NODE:EthernetN", n.Value)
	case !t.hasNode(node):
		p.fail(n, field, "no node %q", node)
	case p.ports[ref]:
		p.fail(n, field, "port %s is taken", ref)
	}
	p.ports[ref] = true
	return ref
}

// address reads an IPv4 address nobody else has.
func (p *parser) address(n *yaml.Node, field string) netip.Addr {
	a, err := netip.ParseAddr(p.text(n, field))
	switch {
	case err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
		p.fail(n, field, "%q is not an IPv4 address", n.Value)
		return netip.Addr{}
	case linkNet.Contains(a):
		p.fail(n, field, "%s lies in %s, which the links use", a, linkNet)
	case p.addrs[a] != "":
		p.fail(n, field, "%s is taken by %s", a, p.addrs[a])
	}
	p.addrs[a] = field
	return a
}

func (p *parser) name(n *yaml.Node, field string, want *regexp.Regexp) string {
	s := p.text(n, field)
	if !want.MatchString(s) {
		p.fail(n, field, "name %q: want %s", s, want)
	}
	return s
}

func (p *parser) text(n *yaml.Node, field string) string {
	if n.Kind != yaml.ScalarNode {
		p.fail(n, field, "want a single value")
		return ""
	}
	return n.Value
}

func (p *parser) number(n *yaml.Node, field string, low, high int) int {
	i, err := strconv.Atoi(p.text(n, field))
	if err != nil || i < low || i > high {
		p.fail(n, field, "%q: want a number from %d to %d", n.Value, low, high)
	}
	return i
}

func (p *parser) flag(n *yaml.Node, field string) bool {
	s := p.text(n, field)
	if s != "true" && s != "false" {
		p.fail(n, field, "%q: want true or false", s)
	}
	return s == "true"
}

// fields is a mapping with known names: all of need, some of may.
func (p *parser) fields(n *yaml.Node, field string, need, may []string) map[string]*yaml.Node {
	got := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		p.fail(n, field, "want fields: %s", strings.Join(slices.Concat(need, may), ", "))
		return got
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !slices.Contains(need, key.Value) && !slices.Contains(may, key.Value):
			p.fail(key, field, "unknown field %q: want %s", key.Value, strings.Join(slices.Concat(need, may), ", "))
		case got[key.Value] != nil:
			p.fail(key, field, "field %q twice", key.Value)
		default:
			got[key.Value] = n.Content[i+1]
		}
	}
	for _, name := range need {
		if got[name] == nil {
			p.fail(n, field, "no field %q", name)
		}
	}
	return got
}

// entries is a mapping whose keys are names the file gives, in the order of the file.
func (p *parser) entries(n *yaml.Node, field string, each func(key, value *yaml.Node, field string)) {
	if n.Kind != yaml.MappingNode {
		p.fail(n, field, "want NAME: {...}")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.fail(key, field, "%q twice", key.Value)
			continue
		}
		seen[key.Value] = true
		each(key, n.Content[i+1], field+"."+key.Value)
	}
}
