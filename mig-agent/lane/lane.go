// Package lane carries bytes between agents that are too many for gRPC: the pages of a service's memory, sent ahead of
// its freeze, and its image inside it. A lane is a mutual-TLS connection of its own whose first line says which section
// of which operation follows; the section ends by its own format, and the taker answers with one line.
//
//	{"op":"k3...","section":"memory"}\n   -->
//	                                      <--   {"bytes":0}\n         it is waited for
//	bytes ...                             -->
//	                                      <--   {"bytes":524288}\n    or {"error":"no room ..."}\n
//
// gRPC's frames, flow control and copies cost 4.5 ms of processor time a megabyte on each side, this less than a third.
// It reads and writes connections alone; orders of a move, and who may give them, stay with gRPC.
package lane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"sonic-netservices/internal/pki"
)

const (
	greeting = 5 * time.Second         // until both ends know each other
	silence  = 1500 * time.Millisecond // what was sent is acknowledged by then, or the way is cut: a frozen service waits
	maxLine  = 4096                    // bytes of a first or last line
	bufSize  = 256 << 10
)

// Sections.
const (
	Memory     = "memory"     // one round of it
	Checkpoint = "checkpoint" // a CRIU image; the taker answers nothing, for the conversation about it does
)

// Hello is the first line.
type Hello struct {
	Op      string `json:"op"`
	Section string `json:"section"`
}

// Reply is the taker's last line.
type Reply struct {
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
}

// ErrRefused marks what the taker said; any other failure of a lane is that of the way between.
var ErrRefused = errors.New("refused by the target")

// Conn is a lane whose ends know each other. Its reader may be ahead of the section by what the buffer holds.
type Conn struct {
	net.Conn
	In *bufio.Reader
}

// Dial opens a lane for one section to a node, whose name its certificate must show.
func Dial(ctx context.Context, addr, peer string, creds credentials.TransportCredentials, h Hello) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	raw, err := (&net.Dialer{KeepAliveConfig: probes}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("lane: %w", err)
	}
	conn, _, err := creds.ClientHandshake(ctx, peer, raw)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("lane to %s: %w", addr, err)
	}
	c := &Conn{conn, bufio.NewReaderSize(conn, bufSize)}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	var taken Reply
	err = errors.Join(quick(raw), c.tell(h), c.hear(&taken))
	if err == nil && taken.Error != "" {
		err = fmt.Errorf("%w: %s", ErrRefused, taken.Error)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("lane to %s: %w", addr, err)
	}
	return c, nil
}

// Answer waits for the taker's last line.
func (c *Conn) Answer() (Reply, error) {
	var r Reply
	if err := c.hear(&r); err != nil {
		return r, fmt.Errorf("lane: %w", err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%w: %s", ErrRefused, r.Error)
	}
	return r, nil
}

// Tell is the taker's last line.
func (c *Conn) Tell(bytes int64, err error) error {
	r := Reply{Bytes: bytes}
	if err != nil {
		r.Error = err.Error()
		r.Error = r.Error[:min(len(r.Error), maxLine/2)]
	}
	return c.tell(r)
}

func (c *Conn) tell(v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = c.Write(append(line, '\n'))
	}
	return err
}

func (c *Conn) hear(v any) error {
	var line []byte
	for len(line) < maxLine {
		b, err := c.In.ReadByte()
		if err != nil {
			return err
		}
		if b == '\n' {
			return json.Unmarshal(line, v)
		}
		line = append(line, b)
	}
	return fmt.Errorf("a line of more than %d bytes", maxLine)
}

// Serve takes lanes until ctx ends. take owns the connection it gets; peer is the node whose certificate was shown.
func Serve(ctx context.Context, ln net.Listener, creds credentials.TransportCredentials, take func(peer string, h Hello, c *Conn)) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		raw, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lane: %w", err)
		}
		go func() {
			if c, peer, h, err := greet(raw, creds); err == nil {
				take(peer, h, c)
			} else {
				raw.Close()
			}
		}()
	}
}

func greet(raw net.Conn, creds credentials.TransportCredentials) (*Conn, string, Hello, error) {
	var h Hello
	raw.SetDeadline(time.Now().Add(greeting))
	conn, info, err := creds.ServerHandshake(raw)
	if err != nil {
		return nil, "", h, err
	}
	peer, roles, ok := pki.Holder(info)
	if !ok || !slices.Contains(roles, pki.Node) {
		return nil, "", h, errors.New("no node's certificate")
	}
	c := &Conn{conn, bufio.NewReaderSize(conn, bufSize)}
	if err := errors.Join(c.hear(&h), quick(raw), raw.SetDeadline(time.Time{})); err != nil {
		return nil, "", h, err
	}
	return c, peer, h, nil
}

var probes = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}

// Listen takes connections that break quickly when the way does.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	return (&net.ListenConfig{KeepAliveConfig: probes}).Listen(ctx, "tcp", addr)
}

// quick lets a connection break when what was sent is not acknowledged in time.
func quick(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	return errors.Join(err, set)
}
