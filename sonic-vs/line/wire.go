package line

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	virtioHeader = 10       // bytes before each frame: what the kernel still has to do with it
	longest      = 64 << 10 // of a frame: veth hands on what is to be cut later
	room         = 8 << 20  // bytes of a socket's buffers
	spin         = 60 * time.Microsecond
	look         = time.Second // at ctx, when nothing happens
)

// Pass carries frames between two interfaces of this thread's network namespace until ctx ends.
func Pass(ctx context.Context, a, b string, shape Shape) error {
	if err := shape.Check(); err != nil {
		return err
	}
	sockA, err := open(a)
	if err != nil {
		return fmt.Errorf("interface %s: %w", a, err)
	}
	defer unix.Close(sockA)
	sockB, err := open(b)
	if err != nil {
		return fmt.Errorf("interface %s: %w", b, err)
	}
	defer unix.Close(sockB)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, 2)
	for i, way := range [][2]int{{sockA, sockB}, {sockB, sockA}} {
		all.Go(func() {
			defer cancel()
			errs[i] = carry(ctx, way[0], way[1], shape)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// open gives a raw socket on an interface. With the virtio header frames keep what the kernel knows of them: a TCP segment
// whose checksum is still to be computed, or that is longer than the wire takes. Without it TCP through the line stands still.
func open(name string) (int, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	all := int(htons(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	for _, option := range [][2]int{{unix.PACKET_VNET_HDR, 1}, {unix.PACKET_IGNORE_OUTGOING, 1}} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option[0], option[1]); err != nil {
			unix.Close(fd)
			return 0, fmt.Errorf("packet option %d: %w", option[0], err)
		}
	}
	// The kernel may grant less: then frames are lost sooner.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, room)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: dev.Index}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// carry is one direction: a thread that waits for the next frame to come or to go, whichever is first. It sleeps until
// shortly before a frame is due and spins for the rest, since a thread wakes up late.
func carry(ctx context.Context, from, to int, shape Shape) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q := &queue{shape: shape, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	began := time.Now()
	bytes := make([]byte, virtioHeader+longest)
	for ctx.Err() == nil {
		for range 64 { // and then look whether something is due
			n, err := unix.Read(from, bytes)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
				break
			}
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
			q.put(time.Since(began), bytes[:n])
		}
		for b := q.take(time.Since(began)); b != nil; b = q.take(time.Since(began)) {
			// What does not fit, or finds the cable unplugged, is lost, as on any line.
			_, _ = unix.Write(to, b)
			q.giveBack(b)
		}
		wait := look
		if due, ok := q.next(); ok {
			wait = due - time.Since(began) - spin
		}
		if wait <= 0 {
			continue
		}
		limit := unix.NsecToTimespec(int64(wait))
		if _, err := unix.Ppoll([]unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}}, &limit, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
	}
	return nil
}
