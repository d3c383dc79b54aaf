package groot

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/groot/zmtp"
	"sonic-netservices/internal/btlog"
)

// Client asks a monitor socket: this one, or that of BehaviorTree.CPP. It is for one goroutine. Who wants to hold a tree
// asks something at least every 5 s.
type Client struct {
	conn net.Conn
	z    *zmtp.Conn
	last uint32
	Tree TreeID // of the newest reply
}

// maxReply bounds what a client takes: the XML of the largest tree.
const maxReply = btlog.MaxXML

// Dial connects to the REP port of a monitor.
func Dial(ctx context.Context, addr string) (*Client, error) {
	conn, z, err := dial(ctx, addr, "REQ", "REP", "ROUTER")
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, z: z}, nil
}

func dial(ctx context.Context, addr, socket string, peers ...string) (net.Conn, *zmtp.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("groot: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	z, err := zmtp.Handshake(conn, socket, peers, maxReply)
	_ = conn.SetDeadline(time.Time{})
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("groot: %s: %w", addr, err)
	}
	return conn, z, nil
}

func (c *Client) Close() error { return c.conn.Close() }

// Do sends a request and gives the second part of the reply, nil when there is none.
func (c *Client) Do(kind Kind, body ...[]byte) ([]byte, error) {
	c.last++
	head := Header{kind, c.last}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if err := c.z.Write(append([][]byte{{}, head.bytes()}, body...)...); err != nil {
		return nil, fmt.Errorf("groot: %w", err)
	}
	parts, err := c.z.Read()
	if err != nil {
		return nil, fmt.Errorf("groot: %w", err)
	}
	if len(parts) > 0 && len(parts[0]) == 0 {
		parts = parts[1:]
	}
	if len(parts) == 2 && string(parts[0]) == "error" {
		return nil, errors.New(string(parts[1]))
	}
	if len(parts) == 0 || len(parts[0]) != headerSize+idSize || string(parts[0][:headerSize]) != string(head.bytes()) {
		return nil, fmt.Errorf("groot: the reply to %q begins with %q", kind, parts)
	}
	copy(c.Tree[:], parts[0][headerSize:])
	if len(parts) == 1 {
		return nil, nil
	}
	return parts[1], nil
}

// Nodes gives the tree that is shown.
func (c *Client) Nodes() (*btlog.Tree, error) {
	text, err := c.Do(FullTree)
	if err != nil {
		return nil, err
	}
	return btlog.ParseTree(text)
}

// UID finds a node by its full path, as nsctl why and nsctl tree --json name it.
func (c *Client) UID(path string) (uint16, error) {
	tree, err := c.Nodes()
	if err != nil {
		return 0, err
	}
	for _, n := range tree.Nodes {
		if n.Path == path {
			return uint16(n.UID), nil
		}
	}
	return 0, fmt.Errorf("groot: the tree has no node %s", path)
}

// Statuses gives the status of every node by its UID. The second map has what a node that is IDLE was before.
func (c *Client) Statuses() (now, before map[uint16]bt.Status, err error) {
	b, err := c.Do(StatusOfAll)
	if err != nil {
		return nil, nil, err
	}
	if len(b)%3 != 0 {
		return nil, nil, fmt.Errorf("groot: %d bytes of statuses, want 3 a node", len(b))
	}
	now, before = map[uint16]bt.Status{}, map[uint16]bt.Status{}
	for ; len(b) > 0; b = b[3:] {
		uid := binary.LittleEndian.Uint16(b)
		now[uid] = bt.Status(b[2])
		if b[2] >= 10 {
			now[uid], before[uid] = bt.Idle, bt.Status(b[2]-10)
		}
	}
	return now, before, nil
}

// Insert sets hooks, in place of those that are there.
func (c *Client) Insert(hooks ...Hook) error { return c.send(InsertHook, hooks) }

// Unlock lets a node go on that a hook holds.
func (c *Client) Unlock(u Unlock) error { return c.send(UnlockHook, u) }

// Remove takes a hook away.
func (c *Client) Remove(uid uint16, where bt.Place) error {
	return c.send(RemoveHook, Unlock{UID: uid, Position: int(where)})
}

func (c *Client) send(kind Kind, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.Do(kind, text)
	return err
}

// Breakpoint is a hook that holds a node each time the tree comes to it.
func Breakpoint(uid uint16, where bt.Place) Hook {
	return Hook{Desired: bt.Skipped.String(), Enabled: true, Mode: Break, Position: int(where), UID: uid}
}

// Subscription tells of hooks that were reached.
type Subscription struct {
	conn net.Conn
	z    *zmtp.Conn
}

// Subscribe connects to the PUB port of a monitor. What happens before the monitor has heard of the subscription is missed.
func Subscribe(ctx context.Context, addr string) (*Subscription, error) {
	conn, z, err := dial(ctx, addr, "SUB", "PUB", "XPUB")
	if err != nil {
		return nil, err
	}
	if err := z.Write([]byte{1}); err != nil { // to all
		conn.Close()
		return nil, fmt.Errorf("groot: %w", err)
	}
	return &Subscription{conn, z}, nil
}

// Next waits for a hook to be reached and gives the UID of its node, which is held if the hook is a breakpoint.
func (s *Subscription) Next(wait time.Duration) (uint16, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(wait))
	parts, err := s.z.Read()
	if err != nil {
		return 0, fmt.Errorf("groot: %w", err)
	}
	if len(parts) != 2 {
		return 0, fmt.Errorf("groot: a notification of %d parts, want 2", len(parts))
	}
	head, err := parseHeader(parts[0])
	if err != nil || head.Kind != Reached {
		return 0, fmt.Errorf("groot: a notification begins with %q", parts[0])
	}
	uid, err := strconv.ParseUint(string(parts[1]), 10, 16)
	if err != nil {
		return 0, fmt.Errorf("groot: a notification: %w", err)
	}
	return uint16(uid), nil
}

func (s *Subscription) Close() error { return s.conn.Close() }
