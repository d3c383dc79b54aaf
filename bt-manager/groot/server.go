package groot

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"sonic-netservices/bt-manager/groot/zmtp"
)

const (
	maxConns = 16              // at a time on each of the two ports
	patience = 5 * time.Second // for a peer to finish its handshake, and to take what is written
	queue    = 64              // messages a subscriber may be behind before it is dropped
	maxTopic = 64              // subscriptions of one subscriber
)

// Server is the socket of a Monitor: REP on one port, PUB on the next.
type Server struct {
	*Monitor
	log  *slog.Logger
	rep  net.Listener
	pub  net.Listener
	work sync.WaitGroup

	mu     sync.Mutex // guards all below
	closed bool
	conns  map[net.Conn]bool // true: a subscriber's
	subs   map[*subscriber]bool
}

// Listen opens the socket, on loopback only: the protocol knows no users. addr has the port of REP; PUB has the next one,
// or with port 0 any.
func Listen(addr string, trees Trees, log *slog.Logger) (*Server, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("groot: %w", err)
	}
	if !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("groot: %s is no loopback address, and whoever reaches the socket may use it", at.Addr())
	}
	if at.Port() == 65535 {
		return nil, errors.New("groot: port 65535 leaves none for PUB, which has the next")
	}
	rep, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("groot: %w", err)
	}
	next := netip.AddrPortFrom(at.Addr(), at.Port())
	if at.Port() != 0 {
		next = netip.AddrPortFrom(at.Addr(), at.Port()+1)
	}
	pub, err := net.Listen("tcp", next.String())
	if err != nil {
		rep.Close()
		return nil, fmt.Errorf("groot: %w", err)
	}
	s := &Server{log: log, rep: rep, pub: pub, conns: map[net.Conn]bool{}, subs: map[*subscriber]bool{}}
	s.Monitor = New(trees, s.publish)
	s.work.Go(func() { s.accept(rep, false, s.reply) })
	s.work.Go(func() { s.accept(pub, true, s.subscribe) })
	return s, nil
}

// Addr and PubAddr are where it listens.
func (s *Server) Addr() string    { return s.rep.Addr().String() }
func (s *Server) PubAddr() string { return s.pub.Addr().String() }

// Close ends all connections and takes all hooks away. Nothing of the server is left when it returns.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.rep.Close()
	s.pub.Close()
	s.work.Wait()
	s.Monitor.Close()
}

func (s *Server) accept(ln net.Listener, subscribers bool, serve func(net.Conn) error) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, most likely: others need them more
			s.log.Warn("groot: no connection", "err", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if !s.enter(c, subscribers) {
			c.Close()
			continue
		}
		s.work.Go(func() {
			err := serve(c)
			s.leave(c)
			s.log.Debug("groot: connection ends", "peer", c.RemoteAddr(), "err", err)
		})
	}
}

func (s *Server) enter(c net.Conn, subscriber bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	same := 0
	for _, sub := range s.conns {
		if sub == subscriber {
			same++
		}
	}
	if s.closed || same >= maxConns {
		return false
	}
	s.conns[c] = subscriber
	return true
}

func (s *Server) leave(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// shake does the handshake in the time a peer has for it.
func shake(c net.Conn, socket string, peers ...string) (*zmtp.Conn, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	z, err := zmtp.Handshake(c, socket, peers, 0)
	_ = c.SetDeadline(time.Time{})
	return z, err
}

// write sends a message in the time a peer has to take it.
func write(c net.Conn, z *zmtp.Conn, parts [][]byte) error {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	defer c.SetWriteDeadline(time.Time{})
	return z.Write(parts...)
}

// reply serves a REQ or DEALER socket.
func (s *Server) reply(c net.Conn) error {
	z, err := shake(c, "REP", "REQ", "DEALER")
	if err != nil {
		return err
	}
	for {
		parts, err := z.Read()
		if err != nil {
			return err
		}
		envelope := 0 // up to the empty part, the address to reply to
		for envelope < len(parts) && len(parts[envelope]) > 0 {
			envelope++
		}
		if envelope++; envelope >= len(parts) {
			return errors.New("a message without an empty part and a request behind it")
		}
		answer := s.Answer(parts[envelope:])
		if err := write(c, z, append(parts[:envelope:envelope], answer...)); err != nil {
			return err
		}
	}
}

// subscriber is a peer of PUB.
type subscriber struct {
	conn   net.Conn
	send   chan [][]byte
	topics [][]byte // guarded by the server's mu
}

func (s *Server) subscribe(c net.Conn) error {
	z, err := shake(c, "PUB", "SUB", "XSUB")
	if err != nil {
		return err
	}
	sub := &subscriber{conn: c, send: make(chan [][]byte, queue)}
	s.mu.Lock()
	s.subs[sub] = true
	s.mu.Unlock()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer s.unsubscribe(sub)
	writing.Go(func() {
		for parts := range sub.send {
			if write(c, z, parts) != nil {
				c.Close() // so that the reader ends
			}
		}
	})
	for {
		parts, err := z.Read()
		if err != nil {
			return err
		}
		if err := s.topic(sub, parts); err != nil {
			return err
		}
	}
}

// topic takes a subscription, or the end of one.
func (s *Server) topic(sub *subscriber, parts [][]byte) error {
	if len(parts) != 1 || len(parts[0]) == 0 || parts[0][0] > 1 {
		return errors.New("neither a subscription nor the end of one")
	}
	topic := parts[0][1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	if parts[0][0] == 1 {
		if len(sub.topics) == maxTopic {
			return fmt.Errorf("more than %d subscriptions", maxTopic)
		}
		sub.topics = append(sub.topics, topic)
		return nil
	}
	for i, t := range sub.topics {
		if bytes.Equal(t, topic) {
			sub.topics = append(sub.topics[:i:i], sub.topics[i+1:]...)
			break
		}
	}
	return nil
}

func (s *Server) unsubscribe(sub *subscriber) {
	sub.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.subs, sub)
	close(sub.send)
}

// publish hands a message to all who subscribed to how it begins. Who is too far behind is dropped, not waited for.
func (s *Server) publish(parts ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs {
		for _, t := range sub.topics {
			if !bytes.HasPrefix(parts[0], t) {
				continue
			}
			select {
			case sub.send <- parts:
			default:
				s.log.Warn("groot: a subscriber is dropped, it does not read", "peer", sub.conn.RemoteAddr())
				sub.conn.Close()
			}
			break
		}
	}
}
