package address

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// setHolder makes the veth between the bridge and the holder's eth0, and the holder's side of the network.
func setHolder(s Segment, h Holder, bridge netlink.Link) error {
	ns, err := os.Open(h.NetNS)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer ns.Close()

	end, err := netlink.LinkByName(h.veth())
	if err != nil && !isGone(err) {
		return err
	}
	if err == nil && !reaches(end, h.NetNS) {
		// The container was made anew: this veth ends in the namespace of its predecessor.
		if err := netlink.LinkDel(end); err != nil && !isGone(err) {
			return fmt.Errorf("replace %s: %w", h.veth(), err)
		}
		end = nil
	}
	if end == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = h.veth(), s.MTU
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: holderName, PeerHardwareAddr: h.MAC, PeerMTU: uint32(s.MTU),
			PeerNamespace: netlink.NsFd(int(ns.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s: %w", h.veth(), err)
		}
		if end, err = netlink.LinkByName(h.veth()); err != nil {
			return err
		}
	}
	if end.Attrs().Alias != h.Name {
		if err := netlink.LinkSetAlias(end, h.Name); err != nil {
			return fmt.Errorf("alias: %w", err)
		}
	}
	if err := setLink(end, s.MTU, nil); err != nil {
		return err
	}
	if err := join(end, bridge); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(end); err != nil {
		return fmt.Errorf("%s up: %w", h.veth(), err)
	}
	return within(h.NetNS, func() error { return setInside(s, h) })
}

// awaitUp waits until the kernel has noticed that a new veth is up, which it does once a second at the latest: until then the bridge
// forwards nothing on the port, and an announcement would be lost.
func awaitUp(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if l.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not come up: %w", name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// reaches says whether the other end of a veth is eth0 in the namespace.
func reaches(end netlink.Link, ns string) bool {
	err := within(ns, func() error {
		inside, err := netlink.LinkByName(holderName)
		if err != nil {
			return err
		}
		if inside.Attrs().ParentIndex != end.Attrs().Index || end.Attrs().ParentIndex != inside.Attrs().Index {
			return fmt.Errorf("%s is not the other end", holderName)
		}
		return nil
	})
	return err == nil
}

// setInside runs in the holder's namespace.
func setInside(s Segment, h Holder) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := setFamilies("lo", h.Addresses); err != nil { // programs see by ::1 whether there is IPv6
		return fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	eth, err := netlink.LinkByName(holderName)
	if err != nil {
		return err
	}
	if err := setLink(eth, s.MTU, h.MAC); err != nil {
		return fmt.Errorf("%s: %w", holderName, err)
	}
	if err := setFamilies(holderName, h.Addresses); err != nil {
		return fmt.Errorf("%s: %w", holderName, err)
	}
	if err := setAddresses(eth, h.Addresses); err != nil {
		return fmt.Errorf("%s: %w", holderName, err)
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return fmt.Errorf("%s up: %w", holderName, err)
	}
	for _, g := range s.Gateways { // without one, a family stays inside the segment
		same := func(p netip.Prefix) bool { return p.Addr().Is4() == g.Addr().Is4() }
		if !slices.ContainsFunc(h.Addresses, same) {
			continue
		}
		if err := setDefaultRoute(eth, g.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// setDefaultRoute sends everything else of a family to the gateway, which is the switch the holder is on.
func setDefaultRoute(eth netlink.Link, gateway netip.Addr) error {
	family, all := netlink.FAMILY_V4, &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if gateway.Is6() {
		family, all = netlink.FAMILY_V6, &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	routes, err := netlink.RouteList(eth, family)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if (r.Dst == nil || r.Dst.String() == all.String()) && r.Gw.Equal(gateway.AsSlice()) {
			return nil
		}
	}
	route := &netlink.Route{LinkIndex: eth.Attrs().Index, Dst: all, Gw: gateway.AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("default route by %s: %w", gateway, err)
	}
	return nil
}

func isHolderVeth(l netlink.Link) bool {
	return l.Type() == "veth" && strings.HasPrefix(l.Attrs().Name, vethPrefix) && len(l.Attrs().Name) == len(vethPrefix)+8
}
