// Package address is the network side of a service that moves: the segment every switch is part of, and the traffic verbs of a move.
//
// It writes links, addresses, VXLAN peers and packet rules of the switch (Set, Clear) and of one holder's network namespace (Yield, Own,
// Mute, Hold, Reset). It reads nothing but the kernel's present state, keeps no files, and is told by mig-agent's privileged helper. It needs
// CAP_NET_ADMIN and CAP_SYS_ADMIN in the namespaces it is given.
//
//	holder eth0 --veth-- nsbr --nsvx (VXLAN over Loopback0)-- nsbr --veth-- holder eth0
//	                      |                                     |
//	             access port, gateway                  access port, gateway
//
// Every function takes the path of the network namespace it acts on (/proc/PID/ns/net, /run/netns/NAME); "" is the caller's own.
//
// An address moves between two holders in this order; every step can be taken back until Release:
//
//	target Yield, Set, Hold | source Yield, target Own | source Mute, freeze, copy | commit | target Release
package address

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// Devices of the segment on a switch.
const (
	bridgeName = "nsbr"
	vxlanName  = "nsvx"
	vethPrefix = "nsh" // + 8 hex digits: the switch's end of a holder's veth
	holderName = "eth0"
)

// Segment is what one switch's part of the service network shall look like.
type Segment struct {
	VNI      int
	UDPPort  int            // of the VXLAN; not 4789, which is the ASIC's own tunnel end
	MTU      int            // bytes of an inner IP packet; one value for the whole AS
	Local    netip.Addr     // Loopback0 of this switch
	Peers    []netip.Addr   // Loopback0 of the other switches; frames to all are sent to each of them
	Gateways []netip.Prefix // the same on every switch, at most one of each family
	Access   []string       // ports with clients behind them
	Holders  []Holder       // the replicas on this switch
}

// Holder is the network namespace that owns the addresses of one replica.
type Holder struct {
	Name      string           // of the holder's container
	NetNS     string           // path of its network namespace
	Addresses []netip.Prefix   // of the service, IPv4 and IPv6, the same on every switch; they move together
	MAC       net.HardwareAddr // differs per switch, or a late frame of the old switch would steal the addresses back
	Ports     []Port           // published on Local of the switch; a replica that does not serve yet has none
}

// MAC is the hardware address of a replica's holder on a node: stable, locally administered, distinct per node and replica.
func MAC(node, replica string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(node + "\x00" + replica))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}

// veth is the name of the switch's end of a holder's veth. The kernel allows 15 bytes, so it is a hash; the link's alias has the name.
func (h Holder) veth() string {
	sum := sha256.Sum256([]byte(h.Name))
	return vethPrefix + hex.EncodeToString(sum[:4])
}

// LeastMTU6 is the smallest MTU with which a link can carry IPv6 (RFC 8200); the kernel knows no IPv6 on others.
const LeastMTU6 = 1280

func (s Segment) hasIPv6() bool {
	is6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
	return slices.ContainsFunc(s.Gateways, is6) ||
		slices.ContainsFunc(s.Holders, func(h Holder) bool { return slices.ContainsFunc(h.Addresses, is6) })
}

func (s Segment) validate() error {
	switch {
	case s.VNI < 1 || s.VNI >= 1<<24:
		return fmt.Errorf("vni %d: want 1 to 16777215", s.VNI)
	case s.UDPPort < 1 || s.UDPPort > 65535:
		return fmt.Errorf("udp port %d: want 1 to 65535", s.UDPPort)
	case s.MTU < 576 || s.MTU > 9216:
		return fmt.Errorf("mtu %d: want 576 to 9216", s.MTU)
	case !s.Local.IsValid():
		return errors.New("local address is missing")
	case len(s.Gateways) == 0:
		return errors.New("gateway is missing")
	}
	for i, g := range s.Gateways {
		if !g.IsValid() || i > 0 && g.Addr().Is4() == s.Gateways[0].Addr().Is4() {
			return fmt.Errorf("gateways %v: want one of each family at most", s.Gateways)
		}
	}
	if s.MTU < LeastMTU6 && s.hasIPv6() {
		return fmt.Errorf("mtu %d: IPv6 needs %d", s.MTU, LeastMTU6)
	}
	ends := map[string]string{}
	for _, h := range s.Holders {
		if other, taken := ends[h.veth()]; taken {
			return fmt.Errorf("holders %s and %s: same interface %s", other, h.Name, h.veth())
		}
		ends[h.veth()] = h.Name
		if h.NetNS == "" || len(h.Addresses) == 0 || slices.Contains(h.Addresses, netip.Prefix{}) || len(h.MAC) != 6 {
			return fmt.Errorf("holder %q: want a network namespace, addresses and a MAC", h.Name)
		}
	}
	_, err := s.published()
	return err
}

// Set makes the segment on the switch what s says and changes nothing that is right already: a new peer or holder does not disturb the
// others. It does all it can; the error joins what it could not, such as an access port that does not exist yet.
//
// When it returns the holders can be reached. Set does not announce a holder's address, but the holder answers for it as soon as it is there: Yield first where another one serves it.
func Set(ctx context.Context, ns string, s Segment) error {
	if err := s.validate(); err != nil {
		return fmt.Errorf("set segment: %w", err)
	}
	return within(ns, func() error {
		bridge, err := setBridge(s)
		if err != nil {
			return fmt.Errorf("set segment: bridge: %w", err)
		}
		vxlan, err := setVXLAN(s, bridge)
		if err != nil {
			return fmt.Errorf("set segment: vxlan: %w", err)
		}
		if err := guardGateways(s.Gateways); err != nil {
			return fmt.Errorf("set segment: gateway rules: %w", err)
		}
		// Only now: before the rules were there, no frame may cross.
		if err := netlink.LinkSetUp(vxlan); err != nil {
			return fmt.Errorf("set segment: vxlan up: %w", err)
		}
		var failed []error
		if err := setPeers(vxlan, s.Peers); err != nil {
			failed = append(failed, fmt.Errorf("set segment: peers: %w", err))
		}
		if err := releasePorts(s, bridge); err != nil {
			failed = append(failed, fmt.Errorf("set segment: %w", err))
		}
		for _, port := range s.Access {
			if err := setAccess(port, bridge); err != nil {
				failed = append(failed, fmt.Errorf("set segment: access port %s: %w", port, err))
			}
		}
		for _, h := range s.Holders {
			if err := ctx.Err(); err != nil {
				return errors.Join(append(failed, err)...)
			}
			if err := setHolder(s, h, bridge); err != nil {
				failed = append(failed, fmt.Errorf("set segment: holder %s: %w", h.Name, err))
				continue
			}
			if err := awaitUp(ctx, h.veth()); err != nil {
				failed = append(failed, fmt.Errorf("set segment: holder %s: %w", h.Name, err))
			}
		}
		if err := setPorts(s); err != nil {
			failed = append(failed, fmt.Errorf("set segment: published ports: %w", err))
		}
		return errors.Join(failed...)
	})
}

// releasePorts lets go of what is on the bridge and not wanted: veths of holders that are gone are deleted, access ports leave it.
func releasePorts(s Segment, bridge netlink.Link) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		switch {
		case isHolderVeth(l):
			if slices.ContainsFunc(s.Holders, func(h Holder) bool { return h.veth() == name }) {
				continue
			}
			if err := netlink.LinkDel(l); err != nil && !isGone(err) {
				return fmt.Errorf("delete %s of %s: %w", name, l.Attrs().Alias, err)
			}
		case l.Attrs().MasterIndex == bridge.Attrs().Index && name != vxlanName && !slices.Contains(s.Access, name):
			if err := netlink.LinkSetNoMaster(l); err != nil {
				return fmt.Errorf("release port %s: %w", name, err)
			}
		}
	}
	return nil
}

// Clear removes everything Set made on the switch. Access ports stay, without a bridge.
func Clear(ctx context.Context, ns string) error {
	return within(ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("clear segment: list links: %w", err)
		}
		for _, l := range links {
			name := l.Attrs().Name
			if !isHolderVeth(l) && name != vxlanName && name != bridgeName {
				continue
			}
			if err := netlink.LinkDel(l); err != nil && !isGone(err) {
				return fmt.Errorf("clear segment: delete %s: %w", name, err)
			}
		}
		if err := removeTables(bridgeFamily, ip4Family); err != nil {
			return fmt.Errorf("clear segment: rules: %w", err)
		}
		return ctx.Err()
	})
}
