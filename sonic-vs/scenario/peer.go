package scenario

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/pki"
	"sonic-netservices/netmap"
)

// caller is a test client with one certificate.
type caller struct {
	stage *stage
	id    *pki.Identity
}

// issue makes a certificate with the AS's own CA, as an operator could.
func (s *stage) issue(name string, role pki.Role) (caller, error) {
	dir := filepath.Join(s.dir, "pki", name+"-"+string(role))
	if err := pki.Issue(filepath.Join(s.Out, "pki"), dir, name, []pki.Role{role}); err != nil {
		return caller{}, err
	}
	id, err := pki.Load(dir, role)
	if err != nil {
		return caller{}, err
	}
	return caller{s, id}, nil
}

// asStranger knocks with a certificate of another CA that has the right name and role. It returns what it is told.
func (s *stage) asStranger(ctx context.Context, n *node, role pki.Role) error {
	dir := filepath.Join(s.dir, "pki", "other-"+string(role))
	if err := pki.Init(dir, "65999"); err != nil {
		return err
	}
	if err := pki.Issue(dir, dir, s.leader().Name, []pki.Role{pki.Manager}); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "manager.crt"), filepath.Join(dir, "manager.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(s.Out, "pki", "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	raw, err := s.dialTCP(ctx, addressOf(n, role))
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: n.Name, NextProtos: []string{"h2"},
		// Shown although the server has said whose certificates it takes.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	})
	_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the server's verdict comes after the handshake
	return err
}

func addressOf(n *node, role pki.Role) string {
	if role == pki.Manager {
		return fmt.Sprintf("%s:%d", n.Loopback, netmap.ManagerPort)
	}
	return fmt.Sprintf("%s:%d", n.Loopback, netmap.AgentPort)
}

// call connects to a program of a node and gives f the connection.
func (c caller) call(ctx context.Context, n *node, role pki.Role, f func(context.Context, *grpc.ClientConn) error) error {
	conn, err := c.dial(n, role)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return f(ctx, conn)
}

// dial prepares a connection to a program of a node.
func (c caller) dial(n *node, role pki.Role) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addressOf(n, role),
		grpc.WithTransportCredentials(c.id.Client(n.Name, role)), grpc.WithContextDialer(c.stage.dialTCP))
}

// order gives an agent an order as a manager would, and says how it ended.
func (c caller) order(ctx context.Context, n *node, order *api.Order) string {
	outcome := ""
	err := c.call(ctx, n, pki.Node, func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := api.NewAgentClient(conn).Do(ctx, order)
		for err == nil && outcome == "" {
			var e *api.Event
			if e, err = stream.Recv(); err == nil && e.Done {
				outcome = e.Outcome.String()
			}
		}
		return err
	})
	if err != nil {
		return said(err)
	}
	return outcome
}

// said is an error as the other side put it.
func said(err error) string {
	if err == nil {
		return "no error"
	}
	s := status.Convert(err)
	return fmt.Sprintf("%s: %s", s.Code(), s.Message())
}
