package testbed

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sonic-netservices/sonic-vs/line"
)

// shapeFields are those of a line.Shape, in a link or a site.
var shapeFields = []string{"delay", "jitter", "loss", "rate"}

// shape reads what slows a link down.
func (p *parser) shape(f map[string]*yaml.Node, n *yaml.Node, field string) line.Shape {
	var s line.Shape
	for name, to := range map[string]*time.Duration{"delay": &s.Delay, "jitter": &s.Jitter} {
		if v := f[name]; v != nil {
			d, err := time.ParseDuration(p.text(v, field+"."+name))
			if err != nil {
				p.fail(v, field+"."+name, "%q: want a time, such as 10ms", v.Value)
			}
			*to = d
		}
	}
	for name, to := range map[string]*float64{"loss": &s.Loss, "rate": &s.Rate} {
		if v := f[name]; v != nil {
			x, err := strconv.ParseFloat(p.text(v, field+"."+name), 64)
			if err != nil {
				p.fail(v, field+"."+name, "%q: want a number", v.Value)
			}
			*to = x
		}
	}
	if err := s.Check(); err != nil {
		p.fail(n, field, "%v", err)
	}
	return s
}

func (p *parser) internet(n *yaml.Node, t *Topology) {
	net, err := netip.ParsePrefix(p.text(n, "internet"))
	switch {
	case err != nil || !net.Addr().Is4() || net.Bits() > 30 || net.Masked() != net:
		p.fail(n, "internet", "%q is not an IPv4 net, such as 198.51.100.0/24", n.Value)
	case net.Overlaps(linkNet) || net.Overlaps(lanNet) || t.Segment.Gateway.IsValid() && net.Overlaps(t.Segment.Gateway):
		p.fail(n, "internet", "%s overlaps the segment, %s of the links or %s behind NAT boxes", net, linkNet, lanNet)
	default:
		t.Internet = net
	}
}

func (p *parser) sites(n *yaml.Node, t *Topology) {
	p.entries(n, "sites", func(key, value *yaml.Node, field string) {
		s := SiteSpec{Name: p.name(key, field, nodeName), NAT: Open}
		switch {
		case t.hasNode(s.Name) || slices.ContainsFunc(t.Clients, func(c ClientSpec) bool { return c.Name == s.Name }):
			p.fail(key, field, "a node or client has this name")
		case s.Name == internetName:
			p.fail(key, field, "the net of the sites has this name")
		}
		f := p.fields(value, field, []string{"address"}, append([]string{"nat"}, shapeFields...))
		if v := f["address"]; v != nil {
			s.Address = p.address(v, field+".address")
			if t.Internet.IsValid() && s.Address.IsValid() && !t.Internet.Contains(s.Address) {
				p.fail(v, field+".address", "%s is not in the internet, %s", s.Address, t.Internet)
			}
		}
		if v := f["nat"]; v != nil {
			if s.NAT = NAT(p.text(v, field+".nat")); !slices.Contains(NATs(), s.NAT) {
				p.fail(v, field+".nat", "%q: want %s", s.NAT, strings.Join(words(NATs()), ", "))
			}
		}
		s.Line = p.shape(f, value, field)
		t.Sites = append(t.Sites, s)
	})
}

func words(all []NAT) (text []string) {
	for _, n := range all {
		text = append(text, string(n))
	}
	return text
}

// has says whether a mapping has a field.
func has(n *yaml.Node, field string) bool {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			return true
		}
	}
	return false
}
