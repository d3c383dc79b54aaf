package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is our nftables table, one per family and namespace.
const tableName = "netservices"

// Families with a table of ours: one on the switch, three in a holder.
const (
	bridgeFamily = nftables.TableFamilyBridge
	arpFamily    = nftables.TableFamilyARP
	ip4Family    = nftables.TableFamilyIPv4
	ip6Family    = nftables.TableFamilyIPv6
)

// hook declares a base chain of ours. Declaring one that exists changes nothing.
func hook(c *nftables.Conn, family nftables.TableFamily, name string, num uint32, priority nftables.ChainPriority) *nftables.Chain {
	t := c.AddTable(&nftables.Table{Family: family, Name: tableName})
	return c.AddChain(&nftables.Chain{
		Name: name, Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookRef(nftables.ChainHook(num)), Priority: nftables.ChainPriorityRef(priority),
	})
}

// fill replaces the rules of a chain; with the other changes of the same batch it takes effect at once, so no packet falls between.
func fill(c *nftables.Conn, chain *nftables.Chain, rules ...[]expr.Any) {
	c.FlushChain(chain)
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r})
	}
}

// removeTables deletes our tables of the given families in the thread's namespace.
func removeTables(families ...nftables.TableFamily) error {
	for _, f := range families {
		c := &nftables.Conn{}
		c.DelTable(&nftables.Table{Family: f, Name: tableName})
		if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete table %s: %w", tableName, err)
		}
	}
	return nil
}

func all(parts ...[]expr.Any) []expr.Any {
	var rule []expr.Any
	for _, p := range parts {
		rule = append(rule, p...)
	}
	return rule
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// device matches the interface a packet comes in by (MetaKeyIIFNAME) or leaves by (MetaKeyOIFNAME).
func device(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(name), 0)},
	}
}

// header matches bytes of the network header.
func header(offset uint32, want []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(want))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: want},
	}
}

// protocol matches the EtherType of a bridged frame.
func protocol(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, etherType)},
	}
}

// icmp6 matches the ICMPv6 types first to last, without extension headers before them, as neighbour discovery has it.
func icmp6(first, last byte) []expr.Any {
	return all(header(6, []byte{unix.IPPROTO_ICMPV6}), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 40, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{first}, ToData: []byte{last}},
	})
}

// transport matches the protocol above IP.
func transport(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// tcp matches TCP.
func tcp() []expr.Any { return transport(unix.IPPROTO_TCP) }

func notUDP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
	}
}

// tcpBegin matches the first packet of a TCP connection: SYN without ACK.
func tcpBegin() []expr.Any {
	const flags, syn, ack = 13, 0x02, 0x10
	return all(tcp(), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
	})
}

// Offsets in an ARP packet for IPv4 over Ethernet, and in an IPv6 neighbour solicitation or advertisement.
const (
	arpOperation = 6
	arpSender    = 14
	arpTarget    = 24
	ndSource     = 8
	ndTarget     = 48
)

// guardGateways keeps every switch's gateways to itself, although all have the same addresses: no question to a gateway and nothing said in
// its name crosses the VXLAN. The gateway itself must be able to ask for a holder on another switch. In IPv4 its question crosses as an ARP
// probe, without a sender's address (RFC 5227), which is answered and teaches nobody; in IPv6 it asks for what it forwards by its link-local
// address, which differs from switch to switch.
func guardGateways(gateways []netip.Prefix) error {
	c := &nftables.Conn{}
	in := hook(c, bridgeFamily, "from_vxlan", unix.NF_INET_PRE_ROUTING, -300)
	out := hook(c, bridgeFamily, "to_vxlan", unix.NF_INET_POST_ROUTING, 300)
	from, to := device(expr.MetaKeyIIFNAME, vxlanName), device(expr.MetaKeyOIFNAME, vxlanName)
	drop := verdict(expr.VerdictDrop)
	var coming, going [][]expr.Any
	for _, g := range gateways {
		ip := g.Addr().AsSlice()
		if g.Addr().Is4() {
			arp := protocol(unix.ETH_P_ARP)
			coming = append(coming,
				all(from, arp, header(arpSender, ip), drop),
				all(from, arp, header(arpTarget, ip), drop))
			going = append(going,
				all(to, arp, header(arpTarget, ip), drop),
				all(to, arp, header(arpOperation, []byte{0, 1}), header(arpSender, ip), []expr.Any{
					&expr.Immediate{Register: 1, Data: []byte{0, 0, 0, 0}},
					&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: arpSender, Len: 4},
				}),
				all(to, arp, header(arpSender, ip), drop))
		} else {
			nd := all(protocol(unix.ETH_P_IPV6), icmp6(135, 136))
			coming = append(coming, all(from, nd, header(ndSource, ip), drop), all(from, nd, header(ndTarget, ip), drop))
			going = append(going, all(to, nd, header(ndSource, ip), drop), all(to, nd, header(ndTarget, ip), drop))
		}
	}
	fill(c, in, coming...)
	fill(c, out, going...)
	return c.Flush()
}
