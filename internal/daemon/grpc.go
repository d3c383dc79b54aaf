package daemon

import (
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
	return grpc.NewServer(append(opts,
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveAfter, Timeout: aliveAfter / 4}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: aliveAfter / 2, PermitWithoutStream: true}))...)
}

// Dial prepares a connection to host:port. It is made with the first call, and again when it breaks, never through a
// proxy that the environment names.
func Dial(addr string, creds credentials.TransportCredentials, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, append(opts, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: aliveAfter, Timeout: aliveAfter / 4}))...)
}
