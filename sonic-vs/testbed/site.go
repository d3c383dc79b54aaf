package testbed

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"

	"sonic-netservices/sonic-vs/line"
)

// internetName is the namespace whose bridge joins the sites.
const internetName = "internet"

// Namespaces that no node can have the name of.
func natName(site string) string  { return site + ".nat" }
func siteLine(site string) string { return site + ".line" }
func linkLine(i int) string       { return "link" + strconv.Itoa(i) + ".line" }

// Site is a plain host in a network namespace; where it has a NAT box, that is one more.
type Site struct {
	Name   string
	Public netip.Addr // its own in the internet, or its NAT box's
	Own    netip.Addr // what the host itself has
	NAT    NAT
	Netns  string
	Dir    string // its folder on this machine; its files are this machine's
}

func siteOf(instance string, s SiteSpec) Site {
	site := Site{Name: s.Name, Public: s.Address, Own: s.Address, NAT: s.NAT, Netns: netnsPath(instance, s.Name), Dir: dataDir(instance, s.Name)}
	if s.NAT != Open {
		site.Own = lanHost.Addr()
	}
	return site
}

// wireSites makes the internet and every site.
func (u *raising) wireSites() error {
	if len(u.topo.Sites) == 0 {
		return nil
	}
	if err := u.did(ensureNetns(u.Instance, internetName)); err != nil {
		return err
	}
	for i, s := range u.topo.Sites {
		if err := u.wireSite(s, "site"+strconv.Itoa(i)); err != nil {
			return fmt.Errorf("site %s: %w", s.Name, err)
		}
	}
	return nil
}

// wireSite makes a host, its NAT box, and its cable to a port of the internet.
func (u *raising) wireSite(s SiteSpec, port string) error {
	if err := os.MkdirAll(dataDir(u.Instance, s.Name), 0o755); err != nil {
		return err
	}
	if err := u.did(ensureNetns(u.Instance, s.Name)); err != nil {
		return err
	}
	public := netip.PrefixFrom(s.Address, u.topo.Internet.Bits())
	out := linkEnd{netns: netnsPath(u.Instance, s.Name), name: clientPort}
	if s.NAT != Open {
		if err := u.did(ensureNetns(u.Instance, natName(s.Name))); err != nil {
			return err
		}
		box := netnsPath(u.Instance, natName(s.Name))
		if err := u.did(ensureLink(out, linkEnd{netns: box, name: lanPort})); err != nil {
			return err
		}
		if err := configurePort(out, lanHost, lanBox.Addr()); err != nil {
			return err
		}
		if err := configurePort(linkEnd{netns: box, name: lanPort}, lanBox, netip.Addr{}); err != nil {
			return err
		}
		out = linkEnd{netns: box, name: wanPort}
	}
	in := linkEnd{netns: netnsPath(u.Instance, internetName), name: port}
	if err := u.wireShaped(out, in, siteLine(s.Name), s.Line); err != nil {
		return err
	}
	if err := joinInternet(in); err != nil {
		return err
	}
	if err := configurePort(out, public, netip.Addr{}); err != nil {
		return err
	}
	if s.NAT == Open {
		return nil
	}
	return inNetns(out.netns, s.NAT.translate)
}

// wireShaped makes a link that is not plain: in its middle is a namespace with a process that carries the frames.
func (u *raising) wireShaped(a, b linkEnd, middle string, shape line.Shape) error {
	if shape.Plain() {
		return u.did(ensureLink(a, b))
	}
	if err := u.did(ensureNetns(u.Instance, middle)); err != nil {
		return err
	}
	ns := netnsPath(u.Instance, middle)
	ends := [2]linkEnd{{netns: ns, name: "a"}, {netns: ns, name: "b"}}
	for i, far := range [2]linkEnd{a, b} {
		if err := u.did(ensureLink(far, ends[i])); err != nil {
			return err
		}
		if err := configurePort(ends[i], netip.Prefix{}, netip.Addr{}); err != nil {
			return err
		}
	}
	if shape.Loss > 0 { // else 64 KiB that TCP sends at once would be lost or saved as one
		for _, end := range []linkEnd{a, b} {
			if err := oneSegment(end); err != nil {
				return err
			}
		}
	}
	running, err := processesIn(ns)
	if err != nil || len(running) > 0 {
		return err
	}
	u.changed = true
	carrier := exec.Command(u.Binary, shape.Args("a", "b")...)
	carrier.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := inNetns(ns, carrier.Start); err != nil {
		return fmt.Errorf("line %s: %w", middle, err)
	}
	go carrier.Wait() // it outlives us, as a rule; if it does not, no zombie stays
	return nil
}

// joinInternet plugs a port into the internet's bridge, which it makes if there is none.
func joinInternet(port linkEnd) error {
	return inNetns(port.netns, func() error {
		const name = "br0"
		if _, err := netlink.LinkByName(name); err != nil {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
				return fmt.Errorf("bridge: %w", err)
			}
		}
		bridge, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(bridge); err != nil {
			return err
		}
		link, err := netlink.LinkByName(port.name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
}

// configurePort brings an interface up, with an address and a way to everywhere else if there are such.
func configurePort(port linkEnd, addr netip.Prefix, gateway netip.Addr) error {
	return inNetns(port.netns, func() error {
		link, err := netlink.LinkByName(port.name)
		if err != nil {
			return fmt.Errorf("%s: %w", port.name, err)
		}
		if addr.IsValid() {
			bits := net.CIDRMask(addr.Bits(), addr.Addr().BitLen())
			if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr.Addr().AsSlice(), Mask: bits}}); err != nil {
				return err
			}
		}
		if err := netlink.LinkSetUp(link); err != nil || !gateway.IsValid() {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()})
	})
}

// oneSegment makes an interface hand on no more than one segment at a time.
func oneSegment(port linkEnd) error {
	return inNetns(port.netns, func() error {
		link, err := netlink.LinkByName(port.name)
		if err != nil {
			return err
		}
		return netlink.LinkSetGSOMaxSegs(link, 1)
	})
}

// wireLink makes link i of the switches.
func (u *raising) wireLink(i int, l LinkSpec) error {
	end := func(p PortRef) linkEnd { return linkEnd{netns: netnsPath(u.Instance, p.Node), name: p.Port} }
	return u.wireShaped(end(l.A), end(l.B), linkLine(i), l.Line)
}
