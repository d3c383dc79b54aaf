package daemon

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// aliveAfter is how long a connection may be silent before the other end is asked whether it is still there: a switch
// that lost its power sends no FIN.
const aliveAfter = 20 * time.Second

// NewServer is grpc.NewServer with what all our servers have in common: they ask silent clients whether they are alive,
// and let clients ask the same, which gRPC by itself takes for an attack.
func NewServer(opts ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveAfter, Timeout: aliveAfter / 4}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: aliveAfter / 2, PermitWithoutStream: true})}, opts...)...)
}

// Dial prepares a connection to host:port. It is made with the first call, and again when it breaks, never through a
// proxy that the environment names.
func Dial(addr string, creds credentials.TransportCredentials, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: aliveAfter, Timeout: aliveAfter / 4})}, opts...)...)
}

// While a service is frozen its clients wait, 5 s at most. A conversation about it must break well before that when the
// way to the other end does: the kernel asks after a second of silence, and gives up half a second later.
const (
	probeAfter  = time.Second
	giveUpAfter = 1500 * time.Millisecond
)

var probes = net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeAfter, Count: 2}

// ListenQuick listens at host:port for connections that break quickly; the server needs QuickServer as well.
func ListenQuick(ctx context.Context, addr string) (net.Listener, error) {
	return (&net.ListenConfig{KeepAliveConfig: probes}).Listen(ctx, "tcp", addr)
}

// QuickServer makes the connections of a server break quickly.
func QuickServer() grpc.ServerOption {
	return grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveAfter, Timeout: giveUpAfter})
}

// DialQuick is Dial for a connection that breaks quickly.
func DialQuick(addr string, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	return Dial(addr, creds,
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: aliveAfter, Timeout: giveUpAfter}), // also of what TCP has sent
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{KeepAliveConfig: probes}).DialContext(ctx, "tcp", addr)
		}))
}
