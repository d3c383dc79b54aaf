package host

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Peers are told where this host is, not where one overlay leads through another.
func TestAddrsLeaveOutTunnels(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
		t.Skip("only root makes namespaces")
	} else if err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct {
		link netlink.Link
		addr string
	}{
		{&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}, "192.0.2.1/24"},
		{&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "n2n0"}, Mode: netlink.TUNTAP_MODE_TAP}, "10.99.0.1/24"},
		{&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0"}, VxlanId: 7, Port: 4790}, "10.98.0.1/24"},
	} {
		if err := netlink.LinkAdd(d.link); err != nil {
			t.Fatal(err)
		}
		addr, err := netlink.ParseAddr(d.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(netlink.AddrAdd(d.link, addr), netlink.LinkSetUp(d.link)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := (&Host{}).Addrs()
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.1")}; !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
}
