package pki

import (
	"context"
	"path"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Guard gives the interceptors that let only certain roles call a method. Keys are full method names such as
// api.Manager_Deploy_FullMethodName. A method without a rule is refused.
func Guard(rules map[string][]Role) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := allow(ctx, info.FullMethod, rules[info.FullMethod]); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := allow(stream.Context(), info.FullMethod, rules[info.FullMethod]); err != nil {
				return err
			}
			return next(srv, stream)
		}),
	}
}

func allow(ctx context.Context, method string, may []Role) error {
	name, roles, ok := Caller(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "the caller showed no certificate")
	}
	if len(may) == 0 {
		return status.Errorf(codes.PermissionDenied, "%s has no rule: nobody may call it", path.Base(method))
	}
	for _, r := range roles {
		if slices.Contains(may, r) {
			return nil
		}
	}
	return status.Errorf(codes.PermissionDenied, "certificate of %s has role %s; %s needs %s",
		name, join(roles), path.Base(method), join(may))
}

// Caller says who calls: the name and the roles in the verified certificate behind a request.
func Caller(ctx context.Context) (name string, roles []Role, ok bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", nil, false
	}
	return Holder(p.AuthInfo)
}

// Holder says the same of a connection without requests, as its handshake has found.
func Holder(auth credentials.AuthInfo) (name string, roles []Role, ok bool) {
	info, ok := auth.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", nil, false
	}
	cert := info.State.VerifiedChains[0][0]
	if len(cert.DNSNames) != 1 {
		return "", nil, false
	}
	return cert.DNSNames[0], rolesOf(cert), true
}
