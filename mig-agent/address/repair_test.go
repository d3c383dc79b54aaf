package address

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connection is the state of an established TCP connection, as CRIU would carry it (TCP_REPAIR).
type connection struct {
	local, peer    unix.Sockaddr
	sendSeq, inSeq uint32
	in             []byte // received, not read yet
	mss, timestamp int
	scale          byte
	window         []byte
}

// takeConnection reads the state of a connection and leaves it frozen; closing it then sends nothing.
func takeConnection(fd int) (c connection, err error) {
	option := func(name, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, name, value)
		}
	}
	read := func(name int, b []byte) []byte {
		size := uint32(len(b))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, uintptr(name),
			uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 && err == nil {
			err = fmt.Errorf("getsockopt %d: %w", name, errno)
		}
		return b
	}
	number := func(name int) uint32 { return binary.NativeEndian.Uint32(read(name, make([]byte, 4))) }

	option(unix.TCP_REPAIR, 1)
	option(unix.TCP_REPAIR_QUEUE, 2)
	c.sendSeq = number(unix.TCP_QUEUE_SEQ)
	option(unix.TCP_REPAIR_QUEUE, 1)
	c.inSeq = number(unix.TCP_QUEUE_SEQ)
	c.in = make([]byte, 1<<20)
	n, _, peekErr := unix.Recvfrom(fd, c.in, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if peekErr != nil {
		n = 0 // nothing there
	}
	c.in = c.in[:n]
	c.mss, c.timestamp = int(number(unix.TCP_MAXSEG)), int(number(unix.TCP_TIMESTAMP))
	c.scale = read(unix.TCP_INFO, make([]byte, 8))[6]
	c.window = read(unix.TCP_REPAIR_WINDOW, make([]byte, 20))
	local, localErr := unix.Getsockname(fd)
	peer, peerErr := unix.Getpeername(fd)
	for _, e := range []error{localErr, peerErr} {
		if e != nil {
			return c, e
		}
	}
	c.local, c.peer = local, peer
	return c, err
}

// giveConnection makes the connection anew in the thread's namespace.
func giveConnection(c connection) (net.Conn, error) {
	family := unix.AF_INET
	if _, ok := c.local.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "restored")
	defer file.Close()
	option := func(name int, value uint32) {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, name, int(int32(value)))
		}
	}
	then := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	option(unix.TCP_REPAIR, 1)
	then(func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	option(unix.TCP_REPAIR_QUEUE, 2)
	option(unix.TCP_QUEUE_SEQ, c.sendSeq)
	option(unix.TCP_REPAIR_QUEUE, 1)
	option(unix.TCP_QUEUE_SEQ, c.inSeq-uint32(len(c.in)))
	then(func() error { return unix.Bind(fd, c.local) })
	then(func() error { return unix.Connect(fd, c.peer) })
	then(func() error {
		var b []byte
		for _, o := range [][2]uint32{{2, uint32(c.mss)}, {3, uint32(c.scale&15) | uint32(c.scale>>4)<<16}, {4, 0}, {8, 0}} { // mss, window scale, SACK, timestamps
			b = binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(b, o[0]), o[1])
		}
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_OPTIONS, string(b))
	})
	option(unix.TCP_TIMESTAMP, uint32(c.timestamp))
	then(func() error {
		if len(c.in) == 0 {
			return nil
		}
		_, err := unix.Write(fd, c.in)
		return err
	})
	then(func() error {
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_WINDOW, string(c.window))
	})
	option(unix.TCP_REPAIR, 0)
	if err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

// TestMoveConnection moves an established connection in the middle of the client's stream, in the order of a live move. The client notices
// nothing, and every byte arrives once.
func TestMoveConnection(t *testing.T) {
	for network, to := range map[string]string{"tcp4": service, "tcp6": service6} {
		t.Run(network, func(t *testing.T) { moveConnection(t, network, to) })
	}
}

func moveConnection(t *testing.T, network, to string) {
	f := upBoth(t)
	var l net.Listener
	config := net.ListenConfig{}
	config.SetMultipathTCP(false)
	must(t, within(f.ns("h1"), func() (err error) {
		l, err = config.Listen(t.Context(), network, ":80")
		return err
	}))
	defer l.Close()
	client, err := f.dial("c", to, "", 5*time.Second)
	must(t, err)
	defer client.Close()
	source, err := l.Accept()
	must(t, err)
	defer source.Close()

	const total = 400
	wrote := make(chan error, 1)
	go func() {
		for n := range uint64(total) {
			if _, err := client.Write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
				wrote <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
		wrote <- nil
	}()
	next := uint64(0)
	read := func(c net.Conn) {
		t.Helper()
		var b [8]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			t.Fatalf("read number %d: %v", next, err)
		}
		if got := binary.BigEndian.Uint64(b[:]); got != next {
			t.Fatalf("got number %d, want %d", got, next)
		}
		next++
	}
	for range 50 {
		read(source)
	}

	held, err := Hold(f.ns("h2"))
	must(t, err)
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddrs...))
	time.Sleep(10 * time.Millisecond) // drain
	must(t, Mute(f.ns("h1")))
	raw, err := source.(*net.TCPConn).SyscallConn()
	must(t, err)
	var state connection
	must(t, raw.Control(func(fd uintptr) { state, err = takeConnection(int(fd)) }))
	must(t, err)
	time.Sleep(200 * time.Millisecond) // copy
	var target net.Conn
	must(t, within(f.ns("h2"), func() (err error) {
		target, err = giveConnection(state)
		return err
	}))
	defer target.Close()
	if counts, err := held.Release(); err != nil || counts.In == 0 || counts.Lost != 0 {
		t.Fatalf("release: %+v, %v", counts, err)
	}

	must(t, target.SetDeadline(time.Now().Add(5*time.Second)))
	for next < total {
		read(target)
	}
	must(t, <-wrote)
	_, err = io.WriteString(target, "all of them")
	must(t, err)
	must(t, client.SetDeadline(time.Now().Add(2*time.Second)))
	b := make([]byte, 11)
	if _, err := io.ReadFull(client, b); err != nil || string(b) != "all of them" {
		t.Errorf("answer: %q, %v", b, err)
	}
}
