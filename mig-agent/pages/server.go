package pages

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/journal"
)

// Rules say who may fetch pages; Fetch itself looks whose they are.
var Rules = map[string][]pki.Role{api.Pages_Fetch_FullMethodName: {pki.Node}}

// Server is the source's half. It connects to a page server as soon as that is up: CRIU serves one connection, and
// nobody else on the switch shall be the one.
type Server struct {
	api.UnimplementedPagesServer
	journal *journal.Journal

	mu    sync.Mutex
	conns map[string]*served // by op
}

// served is the connection to one page server.
type served struct {
	net.Conn
	fetched bool
}

func NewServer(j *journal.Journal) *Server { return &Server{journal: j, conns: map[string]*served{}} }

// Open connects to an operation's page server.
func (s *Server) Open(op, addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[op] = &served{Conn: conn}
	return nil
}

// Close ends an operation's page server, which goes with its connection, also while pages are fetched.
func (s *Server) Close(op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conns[op]; c != nil {
		c.Close()
		delete(s.conns, op)
	}
}

// take gives the connection to whoever asks first.
func (s *Server) take(op string) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[op]
	if c == nil || c.fetched {
		return nil
	}
	c.fetched = true
	return c
}

// Fetch implements api.PagesServer.
func (s *Server) Fetch(in api.Pages_FetchServer) error {
	first, err := in.Recv()
	if err != nil {
		return err
	}
	recs, err := s.journal.Load(first.Op, journal.Source)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	facts := journal.FactsOf(recs)
	if facts == nil {
		return status.Errorf(codes.NotFound, "op: %q is not known here", first.Op)
	}
	if caller, _, _ := pki.Caller(in.Context()); caller != facts.Peer {
		return status.Errorf(codes.PermissionDenied, "op: the pages of %s are for %s", first.Op, facts.Peer)
	}
	conn := s.take(first.Op)
	if conn == nil {
		return status.Errorf(codes.FailedPrecondition, "op: %s has no pages to give", first.Op)
	}
	defer s.Close(first.Op)
	return carry(conn, stream{
		send: func(b []byte) error { return in.Send(&api.PageBytes{Data: b}) },
		recv: func() ([]byte, error) {
			m, err := in.Recv()
			return m.GetData(), err
		},
	})
}
