package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonic-netservices/n2n-edge/edge/offload"
)

// maxPieces is how many pieces a frame may have: more than offload ever makes.
const maxPieces = 128

// device waits with the runtime's poller. Calls that do not wait are made without telling Go's scheduler (RawSyscall), which
// would wake its watchdog first, on the way of every packet.
type device struct {
	file    *os.File
	raw     syscall.RawConn
	name    string
	index   int
	offload bool
	closed  atomic.Bool

	read   transfer
	write  transfer
	header [offload.HeaderLen]byte
	iov    [maxPieces]unix.Iovec
}

// transfer is a call in the hands of the poller. The function is made once, so that a call costs no memory.
type transfer struct {
	try   func(fd uintptr) bool
	base  unsafe.Pointer
	len   int
	now   bool // do not wait
	n     int
	errno unix.Errno
}

// Open makes a device and sets it up, without an address.
func Open(cfg Config) (Device, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("tap: open /dev/net/tun: %w", err)
	}
	d := &device{}
	if err := d.create(fd, cfg); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Only now: the poller does not take a descriptor without a device behind it.
	d.file = os.NewFile(uintptr(fd), "/dev/net/tun")
	if err := d.setup(cfg); err != nil {
		return nil, errors.Join(err, d.file.Close())
	}
	return d, nil
}

// create asks the kernel for the device.
func (d *device) create(fd int, cfg Config) error {
	ifr, err := unix.NewIfreq(cfg.Name)
	if err != nil {
		return fmt.Errorf("tap: name %q: %w", cfg.Name, err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("tap: make device %q: %w", cfg.Name, err)
	}
	d.name = ifr.Name()
	if !cfg.NoOffload {
		const want = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
		d.offload = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, want) == nil
	}
	return nil
}

// setup makes the device usable.
func (d *device) setup(cfg Config) (err error) {
	if d.raw, err = d.file.SyscallConn(); err != nil {
		return fmt.Errorf("tap: %s: %w", d.name, err)
	}
	d.read.try, d.write.try = d.read.read, d.write.writev
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

func (t *transfer) read(fd uintptr) bool {
	return t.done(unix.RawSyscall(unix.SYS_READ, fd, uintptr(t.base), uintptr(t.len)))
}

func (t *transfer) writev(fd uintptr) bool {
	return t.done(unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(t.base), uintptr(t.len)))
}

// done keeps the result. The poller waits and tries again when it says no.
func (t *transfer) done(n, _ uintptr, errno unix.Errno) bool {
	t.n, t.errno = int(n), errno
	return errno != unix.EAGAIN || t.now
}

func (d *device) Read(b []byte, wait bool) (int, error) {
	t := &d.read
	t.base, t.len, t.now = unsafe.Pointer(&b[0]), len(b), !wait
	for {
		if err := d.raw.Read(t.try); err != nil {
			return 0, d.failed("read", err)
		}
		switch t.errno {
		case 0:
			return t.n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, d.failed("read", t.errno)
		}
	}
}

func (d *device) failed(what string, err error) error {
	if d.closed.Load() || errors.Is(err, unix.EBADFD) {
		return ErrClosed
	}
	return fmt.Errorf("tap: %s %s: %w", what, d.name, err)
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
	t := &d.write
	t.base, t.len = unsafe.Pointer(&d.iov), n
	for {
		if err := d.raw.Write(t.try); err != nil {
			return d.failed("write", err)
		}
		switch t.errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return d.failed("write", t.errno)
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

// Close takes the device off and wakes who waits in Read. The poller's own error for who waits has no name, so that a flag
// has to say what it means.
func (d *device) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.file.Close()
}
