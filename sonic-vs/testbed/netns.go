package testbed

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 looks for named network namespaces.
const netnsDir = "/run/netns"

const clientPort = "eth0" // the client's end of its link

func netnsName(instance, node string) string { return instance + "-" + node }
func netnsPath(instance, node string) string {
	return filepath.Join(netnsDir, netnsName(instance, node))
}

// ensureNetns makes the named namespace if it is not there and says whether it had to.
func ensureNetns(instance, node string) (made bool, err error) {
	path := netnsPath(instance, node)
	if isNetns(path) {
		return false, nil
	}
	if err := removeNetns(path); err != nil { // the plain file a killed `up` left
		return false, err
	}
	if err := shareNetnsDir(); err != nil {
		return false, err
	}
	return true, onOwnThread(func() error {
		ns, err := netns.NewNamed(netnsName(instance, node)) // and this thread is in it
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", netnsName(instance, node), err)
		}
		defer ns.Close()
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// shareNetnsDir makes the folder a shared mount of its own, as the first `ip netns add` would. Were that to come after
// us, our names would be hidden below it, where nobody can remove them.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", netnsDir, err)
	}
	return unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
}

// unshareNetnsDir undoes that when no name is left; whoever needs the mount next makes it again.
func unshareNetnsDir() {
	if left, err := os.ReadDir(netnsDir); err == nil && len(left) == 0 {
		unix.Unmount(netnsDir, 0) // fails while it holds another mount
	}
}

func isNetns(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// removeNetns unmounts and removes the name. The interfaces go first and by hand: a process that still holds the
// namespace would otherwise keep them.
func removeNetns(path string) error {
	if isNetns(path) {
		if err := inNetns(path, func() error { return removeLinks(nil) }); err != nil {
			return fmt.Errorf("interfaces of %s: %w", path, err)
		}
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// resetNetns brings the namespace of a dead node to what it is after a power cycle, with the cables still plugged in.
// A new namespace would pull the cables out of the living neighbours too.
func resetNetns(path string, ports []string) error {
	return inNetns(path, func() error {
		if err := removeLinks(ports); err != nil {
			return err
		}
		for _, name := range ports {
			port, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetDown(port); err != nil {
				return err
			}
			if port.Attrs().MasterIndex != 0 {
				if err := netlink.LinkSetNoMaster(port); err != nil {
					return err
				}
			}
			addrs, err := netlink.AddrList(port, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if err := netlink.AddrDel(port, &a); err != nil {
					return err
				}
			}
		}
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		nft.FlushRuleset()
		return nft.Flush()
	})
}

// removeLinks removes every interface of the current namespace but lo and keep.
func removeLinks(keep []string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		name := l.Attrs().Name
		if name == "lo" || slices.Contains(keep, name) {
			continue
		}
		// A veth or a vlan may have gone with the one before; what cannot be deleted is a device of the kernel's own.
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("remove interface %s: %w", name, err)
		}
	}
	return nil
}

// linkEnd is one end of a cable.
type linkEnd struct {
	netns, name string
	mtu         int // 0: the kernel's default
}

// ensureLink plugs a veth between two namespaces, made in place: no interface ever shows up in the host's namespace.
func ensureLink(a, b linkEnd) (made bool, err error) {
	nsA, err := netns.GetFromPath(a.netns)
	if err != nil {
		return false, err
	}
	defer nsA.Close()
	nsB, err := netns.GetFromPath(b.netns)
	if err != nil {
		return false, err
	}
	defer nsB.Close()
	hasA, err := hasLink(nsA, a.name)
	if err != nil {
		return false, err
	}
	hasB, err := hasLink(nsB, b.name)
	if err != nil || hasA && hasB { // one end cannot go without the other
		return false, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace, attrs.MTU = a.name, netlink.NsFd(nsA), a.mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: b.name, PeerNamespace: netlink.NsFd(nsB), PeerMTU: uint32(b.mtu)}
	if err := netlink.LinkAdd(veth); err != nil {
		return false, fmt.Errorf("link %s - %s: %w", a.name, b.name, err)
	}
	return true, nil
}

func hasLink(ns netns.NsHandle, name string) (bool, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return false, err
	}
	defer h.Close()
	_, err = h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	return err == nil, err
}

// configureClient sets address and default route of a client; the switches configure themselves.
func configureClient(instance string, c ClientSpec, seg Segment) error {
	return inNetns(netnsPath(instance, c.Name), func() error {
		eth, err := netlink.LinkByName(clientPort)
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: c.Address.AsSlice(), Mask: net.CIDRMask(seg.Gateway.Bits(), 32)}}
		if err := netlink.AddrReplace(eth, addr); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(eth); err != nil {
			return err
		}
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: seg.Gateway.Addr().AsSlice()}); err != nil {
			return err
		}
		if !c.Address6.IsValid() {
			return nil
		}
		// Ready at once: nobody else in a test bed has the address.
		addr6 := &netlink.Addr{IPNet: &net.IPNet{IP: c.Address6.AsSlice(), Mask: net.CIDRMask(seg.Gateway6.Bits(), 128)}, Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrReplace(eth, addr6); err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: seg.Gateway6.Addr().AsSlice()})
	})
}

// inNetns runs f on a thread inside the namespace.
func inNetns(path string, f func() error) error {
	return onOwnThread(func() error {
		ns, err := netns.GetFromPath(path)
		if err != nil {
			return fmt.Errorf("network namespace %s: %w", path, err)
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return f()
	})
}

// onOwnThread runs f on a thread of its own and takes the thread back to the namespace it came from. A thread that
// cannot go back ends with its goroutine.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		origin, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer origin.Close()
		err = f()
		if netns.Set(origin) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
