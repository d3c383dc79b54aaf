// Package host watches the machine's own network for n2n-edge/edge: which addresses it has, and when they or routes change.
//
// It reads netlink, writes nothing, and is told by n2n-edge's main.
package host

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// calm is how long the network has to be quiet before a change is told: addresses and routes change together.
const calm = 500 * time.Millisecond

// Host is the machine's network, without one device.
type Host struct {
	except  string
	changes chan struct{}
}

// Watch begins to watch, until ctx ends. What happens to the device that is called except is not told.
func Watch(ctx context.Context, except string) (*Host, error) {
	h := &Host{except: except, changes: make(chan struct{}, 1)}
	addrs, routes := make(chan netlink.AddrUpdate, 16), make(chan netlink.RouteUpdate, 16)
	if err := netlink.AddrSubscribe(addrs, ctx.Done()); err != nil {
		return nil, fmt.Errorf("host: watch addresses: %w", err)
	}
	if err := netlink.RouteSubscribe(routes, ctx.Done()); err != nil {
		return nil, fmt.Errorf("host: watch routes: %w", err)
	}
	go h.collect(addrs, routes)
	return h, nil
}

// collect tells of changes once they are over. It ends when both channels do, which is when the context ends.
func (h *Host) collect(addrs chan netlink.AddrUpdate, routes chan netlink.RouteUpdate) {
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	for addrs != nil || routes != nil {
		select {
		case u, ok := <-addrs:
			if !ok {
				addrs = nil
			} else if u.LinkIndex != h.index() {
				quiet.Reset(calm)
			}
		case u, ok := <-routes:
			if !ok {
				routes = nil
			} else if u.LinkIndex != h.index() && u.Table != unix.RT_TABLE_LOCAL {
				quiet.Reset(calm)
			}
		case <-quiet.C:
			select {
			case h.changes <- struct{}{}:
			default:
			}
		}
	}
}

// index of the device that is left out; 0 when it is not there.
func (h *Host) index() int {
	link, err := netlink.LinkByName(h.except)
	if err != nil {
		return 0
	}
	return link.Attrs().Index
}

// Changes sends after addresses or routes have changed.
func (h *Host) Changes() <-chan struct{} { return h.changes }

// Addrs are the addresses others may reach this host at, IPv6 first: those have no NAT before them. Those of tunnels are
// left out: the device of another edge on this host leads to its peers all right, but one overlay in the other.
func (h *Host) Addrs() ([]netip.Addr, error) {
	tunnels, err := tunnels()
	if err != nil {
		return nil, fmt.Errorf("host: devices: %w", err)
	}
	var v4, v6 []netip.Addr
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("host: addresses: %w", err)
	}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		temporary := a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DEPRECATED) != 0
		if !ok || tunnels[a.LinkIndex] || temporary || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			continue
		}
		if ip.Is4() {
			v4 = append(v4, ip)
		} else {
			v6 = append(v6, ip)
		}
	}
	return append(v6, v4...), nil
}

// tunnels are the devices by which packets go in packets, by index.
func tunnels() (map[int]bool, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	all := map[int]bool{}
	for _, l := range links {
		switch l.Type() {
		case "tun", "tuntap", "vxlan":
			all[l.Attrs().Index] = true
		}
	}
	return all, nil
}
