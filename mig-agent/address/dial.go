package address

import (
	"context"
	"net"
)

// Dial connects from inside a network namespace. addr is a literal address and port: a name would be resolved on
// another thread, outside.
func Dial(ctx context.Context, ns, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := within(ns, func() error {
		var err error
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}
