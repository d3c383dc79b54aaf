// Package udp is the door to the underlay: datagrams that come from peers and supernodes, and those that go to them.
//
// It reads and writes one UDP socket, many datagrams at a time. It is told by n2n-edge/edge. Network makes sockets in memory;
// Contract is what both are held to.
package udp

import (
	"errors"
	"net/netip"
)

// ErrClosed is what Receive says once the socket is closed.
var ErrClosed = errors.New("udp: closed")

const (
	// MaxSegments is how many datagrams a burst may have.
	MaxSegments = 64
	// MaxBurst is how many bytes a burst may have: what fits into one IP packet, since that is what the kernel makes of it
	// before it is cut.
	MaxBurst = 65000
	// MaxReceive is the room that each Received needs.
	MaxReceive = 65536
)

// Received is what came from one sender: one datagram, or several of Segment bytes each, of which the last may be shorter.
type Received struct {
	Buf     []byte // room, given by the caller: MaxReceive bytes; in less, datagrams that come joined are cut off
	N       int
	Segment int // 0: one datagram
	From    netip.AddrPort
}

// Burst is what goes to one receiver: one datagram, or several of Segment bytes each, of which the last may be shorter.
type Burst struct {
	To      netip.AddrPort
	Data    []byte
	Segment int // 0: one datagram
	TTL     int // of the IP packets; 0: the system's default
}

// Features is what the kernel agreed to.
type Features struct {
	GSO           bool // bursts are handed over whole
	GRO           bool // datagrams come joined
	IPv6          bool
	ReceiveBuffer int // bytes
	SendBuffer    int
}

// Socket sends and receives datagrams of both IP versions. One goroutine receives; any may send.
type Socket interface {
	// Receive waits for datagrams and fills as many of b as have come.
	Receive(b []Received) (int, error)

	// Send sends bursts in their order. What cannot be sent to one receiver does not keep the others from theirs; the first
	// such error is returned.
	Send(b []Burst) error

	// Rebind replaces the socket by a fresh one, on the same port if one was asked for, else on another.
	Rebind() error

	// Port is where others reach this socket.
	Port() uint16

	// Source is the address the system would send from to that receiver.
	Source(to netip.AddrPort) (netip.Addr, error)

	Features() Features

	// Close ends the socket and who waits in Receive.
	Close() error
}
