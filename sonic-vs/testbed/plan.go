package testbed

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/vswitch"
)

// switchConfigs works out what every switch is told: ports with their addresses, and routes by fewest hops to every
// other loopback. Equal paths are broken by the order of the file; one path is enough here.
func switchConfigs(instance string, t *Topology, restart Restart) map[string]vswitch.Config {
	configs := map[string]vswitch.Config{}
	m := t.manager()
	for _, n := range t.Nodes {
		gateway6 := ""
		if t.Segment.Gateway6.IsValid() {
			gateway6 = t.Segment.Gateway6.String()
		}
		configs[n.Name] = vswitch.Config{
			Instance: instance, Name: n.Name, AS: t.AS, MAC: switchMAC(instance, n.Name).String(), Tier: n.Tier,
			Loopback:    n.Loopback.String(),
			Manager:     netip.AddrPortFrom(m.Loopback, netmap.ManagerPort).String(),
			ManagerNode: m.Name,
			Ports:       ports(t, n.Name),
			Segment:     vswitch.Segment{VNI: t.Segment.VNI, Gateway: t.Segment.Gateway.String(), Gateway6: gateway6, MTU: t.Segment.MTU},
			Routes:      routes(t, n.Name),

			RestartSec: restart.Sec, StartLimitBurst: restart.LimitBurst, StartLimitSec: restart.LimitSec,
		}
	}
	return configs
}

// switchMAC is a locally administered address, the same at every `up`, as a switch keeps its own.
func switchMAC(instance, node string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(instance + "/" + node))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}

// linkAddrs are the addresses of link i: A has the even one.
func linkAddrs(i int) (a, b netip.Prefix) {
	base := linkNet.Addr().As4()
	base[2], base[3] = byte(i>>7), byte(i<<1)
	a4 := netip.AddrFrom4(base)
	return netip.PrefixFrom(a4, 31), netip.PrefixFrom(a4.Next(), 31)
}

func ports(t *Topology, node string) []vswitch.Port {
	var all []vswitch.Port
	for i, l := range t.Links {
		a, b := linkAddrs(i)
		if l.A.Node == node {
			all = append(all, vswitch.Port{Name: l.A.Port, Address: a.String(), Speed: l.Speed})
		}
		if l.B.Node == node {
			all = append(all, vswitch.Port{Name: l.B.Port, Address: b.String(), Speed: l.Speed})
		}
	}
	for _, c := range t.Clients {
		if c.Port.Node == node {
			all = append(all, vswitch.Port{Name: c.Port.Port, Speed: defaultSpeed, Access: true})
		}
	}
	slices.SortFunc(all, func(x, y vswitch.Port) int { return portIndex(x.Name) - portIndex(y.Name) })
	return all
}

func portIndex(name string) int {
	i, err := strconv.Atoi(strings.TrimPrefix(name, "Ethernet"))
	if err != nil {
		panic(fmt.Sprintf("port %q passed the parser", name))
	}
	return i
}

// routes walks the links breadth first from one node and keeps, for each loopback reached, the first step that led there.
func routes(t *Topology, from string) []vswitch.Route {
	first := map[string]vswitch.Route{} // without the prefix
	queue := []string{from}
	reached := map[string]bool{from: true}
	for len(queue) > 0 {
		here := queue[0]
		queue = queue[1:]
		for i, l := range t.Links {
			a, b := linkAddrs(i)
			next, step := l.B.Node, vswitch.Route{NextHop: b.Addr().String(), Port: l.A.Port}
			if l.B.Node == here {
				next, step = l.A.Node, vswitch.Route{NextHop: a.Addr().String(), Port: l.B.Port}
			} else if l.A.Node != here {
				continue
			}
			if reached[next] {
				continue
			}
			reached[next] = true
			if here != from {
				step = first[here]
			}
			first[next] = step
			queue = append(queue, next)
		}
	}
	var all []vswitch.Route
	for _, n := range t.Nodes {
		if r, ok := first[n.Name]; ok {
			r.Prefix = netip.PrefixFrom(n.Loopback, 32).String()
			all = append(all, r)
		}
	}
	return all
}
