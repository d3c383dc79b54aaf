// Package tap is the door to the kernel's network: frames that it sends come out, frames for it go in.
//
// It reads and writes /dev/net/tun, and sets address, MTU and state of the device it makes. It is told by n2n-edge/edge.
// Fake is a device in memory; Contract is what both are held to.
package tap

import (
	"errors"
	"net/netip"

	"sonic-netservices/n2n-edge/edge/offload"
)

// ErrClosed is what Read says once the device is closed.
var ErrClosed = errors.New("tap: closed")

// MaxFrame is the room that Read needs: the header, and the longest frame the kernel gives.
const MaxFrame = offload.HeaderLen + 14 + 65535

// Device is a TAP. One goroutine reads, another one may write.
type Device interface {
	// Read gives one frame, with an offload.Header before it. It waits for one, or says 0 when there is none right now.
	Read(b []byte, wait bool) (int, error)

	// WriteFrame gives a frame to the kernel, which it may be too large for the wire when Offload says so.
	WriteFrame(h *offload.Header, pieces [][]byte) error

	// SetAddress makes this the device's only IPv4 address.
	SetAddress(netip.Prefix) error

	// Name is what the device is called in the system.
	Name() string

	// Offload says whether the kernel leaves checksums and the cutting of TCP to us, and takes frames that it has to cut.
	Offload() bool

	// Close ends the device and who waits in Read.
	Close() error
}

// Config says what device is wanted.
type Config struct {
	Name string  // "" lets the kernel choose
	MAC  [6]byte // of the device
	MTU  int     // bytes of an IP packet
	// NoOffload asks for plain frames. It is what a kernel that knows no offload gives in any case.
	NoOffload bool
}
