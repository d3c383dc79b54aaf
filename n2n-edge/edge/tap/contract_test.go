package tap

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sonic-netservices/n2n-edge/edge/offload"
)

// world is a device and the kernel behind it.
type world struct {
	device   Device
	send     func(frame []byte)           // the kernel sends a frame through the device
	receive  func() []byte                // the kernel gets the next of our frames from it
	hasOnly  func(netip.Prefix) error     // whether this is the device's address
	ethernet func(dst byte, n int) []byte // a frame of nobody's protocol
}

// probe is an EtherType for experiments: no one else sends it.
var probe = []byte{0x88, 0xb5}

func frameOf(dst byte, n int) []byte {
	b := append([]byte{2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, 9}, probe...)
	return append(b, bytes.Repeat([]byte{dst}, n)...)
}

// Both the kernel's device and the one in memory keep to the contract.
func TestContract(t *testing.T) {
	for name, open := range map[string]func(*testing.T) world{"kernel": kernel, "memory": memory} {
		t.Run(name, func(t *testing.T) {
			for what, test := range map[string]func(*testing.T, world){"out": out, "in": in, "now": now, "address": address, "close": closing} {
				t.Run(what, func(t *testing.T) {
					w := open(t)
					defer w.device.Close()
					test(t, w)
				})
			}
		})
	}
}

func memory(*testing.T) world {
	f := NewFake("mem0", 64)
	return world{device: f, send: func(b []byte) { f.Send(offload.Header{}, b) }, ethernet: frameOf,
		receive: func() []byte { return (<-f.Received).Bytes },
		hasOnly: func(p netip.Prefix) error {
			if f.Address() != p {
				return errors.New(f.Address().String())
			}
			return nil
		}}
}

func kernel(t *testing.T) world {
	if os.Getuid() != 0 {
		t.Skip("a TAP device takes root")
	}
	d, err := Open(Config{Name: "tapcontract%d", MAC: [6]byte{2, 0, 0, 0, 0, 7}, MTU: 1290})
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		t.Fatal(err)
	}
	if a := link.Attrs(); a.MTU != 1290 || a.HardwareAddr.String() != "02:00:00:00:00:07" {
		t.Errorf("MTU %d, MAC %v", a.MTU, a.HardwareAddr)
	}
	order := uint16(probe[0])<<8 | uint16(probe[1])
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(order<<8|order>>8))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	at := &unix.SockaddrLinklayer{Protocol: order<<8 | order>>8, Ifindex: link.Attrs().Index}
	if err := unix.Bind(fd, at); err != nil {
		t.Fatal(err)
	}
	return world{device: d, ethernet: frameOf,
		send: func(b []byte) {
			if err := unix.Sendto(fd, b, 0, at); err != nil {
				t.Fatal(err)
			}
		},
		receive: func() []byte {
			b := make([]byte, 2000)
			for {
				n, from, err := unix.Recvfrom(fd, b, 0)
				if err != nil {
					t.Error(err)
					return nil
				}
				if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
					return b[:n]
				}
			}
		},
		hasOnly: func(p netip.Prefix) error {
			list, err := netlink.AddrList(link, netlink.FAMILY_V4)
			want := (&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}).String()
			if err == nil && (len(list) != 1 || list[0].IPNet.String() != want) {
				err = errors.New(list[0].IPNet.String())
			}
			return err
		}}
}

// read gives the next frame of the test; the kernel sends some of its own.
func read(t *testing.T, d Device) []byte {
	t.Helper()
	b := make([]byte, MaxFrame)
	for {
		n, err := d.Read(b, true)
		if err != nil {
			t.Fatal(err)
		}
		if frame := b[offload.HeaderLen:n]; len(frame) >= 14 && bytes.Equal(frame[12:14], probe) {
			return frame
		}
	}
}

func out(t *testing.T, w world) {
	for i := range byte(3) {
		w.send(w.ethernet(i, 100))
	}
	for i := range byte(3) {
		if got := read(t, w.device); !bytes.Equal(got, w.ethernet(i, 100)) {
			t.Errorf("frame %d: %x", i, got)
		}
	}
}

func in(t *testing.T, w world) {
	want := w.ethernet(7, 100)
	if err := w.device.WriteFrame(&offload.Header{}, [][]byte{want[:14], want[14:50], nil, want[50:]}); err != nil {
		t.Fatal(err)
	}
	if got := w.receive(); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func now(t *testing.T, w world) {
	b := make([]byte, MaxFrame)
	for {
		n, err := w.device.Read(b, false)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break // what the kernel had to say when the device came up is over
		}
	}
	w.send(w.ethernet(1, 60))
	if n, err := w.device.Read(b, false); err != nil || n == 0 {
		t.Errorf("%d bytes, %v: a frame was there", n, err)
	}
}

func address(t *testing.T, w world) {
	for _, s := range []string{"10.99.0.2/24", "10.99.0.2/24", "10.98.0.3/16"} {
		p := netip.MustParsePrefix(s)
		if err := w.device.SetAddress(p); err != nil {
			t.Fatal(err)
		}
		if err := w.hasOnly(p); err != nil {
			t.Errorf("want %v: %v", p, err)
		}
	}
}

func closing(t *testing.T, w world) {
	ended := make(chan error)
	go func() {
		b := make([]byte, MaxFrame)
		for {
			if _, err := w.device.Read(b, true); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(10 * time.Millisecond) // so that it mostly waits already
	if err := w.device.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("who waited got %v", err)
	}
	if err := w.device.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}
