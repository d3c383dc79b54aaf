package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-supernode/rendezvous"
)

const (
	maxConns  = 4096
	tcpIdle   = 90 * time.Second // an edge registers each 20 s
	tcpQueue  = 256              // messages that wait for one connection
	tcpUnread = 10 * time.Second // a connection that takes nothing for so long is closed
)

// tcp is the way for edges whose network lets no UDP through. It is not made to be fast: one worker for all connections.
type tcp struct {
	ln   net.Listener
	lost *atomic.Uint64

	mu     sync.Mutex
	conns  map[uint32]*tcpConn
	last   uint32
	closed bool

	work   sync.Mutex // of the worker
	worker *rendezvous.Worker
	out    rendezvous.Out
	flush  func(*rendezvous.Out)
}

type tcpConn struct {
	net.Conn
	path  rendezvous.Path
	queue chan []byte
	done  chan struct{} // closed when its reader ends
}

func listenTCP(ctx context.Context, addr string, w *rendezvous.Worker, lost *atomic.Uint64) (*tcp, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &tcp{ln: ln, worker: w, lost: lost, conns: map[uint32]*tcpConn{}}, nil
}

// send queues a message for its connection. A connection that is gone or does not read loses it, as UDP would.
func (t *tcp) send(s rendezvous.Send, message []byte) {
	t.mu.Lock()
	c := t.conns[s.To.Conn]
	t.mu.Unlock()
	if c == nil {
		t.lost.Add(1)
		return
	}
	select {
	case c.queue <- n2n.AppendTCP(make([]byte, 0, len(message)+2), message):
	default:
		t.lost.Add(1)
	}
}

// serve takes connections until the listener is closed.
func (t *tcp) serve() error {
	var all sync.WaitGroup
	defer all.Wait()
	defer t.closeAll()
	for {
		conn, err := t.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			slog.Warn("accept", "err", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors, perhaps
			continue
		}
		c := t.add(conn)
		if c == nil {
			conn.Close()
			continue
		}
		all.Go(func() { c.write() })
		all.Go(func() {
			t.read(c)
			t.remove(c)
		})
	}
}

func (t *tcp) add(conn net.Conn) *tcpConn {
	a := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.conns) >= maxConns {
		return nil
	}
	for t.last++; t.last == 0 || t.conns[t.last] != nil; t.last++ {
	}
	c := &tcpConn{Conn: conn, queue: make(chan []byte, tcpQueue), done: make(chan struct{}),
		path: rendezvous.Path{Addr: netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), Conn: t.last}}
	t.conns[t.last] = c
	return c
}

func (t *tcp) remove(c *tcpConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c.path.Conn)
	close(c.done)
	c.Close()
}

func (t *tcp) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, c := range t.conns {
		c.Close() // its reader removes it
	}
}

// read takes messages in until the connection breaks or what comes is none.
func (t *tcp) read(c *tcpConn) {
	buf := make([]byte, 0, 2*n2n.MaxPacket)
	for {
		_ = c.SetReadDeadline(time.Now().Add(tcpIdle))
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			message, more, bad := n2n.NextTCP(rest)
			if bad != nil {
				slog.Debug("tcp", "peer", c.path.String(), "err", bad)
				return
			}
			if message == nil {
				break
			}
			t.take(c.path, message)
			rest = more
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		if err != nil {
			if !errors.Is(err, io.EOF) {
				slog.Debug("tcp", "peer", c.path.String(), "err", err)
			}
			return
		}
	}
}

func (t *tcp) take(from rendezvous.Path, b []byte) {
	t.work.Lock()
	defer t.work.Unlock()
	t.worker.Packet(time.Now(), from, b, &t.out)
	t.flush(&t.out)
	t.out.Reset()
}

// write sends what is queued until the reader ends. When the connection takes nothing it is closed, which ends the reader.
func (c *tcpConn) write() {
	for {
		select {
		case <-c.done:
			return
		case b := <-c.queue:
			_ = c.SetWriteDeadline(time.Now().Add(tcpUnread))
			if _, err := c.Write(b); err != nil {
				c.Close()
				return
			}
		}
	}
}
