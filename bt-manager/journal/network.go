package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"sonic-netservices/internal/pki"
)

// network carries the conversations of the journals: mutual TLS, role manager on both sides. Without an identity it is
// for one machine alone.
//
// A conversation begins with the life of the journal it is meant for, and one that is meant for another ends there: a
// manager whose disk was lost is at the address of one that votes, and remembers neither votes nor entries.
type network struct {
	ln    net.Listener
	id    *pki.Identity
	life  string
	cut   func(node string) bool // of tests: the way to a node is cut
	ready chan net.Conn          // with the handshake done

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu    sync.Mutex
	links map[*link]bool
}

const handshakeTime = 5 * time.Second

func listen(addr, life string, id *pki.Identity) (*network, error) {
	if id == nil {
		at, err := netip.ParseAddrPort(addr)
		if err != nil || !at.Addr().IsLoopback() {
			return nil, fmt.Errorf("%s: without a certificate only an address of this machine", addr)
		}
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	n := &network{ln: ln, id: id, life: life, ready: make(chan net.Conn), links: map[*link]bool{}}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.work.Go(n.serve)
	return n, nil
}

// serve lets nobody wait for the handshake of another one.
func (n *network) serve() {
	for {
		conn, err := n.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			slog.Warn("journal: accept", "err", err)
			time.Sleep(100 * time.Millisecond) // of file descriptors there may be more in a moment
			continue
		}
		n.work.Go(func() {
			conn, err := n.greet(conn)
			if err != nil {
				if n.ctx.Err() == nil {
					slog.Warn("journal: a connection is refused", "err", err)
				}
				return
			}
			conn = n.link(conn)
			select {
			case n.ready <- conn:
			case <-n.ctx.Done():
				conn.Close()
			}
		})
	}
}

func (n *network) greet(raw net.Conn) (net.Conn, error) {
	stop := context.AfterFunc(n.ctx, func() { raw.Close() })
	defer stop()
	_ = raw.SetDeadline(time.Now().Add(handshakeTime)) // a connection that breaks says so by itself
	conn := raw
	if n.id != nil {
		secured, auth, err := n.id.Server().ServerHandshake(raw)
		if err != nil {
			raw.Close()
			return nil, fmt.Errorf("%s: %w", raw.RemoteAddr(), err)
		}
		conn = secured
		if name, roles, ok := pki.Holder(auth); !ok || !holds(roles, pki.Manager) {
			conn.Close()
			return nil, fmt.Errorf("%s: certificate of %s is not a manager's", raw.RemoteAddr(), name)
		}
	}
	if err := n.answerLife(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", raw.RemoteAddr(), err)
	}
	return conn, conn.SetDeadline(time.Time{})
}

// ErrOther says that a manager has another journal than the one that has its vote.
var ErrOther = errors.New("its journal is not the one that votes: join the manager again if its disk was lost")

// answerLife reads for which journal a conversation is meant, one byte of length before it, and tells whether it is this
// one.
func (n *network) answerLife(conn net.Conn) error {
	var length [1]byte
	_, err := io.ReadFull(conn, length[:])
	life := make([]byte, length[0])
	if err == nil {
		_, err = io.ReadFull(conn, life)
	}
	if err != nil {
		return fmt.Errorf("read for whom the conversation is: %w", err)
	}
	if string(life) != n.life {
		_, _ = conn.Write([]byte{otherLife})
		return errors.New("the conversation is for a journal that was here before")
	}
	_, err = conn.Write([]byte{sameLife})
	return err
}

const (
	sameLife  = 1
	otherLife = 0
)

// askLife is the other end of answerLife.
func askLife(ctx context.Context, conn net.Conn, life string) error {
	until, _ := ctx.Deadline()
	_ = conn.SetDeadline(until)
	if _, err := conn.Write(append([]byte{byte(len(life))}, life...)); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != sameLife {
		return ErrOther
	}
	return conn.SetDeadline(time.Time{})
}

func holds(roles []pki.Role, want pki.Role) bool {
	for _, r := range roles {
		if r == want {
			return true
		}
	}
	return false
}

// Accept implements raft.StreamLayer.
func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.ready:
		return conn, nil
	case <-n.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Dial implements raft.StreamLayer. The address says also whose certificate the other end must show.
func (n *network) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	m, err := parseAddress(to)
	if err != nil {
		return nil, err
	}
	if n.cut != nil && n.cut(m.Node) {
		return nil, fmt.Errorf("dial %s: the way is cut", m.Node)
	}
	ctx, cancel := context.WithTimeout(n.ctx, timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Addr)
	if err != nil {
		return nil, err
	}
	conn := raw
	if n.id != nil {
		if conn, _, err = n.id.Client(m.Node, pki.Manager).ClientHandshake(ctx, m.Node, raw); err != nil {
			raw.Close()
			return nil, fmt.Errorf("dial %s: %w", m.Node, err)
		}
	}
	if err := askLife(ctx, conn, m.Life); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial %s: %w", m.Node, err)
	}
	return n.link(conn), nil
}

// link is a connection that ends with the network: the library closes only those that it has in its pool.
type link struct {
	net.Conn
	of *network
}

func (n *network) link(conn net.Conn) net.Conn {
	l := &link{conn, n}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[l] = true
	return l
}

// Close implements net.Conn.
func (l *link) Close() error {
	l.of.mu.Lock()
	delete(l.of.links, l)
	l.of.mu.Unlock()
	return l.Conn.Close()
}

// drop ends all connections.
func (n *network) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		l.Conn.Close()
	}
	clear(n.links)
}

// Addr implements net.Listener.
func (n *network) Addr() net.Addr { return n.ln.Addr() }

// Close implements net.Listener.
func (n *network) Close() error {
	n.stop()
	err := n.ln.Close()
	n.work.Wait()
	n.drop()
	return err
}

// address writes a member as the library keeps it, with all that the others must know of it.
func (m Member) address() raft.ServerAddress {
	return raft.ServerAddress(m.Node + " " + m.Addr + " " + m.Serves + " " + m.Life)
}

func parseAddress(a raft.ServerAddress) (Member, error) {
	parts := strings.Split(string(a), " ")
	if len(parts) != 4 || parts[0] == "" || parts[1] == "" {
		return Member{}, fmt.Errorf("address %q of a manager: want its node, the address of its journal, where it serves, and its journal's life", a)
	}
	return Member{Node: parts[0], Addr: parts[1], Serves: parts[2], Life: parts[3]}, nil
}
