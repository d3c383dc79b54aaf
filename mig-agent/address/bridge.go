package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setBridge makes the bridge with the gateways' addresses. Its MAC is fixed: left alone it would follow the lowest MAC of its ports, and every
// neighbour would lose the gateway whenever a holder comes or goes.
func setBridge(s Segment) (netlink.Link, error) {
	l, err := netlink.LinkByName(bridgeName)
	if isGone(err) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = bridgeName
		snooping := false // no querier here: snooping would only lose IPv6 neighbour discovery
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return nil, fmt.Errorf("add: %w", err)
		}
		l, err = netlink.LinkByName(bridgeName)
	}
	if err != nil {
		return nil, err
	}
	if err := setLink(l, s.MTU, MAC(s.Local.String(), "gateway")); err != nil {
		return nil, err
	}
	if err := setFamilies(bridgeName, s.Gateways); err != nil {
		return nil, err
	}
	for _, knob := range []struct{ key, value string }{
		{"ipv4/conf/" + bridgeName + "/arp_ignore", "1"},   // the gateway answers for its own address only, not for Loopback0
		{"ipv4/conf/" + bridgeName + "/arp_announce", "2"}, // and asks in its own name
		{"ipv4/conf/" + bridgeName + "/rp_filter", "2"},    // loose: answers may leave by the gateway of another switch
		{"bridge/bridge-nf-call-iptables", "0"},            // frames are switched: Docker's FORWARD policy must not see them
		{"bridge/bridge-nf-call-ip6tables", "0"},
		{"bridge/bridge-nf-call-arptables", "0"},
	} {
		if err := sysctl(knob.key, knob.value, true); err != nil {
			return nil, err
		}
	}
	if err := setAddresses(l, s.Gateways); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return l, netlink.LinkSetUp(l)
}

// setLink gives a link its MTU and MAC where they differ.
func setLink(l netlink.Link, mtu int, mac net.HardwareAddr) error {
	if l.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("mtu %d: %w", mtu, err)
		}
	}
	if mac != nil && !slices.Equal(l.Attrs().HardwareAddr, mac) {
		if err := netlink.LinkSetHardwareAddr(l, mac); err != nil {
			return fmt.Errorf("mac %s: %w", mac, err)
		}
	}
	return nil
}

// setFamilies lets a link have an IPv6 address of its own only where it is given one. No router of the segment may give
// it more, and nobody else's claim take one away: another switch has the same address on purpose.
func setFamilies(link string, addrs []netip.Prefix) error {
	off := "1"
	if slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		off = "0"
	}
	for _, knob := range []struct{ key, value string }{{"accept_ra", "0"}, {"accept_dad", "0"}, {"disable_ipv6", off}} {
		if err := sysctl("ipv6/conf/"+link+"/"+knob.key, knob.value, true); err != nil {
			return err
		}
	}
	return nil
}

// setAddresses makes want the only global addresses of the link, in this order: the first of a net is the one that what
// begins here is sent from.
func setAddresses(l netlink.Link, want []netip.Prefix) error {
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.Scope != int(netlink.SCOPE_UNIVERSE) || slices.ContainsFunc(want, func(p netip.Prefix) bool { return isPrefix(a.IPNet, p) }) {
			continue
		}
		// One of IPv4 takes the later ones of its net along.
		if err := netlink.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %s: %w", a.IPNet, err)
		}
	}
	if addrs, err = netlink.AddrList(l, netlink.FAMILY_ALL); err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, p := range want {
		if slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return isPrefix(a.IPNet, p) }) {
			continue
		}
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // the other holder of the address is there on purpose
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}

func isPrefix(n *net.IPNet, p netip.Prefix) bool { return n.String() == p.String() }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// setVXLAN makes the tunnel end and its bridge port; the caller brings it up. What cannot be changed on a living one makes a new one.
func setVXLAN(s Segment, bridge netlink.Link) (netlink.Link, error) {
	l, err := netlink.LinkByName(vxlanName)
	if err != nil && !isGone(err) {
		return nil, err
	}
	if vx, is := l.(*netlink.Vxlan); err == nil &&
		(!is || vx.VxlanId != s.VNI || vx.Port != s.UDPPort || !vx.SrcAddr.Equal(s.Local.AsSlice()) || !vx.Learning) {
		if err := netlink.LinkDel(l); err != nil {
			return nil, fmt.Errorf("replace: %w", err)
		}
		l = nil
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = vxlanName
		attrs.MTU = s.MTU
		vx := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: s.VNI, Port: s.UDPPort, SrcAddr: s.Local.AsSlice(), Learning: true, TTL: 64}
		if err := netlink.LinkAdd(vx); err != nil {
			return nil, fmt.Errorf("add: %w", err)
		}
		if l, err = netlink.LinkByName(vxlanName); err != nil {
			return nil, err
		}
	}
	if err := setLink(l, s.MTU, nil); err != nil {
		return nil, err
	}
	return l, join(l, bridge)
}

// join makes a link a port of the bridge: no IPv6 of its own, or every port would speak on the segment.
func join(l, bridge netlink.Link) error {
	if err := sysctl("ipv6/conf/"+l.Attrs().Name+"/disable_ipv6", "1", true); err != nil {
		return err
	}
	if l.Attrs().MasterIndex == bridge.Attrs().Index {
		return nil
	}
	if err := netlink.LinkSetMaster(l, bridge); err != nil {
		return fmt.Errorf("join %s: %w", bridgeName, err)
	}
	return nil
}

func setAccess(port string, bridge netlink.Link) error {
	l, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	if m := l.Attrs().MasterIndex; m != 0 && m != bridge.Attrs().Index {
		return fmt.Errorf("already a port of another bridge (index %d)", m)
	}
	if err := join(l, bridge); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// setPeers makes the flooding list, the entries of the all-zero MAC, exactly the peers, and forgets what was learned behind a removed one.
func setPeers(vxlan netlink.Link, peers []netip.Addr) error {
	entries, err := netlink.NeighList(vxlan.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("list forwarding entries: %w", err)
	}
	flooded := map[netip.Addr]bool{}
	for _, e := range entries {
		dst, ok := netip.AddrFromSlice(e.IP)
		if !ok {
			continue // the bridge's own entry of the port
		}
		dst = dst.Unmap()
		if slices.Contains(peers, dst) {
			flooded[dst] = flooded[dst] || isZero(e.HardwareAddr)
			continue
		}
		// A learned entry may age out under our hands.
		if err := netlink.NeighDel(&e); err != nil && !isGone(err) {
			return fmt.Errorf("remove %s at %s: %w", e.HardwareAddr, dst, err)
		}
	}
	for _, p := range peers {
		if flooded[p] {
			continue
		}
		err := netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: vxlan.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, HardwareAddr: make(net.HardwareAddr, 6), IP: p.AsSlice(),
		})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add peer %s: %w", p, err)
		}
	}
	return nil
}

func isZero(mac net.HardwareAddr) bool { return slices.Equal(mac, make(net.HardwareAddr, 6)) }
