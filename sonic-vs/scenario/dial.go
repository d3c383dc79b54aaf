package scenario

import (
	"context"
	"net"
)

// dial connects from the network of the first client, from which every address of the AS can be reached.
func (s *stage) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	bed := s.suite.Bed
	inErr := bed.InNetns(bed.Clients[0].Name, func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, inErr
}

func (s *stage) dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return s.dial(ctx, "tcp", address)
}
