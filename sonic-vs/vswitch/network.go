package vswitch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const loopbackPort = "Loopback0"

// setUpNetwork makes the node's network what cfg says. It can be called again on a node that has it already.
func setUpNetwork(cfg Config) error {
	if err := unix.Sethostname([]byte(cfg.Name)); err != nil {
		return fmt.Errorf("set hostname %s: %w", cfg.Name, err)
	}
	if err := setSysctls(); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	mac, err := net.ParseMAC(cfg.MAC)
	if err != nil {
		return err
	}
	if err := setUpLoopback0(cfg, mac); err != nil {
		return err
	}
	for _, p := range cfg.Ports {
		if err := setUpPort(p, mac); err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
	}
	for _, r := range cfg.Routes {
		if err := setRoute(r, cfg.Loopback); err != nil {
			return fmt.Errorf("route %s: %w", r.Prefix, err)
		}
	}
	return nil
}

// setSysctls turns the node into a router. Its links are asymmetric at times (a tunnel's answer may come in by another
// port), so no reverse path filter; an ARP question is answered only by the port that holds the address, or both ends
// of two parallel ways to a Loopback0 would answer.
func setSysctls() error {
	for key, value := range map[string]string{
		"ip_forward":                "1",
		"conf/all/rp_filter":        "0",
		"conf/default/rp_filter":    "0",
		"conf/all/arp_ignore":       "1",
		"conf/all/arp_announce":     "2",
		"conf/all/send_redirects":   "0",
		"conf/default/arp_ignore":   "1",
		"conf/default/arp_announce": "2",
	} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4", key), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl: %w", err)
		}
	}
	return nil
}

// setUpLoopback0 makes Loopback0 a bridge without ports: this kernel may lack the dummy device, a bridge is everywhere.
// The address is valid although such a bridge has no carrier.
func setUpLoopback0(cfg Config, mac net.HardwareAddr) error {
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: loopbackPort, HardwareAddr: mac}}
	if err := netlink.LinkAdd(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %s: %w", loopbackPort, err)
	}
	return setAddress(loopbackPort, cfg.Loopback+"/32")
}

// setUpPort gives a port the address of the switch, which all ports of a SONiC switch share, and brings it up.
func setUpPort(p Port, mac net.HardwareAddr) error {
	link, err := netlink.LinkByName(p.Name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
		return fmt.Errorf("set MAC: %w", err)
	}
	// A switch does not talk IPv6 on ports nobody configured for it. Kernels without IPv6 have no such file.
	off := filepath.Join("/proc/sys/net/ipv6/conf", p.Name, "disable_ipv6")
	if err := os.WriteFile(off, []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if p.Address == "" {
		return netlink.LinkSetUp(link)
	}
	return setAddress(p.Name, p.Address)
}

// setAddress gives a link its one address and brings it up.
func setAddress(name, prefix string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		return fmt.Errorf("address %q: %w", prefix, err)
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("set address %s: %w", prefix, err)
	}
	return netlink.LinkSetUp(link)
}

// setRoute makes Loopback0 the source of what the node itself sends: the addresses of its ports are not routed.
func setRoute(r Route, loopback string) error {
	_, dst, err := net.ParseCIDR(r.Prefix)
	if err != nil {
		return err
	}
	gw := net.ParseIP(r.NextHop)
	if gw == nil {
		return fmt.Errorf("next hop %q is not an address", r.NextHop)
	}
	link, err := netlink.LinkByName(r.Port)
	if err != nil {
		return fmt.Errorf("port %s: %w", r.Port, err)
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: dst, Gw: gw, Src: net.ParseIP(loopback), Protocol: unix.RTPROT_STATIC,
	})
}

// portIndex is N of EthernetN.
func portIndex(name string) int {
	n, _ := strconv.Atoi(name[min(len("Ethernet"), len(name)):])
	return n
}
