package address

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// A holder's gate is three independent switches, each a few rules on eth0 in tables of our own; lo is never touched:
//
//	address:  owned --Yield--> yielded --Own--> owned          ARP and neighbour discovery going out are dropped, and TCP connections coming in
//	sending:  loud  --Mute---> muted   --Unmute--> loud        TCP going out is dropped; by Silence all IP is
//	traffic:  open  --Hold---> held    --Release--> open       IP in and out waits in NFQUEUE
//	                           held    --Drop--> shut --Reset--> open
//
// The base chains are made all at once and removed by Reset only: when a base chain goes, the kernel drops every packet that waits in any
// queue of the namespace. Between them only rules change.
type gate struct {
	conn                 *nftables.Conn
	arp, nd, new4, new6  *nftables.Chain // yielded
	mute4, mute6         *nftables.Chain // muted
	in4, in6, out4, out6 *nftables.Chain // held, shut
}

// openGate declares the chains in the thread's namespace; the caller fills some and flushes.
func openGate(c *nftables.Conn) gate {
	const (
		raw  = -300 // before connection tracking
		arpO = 1    // NF_ARP_OUT
	)
	g := gate{conn: c}
	g.arp = hook(c, arpFamily, "yield", arpO, 0)
	g.nd = hook(c, ip6Family, "yield", unix.NF_INET_LOCAL_OUT, raw-2)
	g.new4 = hook(c, ip4Family, "new", unix.NF_INET_PRE_ROUTING, raw-1)
	g.new6 = hook(c, ip6Family, "new", unix.NF_INET_PRE_ROUTING, raw-1)
	g.mute4 = hook(c, ip4Family, "mute", unix.NF_INET_LOCAL_OUT, raw-1)
	g.mute6 = hook(c, ip6Family, "mute", unix.NF_INET_LOCAL_OUT, raw-1)
	g.in4 = hook(c, ip4Family, "hold_in", unix.NF_INET_PRE_ROUTING, raw)
	g.in6 = hook(c, ip6Family, "hold_in", unix.NF_INET_PRE_ROUTING, raw)
	g.out4 = hook(c, ip4Family, "hold_out", unix.NF_INET_LOCAL_OUT, raw)
	g.out6 = hook(c, ip6Family, "hold_out", unix.NF_INET_LOCAL_OUT, raw)
	return g
}

// pass fills the traffic chains: what is no neighbour discovery goes to then; nothing goes anywhere without one.
func (g gate) pass(then []expr.Any) {
	if then == nil {
		for _, chain := range []*nftables.Chain{g.in4, g.in6, g.out4, g.out6} {
			fill(g.conn, chain)
		}
		return
	}
	in, out := device(expr.MetaKeyIIFNAME, holderName), device(expr.MetaKeyOIFNAME, holderName)
	discovery := all(icmp6(133, 137), verdict(expr.VerdictAccept))
	fill(g.conn, g.in4, all(in, then))
	fill(g.conn, g.out4, all(out, then))
	fill(g.conn, g.in6, discovery, all(in, then))
	fill(g.conn, g.out6, discovery, all(out, then))
}

// toQueue is the NFQUEUE target of x_tables without its bypass flag: nobody at the queue means drop. The queue expression of nftables itself is not in
// every kernel.
func toQueue(queue uint16) []expr.Any {
	info := make(xt.Unknown, 8) // struct xt_NFQ_info_v1: first queue, number of queues; padded to 8
	binary.NativeEndian.PutUint16(info[0:], queue)
	binary.NativeEndian.PutUint16(info[2:], 1)
	return []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 1, Info: &info}}
}

// linger is how long a rule socket outlives its change. Closing one makes the kernel free the old rules and lock the namespace's rules until
// then, 5 to 15 ms; the verbs of a move follow each other faster. With it a verb takes under 1 ms. The price: a namespace may outlive its
// container by this time.
const linger = 2 * time.Second

// change runs f on the gate of a holder and puts it in force.
func change(op, ns string, f func(gate)) error {
	return within(ns, func() error {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		time.AfterFunc(linger, func() { c.CloseLasting() })
		g := openGate(c)
		f(g)
		if err := g.conn.Flush(); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		return nil
	})
}

// Yield makes the holder silent about its address: it answers no ARP, and asks nothing either, for a question names the sender's address and
// would draw the traffic here. It works before eth0 is there. What is addressed to the holder's MAC still reaches it, but for the beginning of a
// TCP connection: its handshake would end where the address goes, and be unknown there. The client begins again after a second.
func Yield(ns string) error {
	return change("yield address", ns, func(g gate) {
		in, out := device(expr.MetaKeyIIFNAME, holderName), device(expr.MetaKeyOIFNAME, holderName)
		fill(g.conn, g.new4, all(in, tcpBegin(), verdict(expr.VerdictDrop)))
		fill(g.conn, g.new6, all(in, tcpBegin(), verdict(expr.VerdictDrop)))
		fill(g.conn, g.arp, all(out, verdict(expr.VerdictDrop)))
		fill(g.conn, g.nd, all(out, icmp6(135, 136), verdict(expr.VerdictDrop)))
	})
}

// Own lets the holder answer for its addresses again and announces them once. Announce repeats that, for a frame that got lost.
func Own(ns string, addrs ...netip.Addr) error {
	err := change("own address", ns, func(g gate) {
		fill(g.conn, g.arp)
		fill(g.conn, g.nd)
		fill(g.conn, g.new4)
		fill(g.conn, g.new6)
	})
	if err != nil {
		return err
	}
	return Announce(ns, addrs...)
}

// Mute drops what the holder would send but UDP. A source is muted before its freeze: its kernel would go on retransmitting with newer TCP
// timestamps than the ones the copy has, and the client would then discard the copy's segments (PAWS). A datagram is sent by the process
// alone: one that still leaves before the freeze is an answer nobody would send again.
func Mute(ns string) error { return mute(ns, notUDP()) }

// Silence drops all IP the holder would send: a replica that may not serve any more.
func Silence(ns string) error { return mute(ns, nil) }

func mute(ns string, which []expr.Any) error {
	return change("mute", ns, func(g gate) {
		rule := all(device(expr.MetaKeyOIFNAME, holderName), which, verdict(expr.VerdictDrop))
		fill(g.conn, g.mute4, rule)
		fill(g.conn, g.mute6, rule)
	})
}

// Unmute takes Mute and Silence back.
func Unmute(ns string) error {
	return change("unmute", ns, func(g gate) {
		fill(g.conn, g.mute4)
		fill(g.conn, g.mute6)
	})
}

// Reset removes all our rules from the holder's namespace. Packets a Held still keeps are dropped.
func Reset(ns string) error {
	return within(ns, func() error {
		if err := removeTables(arpFamily, ip4Family, ip6Family); err != nil {
			return fmt.Errorf("reset gate: %w", err)
		}
		return nil
	})
}
