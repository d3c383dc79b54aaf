package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonic-netservices/n2n-edge/edge/offload"
)

// maxPieces is how many pieces a frame may have: more than offload ever makes.
const maxPieces = 128

// device reads and writes the kernel's descriptor itself and waits with poll: the goroutine that waits is the one that goes
// on, without a detour through the runtime's poller, which costs a round trip twice.
type device struct {
	fd, wake int
	name     string
	index    int
	offload  bool
	header   [offload.HeaderLen]byte
	iov      [maxPieces]unix.Iovec
}

// Open makes a device and sets it up, without an address.
func Open(cfg Config) (Device, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tap: open /dev/net/tun: %w", err)
	}
	d := &device{fd: fd, wake: -1}
	if err := d.setup(cfg); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *device) setup(cfg Config) error {
	ifr, err := unix.NewIfreq(cfg.Name)
	if err != nil {
		return fmt.Errorf("tap: name %q: %w", cfg.Name, err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(d.fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("tap: make device %q: %w", cfg.Name, err)
	}
	d.name = ifr.Name()
	if !cfg.NoOffload {
		const want = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
		d.offload = unix.IoctlSetInt(d.fd, unix.TUNSETOFFLOAD, want) == nil
	}
	if d.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("tap: eventfd: %w", err)
	}
	link, err := netlink.LinkByName(d.name)
	if err != nil {
		return fmt.Errorf("tap: find %s: %w", d.name, err)
	}
	d.index = link.Attrs().Index
	if err := netlink.LinkSetHardwareAddr(link, net.HardwareAddr(cfg.MAC[:])); err != nil {
		return fmt.Errorf("tap: %s: set MAC: %w", d.name, err)
	}
	if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
		return fmt.Errorf("tap: %s: set MTU %d: %w", d.name, cfg.MTU, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("tap: %s: set up: %w", d.name, err)
	}
	return nil
}

func (d *device) Read(b []byte, wait bool) (int, error) {
	for {
		n, err := unix.Read(d.fd, b)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if !wait {
				return 0, nil
			}
			if err := d.wait(); err != nil {
				return 0, err
			}
		case errors.Is(err, unix.EBADF), errors.Is(err, unix.EBADFD):
			return 0, ErrClosed
		default:
			return 0, fmt.Errorf("tap: read %s: %w", d.name, err)
		}
	}
}

// wait returns when there may be a frame.
func (d *device) wait() error {
	fds := [2]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	_, err := unix.Poll(fds[:], -1)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("tap: poll %s: %w", d.name, err)
	}
	if fds[1].Revents != 0 || fds[0].Revents&(unix.POLLNVAL|unix.POLLERR) != 0 {
		return ErrClosed
	}
	return nil
}

func (d *device) WriteFrame(h *offload.Header, pieces [][]byte) error {
	if len(pieces) >= maxPieces {
		return fmt.Errorf("tap: write %s: a frame of %d pieces", d.name, len(pieces))
	}
	h.Encode(d.header[:])
	d.iov[0].Base = &d.header[0]
	d.iov[0].SetLen(len(d.header))
	n := 1
	for _, p := range pieces {
		if len(p) == 0 {
			continue
		}
		d.iov[n].Base = &p[0]
		d.iov[n].SetLen(len(p))
		n++
	}
	for {
		_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(&d.iov)), uintptr(n))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("tap: write %s: %w", d.name, errno)
		}
	}
}

func (d *device) SetAddress(p netip.Prefix) error {
	link, err := netlink.LinkByIndex(d.index)
	if err != nil {
		return fmt.Errorf("tap: find %s: %w", d.name, err)
	}
	old, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("tap: addresses of %s: %w", d.name, err)
	}
	want := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}
	have := false
	for _, a := range old {
		if a.IPNet.String() == want.IPNet.String() {
			have = true
		} else if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("tap: %s: take off %v: %w", d.name, a.IPNet, err)
		}
	}
	if have {
		return nil
	}
	if err := netlink.AddrAdd(link, want); err != nil {
		return fmt.Errorf("tap: %s: set address %v: %w", d.name, p, err)
	}
	return nil
}

func (d *device) Name() string  { return d.name }
func (d *device) Offload() bool { return d.offload }

// Close wakes the reader and takes the device off. The descriptor goes last, so that its number is not another file's yet
// when the reader looks at it again.
func (d *device) Close() error {
	if d.wake >= 0 {
		one := [8]byte{1}
		if _, err := unix.Write(d.wake, one[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("tap: wake the reader of %s: %w", d.name, err)
		}
	}
	if err := unix.Close(d.fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	return nil
}
