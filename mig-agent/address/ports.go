package address

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port is published: what reaches the switch's own address at one port reaches the replica at another.
type Port struct {
	Protocol  string // tcp, udp
	Node      uint16
	Container uint16
}

// publication is a port with both its ends.
type publication struct {
	protocol string
	at, to   netip.AddrPort
}

// begin is what a packet for it has on it.
func (p publication) begin() string { return p.protocol + " " + p.at.String() }

// String is also the comment of its rule, by which a later Set knows what is published.
func (p publication) String() string { return p.begin() + " to " + p.to.String() }

var protocols = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// published lists the ports of all holders in a fixed order. Two holders cannot have the same one.
func (s Segment) published() ([]publication, error) {
	var list []publication
	owner := map[string]string{}
	for _, h := range s.Holders {
		for _, p := range h.Ports {
			same := func(a netip.Prefix) bool { return a.Addr().Is4() == s.Local.Is4() }
			i := slices.IndexFunc(h.Addresses, same)
			if i < 0 {
				return nil, fmt.Errorf("holder %q publishes port %d and has no address of the family of %s", h.Name, p.Node, s.Local)
			}
			if protocols[p.Protocol] == 0 {
				return nil, fmt.Errorf("holder %q: port %d: protocol %q: want tcp or udp", h.Name, p.Node, p.Protocol)
			}
			if p.Node == 0 || p.Container == 0 {
				return nil, fmt.Errorf("holder %q: port %d to %d: want 1 to 65535", h.Name, p.Node, p.Container)
			}
			pub := publication{p.Protocol, netip.AddrPortFrom(s.Local, p.Node), netip.AddrPortFrom(h.Addresses[i].Addr(), p.Container)}
			if other, taken := owner[pub.begin()]; taken {
				return nil, fmt.Errorf("holders %s and %s: both publish %s port %d", other, h.Name, p.Protocol, p.Node)
			}
			owner[pub.begin()] = h.Name
			list = append(list, pub)
		}
	}
	slices.SortFunc(list, func(a, b publication) int { return cmp.Compare(a.String(), b.String()) })
	return list, nil
}

// setPorts publishes what the segment says and nothing else. Address translation tracks every connection of the switch,
// so without a published port there is no rule for it.
//
// A connection by a port that is published no more is forgotten: its next packet meets the switch itself, which refuses
// it, and the client knows. A flow of datagrams that began before its port was published is forgotten too, or it would
// never be translated.
func setPorts(s Segment) error {
	want, err := s.published()
	if err != nil {
		return err
	}
	have, err := publishedNow()
	if err != nil {
		return err
	}
	names := make([]string, len(want))
	for i, p := range want {
		names[i] = p.String()
	}
	if slices.Equal(names, have) {
		return nil
	}
	if len(want) == 0 {
		err = removeTables(ip4Family)
	} else {
		err = translate(s, want)
	}
	if err != nil {
		return err
	}
	return forget(s.Local, func(begin string) bool {
		is := func(name string) bool { return strings.HasPrefix(name, begin+" to ") }
		i, j := slices.IndexFunc(have, is), slices.IndexFunc(names, is)
		return i >= 0 && (j < 0 || have[i] != names[j]) || j >= 0 && i < 0
	})
}

// publishedNow reads what an earlier Set has published.
func publishedNow() ([]string, error) {
	c := &nftables.Conn{}
	tables, err := c.ListTablesOfFamily(ip4Family)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName })
	if i < 0 {
		return nil, nil
	}
	rules, err := c.GetRules(tables[i], &nftables.Chain{Name: publishChain, Table: tables[i]})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	var names []string
	for _, r := range rules {
		if name, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

const publishChain = "publish"

// translate makes the rules: for what comes in, for what the switch itself sends, and for the way back. The holder
// answers by the gateway, which is this switch; only to a client inside the segment it would answer directly, and the
// client would not know who speaks. Such a connection gets the gateway's address.
func translate(s Segment, ports []publication) error {
	c := &nftables.Conn{}
	in := natHook(c, publishChain, unix.NF_INET_PRE_ROUTING, -100)
	own := natHook(c, "publish_own", unix.NF_INET_LOCAL_OUT, -100)
	back := natHook(c, "publish_back", unix.NF_INET_POST_ROUTING, 100)
	for _, chain := range []*nftables.Chain{in, own, back} {
		c.FlushChain(chain)
	}
	for _, p := range ports {
		rule := all(header(ip4Destination, p.at.Addr().AsSlice()), transport(protocols[p.protocol]), destinationPort(p.at.Port()), []expr.Any{
			&expr.Immediate{Register: 1, Data: p.to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, p.to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(ip4Family), RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		})
		comment := userdata.AppendString(nil, userdata.TypeComment, p.String())
		for _, chain := range []*nftables.Chain{in, own} {
			c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: rule, UserData: comment})
		}
	}
	for _, g := range s.Gateways {
		if !g.Addr().Is4() {
			continue
		}
		c.AddRule(&nftables.Rule{Table: back.Table, Chain: back, Exprs: all(device(expr.MetaKeyOIFNAME, bridgeName), translated(), source(g), []expr.Any{
			&expr.Immediate{Register: 1, Data: g.Addr().AsSlice()},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(ip4Family), RegAddrMin: 1},
		})})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("translate: %w", err)
	}
	return nil
}

// natHook declares a base chain that sees the first packet of each connection.
func natHook(c *nftables.Conn, name string, num uint32, priority nftables.ChainPriority) *nftables.Chain {
	t := c.AddTable(&nftables.Table{Family: ip4Family, Name: tableName})
	return c.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookRef(nftables.ChainHook(num)), Priority: nftables.ChainPriorityRef(priority),
	})
}

// Offsets in an IPv4 header.
const (
	ip4Source      = 12
	ip4Destination = 16
)

// destinationPort matches the port of TCP or UDP.
func destinationPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
	}
}

// source matches where a packet comes from.
func source(net netip.Prefix) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ip4Source, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: ipNet(net).Mask, Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net.Masked().Addr().AsSlice()},
	}
}

// translated matches the packets of connections whose destination was translated.
func translated() []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	mask := binary.NativeEndian.AppendUint32(nil, dstNAT)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mask},
	}
}

// forget drops the tracked connections to the switch's own address that changed says of their beginning.
func forget(local netip.Addr, changed func(begin string) bool) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, flows(func(f *netlink.ConntrackFlow) bool {
		to, ok := netip.AddrFromSlice(f.Forward.DstIP)
		if !ok || to.Unmap() != local {
			return false
		}
		for name, number := range protocols {
			if number == f.Forward.Protocol {
				return changed(publication{protocol: name, at: netip.AddrPortFrom(local, f.Forward.DstPort)}.begin())
			}
		}
		return false
	}))
	if err != nil {
		return fmt.Errorf("forget connections: %w", err)
	}
	return nil
}

// flows chooses tracked connections.
type flows func(*netlink.ConntrackFlow) bool

func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }
