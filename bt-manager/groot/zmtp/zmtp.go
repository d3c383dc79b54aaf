// Package zmtp speaks the part of ZeroMQ's wire protocol, ZMTP 3.0 with the NULL mechanism, that a monitor needs: greeting,
// READY, and messages of several parts. It reads and writes the connection it is given, with every length bounded, and is
// told by its caller what kind of socket it is and whom it talks to.
package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of what a peer may send. The greatest request of a monitor is a list of breakpoints.
const (
	MaxFrame = 64 << 10 // bytes of one part
	MaxParts = 16       // of one message, envelope included
)

const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

const greetingSize = 64

// greeting is what each side sends first: signature, version 3.0, mechanism NULL, no server.
func greeting() []byte {
	g := make([]byte, greetingSize)
	g[0], g[9] = 0xff, 0x7f
	g[10] = 3
	copy(g[12:32], "NULL")
	return g
}

// Conn is one side of a connection after its handshake. One goroutine may read while another writes.
type Conn struct {
	rw   io.ReadWriter
	Peer string // socket type the other side named
	max  uint64 // bytes of a part
}

// Handshake greets as a socket of that type and refuses a peer of a type that is not among peers. limit bounds the parts
// of messages, 0 = MaxFrame; a client knows that replies are larger than requests.
func Handshake(rw io.ReadWriter, socket string, peers []string, limit int) (*Conn, error) {
	c := &Conn{rw: rw, max: uint64(limit)}
	if limit == 0 {
		c.max = MaxFrame
	}
	if _, err := rw.Write(greeting()); err != nil {
		return nil, fmt.Errorf("greet: %w", err)
	}
	if err := c.readGreeting(); err != nil {
		return nil, fmt.Errorf("greeting of the peer: %w", err)
	}
	ready := append([]byte("\x05READY"), property("Socket-Type", socket)...)
	if socket == "REQ" || socket == "DEALER" {
		ready = append(ready, property("Identity", "")...)
	}
	if err := c.writeFrame(flagCommand, ready); err != nil {
		return nil, fmt.Errorf("say READY: %w", err)
	}
	flags, body, err := c.readFrame()
	if err != nil {
		return nil, fmt.Errorf("READY of the peer: %w", err)
	}
	rest, is := bytes.CutPrefix(body, []byte("\x05READY"))
	if flags&flagCommand == 0 || !is {
		if why, refused := bytes.CutPrefix(body, []byte("\x05ERROR")); refused && flags&flagCommand != 0 && len(why) > 0 {
			return nil, fmt.Errorf("the peer refuses: %q", why[1:])
		}
		return nil, fmt.Errorf("READY of the peer: got %.20q", body)
	}
	if c.Peer, err = socketType(rest); err != nil {
		return nil, fmt.Errorf("READY of the peer: %w", err)
	}
	if !slices.Contains(peers, c.Peer) {
		why := fmt.Sprintf("a %s socket talks to %v", socket, peers)
		_ = c.writeFrame(flagCommand, append([]byte("\x05ERROR"), append([]byte{byte(len(why))}, why...)...))
		return nil, fmt.Errorf("the peer is a %.20q socket, want one of %v", c.Peer, peers)
	}
	return c, nil
}

// readGreeting checks each field as it comes: a peer that speaks something else is refused before it has sent 64 bytes.
func (c *Conn) readGreeting() error {
	g := make([]byte, greetingSize)
	if _, err := io.ReadFull(c.rw, g[:1]); err != nil {
		return err
	}
	if g[0] != 0xff {
		return fmt.Errorf("byte 0 is %#02x: that is no ZMTP", g[0])
	}
	if _, err := io.ReadFull(c.rw, g[1:11]); err != nil {
		return err
	}
	if g[9]&1 == 0 {
		return fmt.Errorf("byte 9 is %#02x: ZMTP 1.0", g[9])
	}
	if g[10] < 3 {
		return fmt.Errorf("ZMTP %d, want 3", g[10])
	}
	if _, err := io.ReadFull(c.rw, g[11:]); err != nil {
		return err
	}
	if mechanism := string(bytes.TrimRight(g[12:32], "\x00")); mechanism != "NULL" {
		return fmt.Errorf("mechanism %q, want NULL", mechanism)
	}
	return nil
}

func property(name, value string) []byte {
	b := append([]byte{byte(len(name))}, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// socketType finds the property Socket-Type, whose name has no case.
func socketType(b []byte) (string, error) {
	kind := ""
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n+4 {
			return "", errors.New("a property is cut off")
		}
		name := b[1 : 1+n]
		size := binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		if uint64(size) > uint64(len(b)) {
			return "", fmt.Errorf("property %q has %d bytes, %d are left", name, size, len(b))
		}
		if bytes.EqualFold(name, []byte("Socket-Type")) {
			kind = string(b[:size])
		}
		b = b[size:]
	}
	if kind == "" {
		return "", errors.New("no Socket-Type")
	}
	return kind, nil
}

// Read gives the next message. It answers heartbeats of the peer on the way.
func (c *Conn) Read() ([][]byte, error) {
	var parts [][]byte
	for {
		flags, body, err := c.readFrame()
		if err != nil {
			return nil, err
		}
		if flags&flagCommand != 0 {
			if len(parts) > 0 {
				return nil, errors.New("a command inside of a message")
			}
			if err := c.command(body); err != nil {
				return nil, err
			}
			continue
		}
		if len(parts) == MaxParts {
			return nil, fmt.Errorf("a message of more than %d parts", MaxParts)
		}
		parts = append(parts, body)
		if flags&flagMore == 0 {
			return parts, nil
		}
	}
}

// maxContext bounds what a PING may carry to have it back.
const maxContext = 16

// command answers PING; of the others none asks for anything.
func (c *Conn) command(body []byte) error {
	ping, is := bytes.CutPrefix(body, []byte("\x04PING"))
	if !is {
		return nil
	}
	if len(ping) < 2 || len(ping) > 2+maxContext { // ttl, context
		return fmt.Errorf("a PING of %d bytes", len(ping))
	}
	return c.writeFrame(flagCommand, append([]byte("\x04PONG"), ping[2:]...))
}

// readFrame reads one frame, whose size is checked before there is memory for it.
func (c *Conn) readFrame() (flags byte, body []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(c.rw, head[:1]); err != nil {
		return 0, nil, err
	}
	flags = head[0]
	if flags > flagMore|flagLong|flagCommand || flags&flagCommand != 0 && flags&flagMore != 0 {
		return 0, nil, fmt.Errorf("frame flags %#02x", flags)
	}
	var size uint64
	if flags&flagLong != 0 {
		if _, err := io.ReadFull(c.rw, head[1:9]); err != nil {
			return 0, nil, cut(err)
		}
		size = binary.BigEndian.Uint64(head[1:9])
	} else {
		if _, err := io.ReadFull(c.rw, head[1:2]); err != nil {
			return 0, nil, cut(err)
		}
		size = uint64(head[1])
	}
	if size > c.max {
		return 0, nil, fmt.Errorf("a frame of %d bytes, %d are allowed", size, c.max)
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(c.rw, body); err != nil {
		return 0, nil, cut(err)
	}
	return flags, body, nil
}

// cut makes the end of the stream inside of a frame the fault it is.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write sends a message in one call of the connection's Write.
func (c *Conn) Write(parts ...[]byte) error {
	var b []byte
	for i, p := range parts {
		flags := byte(0)
		if i+1 < len(parts) {
			flags = flagMore
		}
		b = appendFrame(b, flags, p)
	}
	_, err := c.rw.Write(b)
	return err
}

func (c *Conn) writeFrame(flags byte, body []byte) error {
	_, err := c.rw.Write(appendFrame(nil, flags, body))
	return err
}

func appendFrame(b []byte, flags byte, body []byte) []byte {
	if len(body) < 256 {
		b = append(b, flags, byte(len(body)))
	} else {
		b = append(b, flags|flagLong)
		b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	}
	return append(b, body...)
}
