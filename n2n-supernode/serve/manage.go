package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"

	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
)

// manage opens what operators look at, the Overlay service and the metrics, and gives what serves them.
func (s *server) manage(ctx context.Context) (tasks []func() error, err error) {
	if s.config.Metrics != "" {
		tasks = append(tasks, func() error {
			daemon.Metrics(ctx, s.config.Metrics, metrics{s})
			<-ctx.Done() // a task that returns ends the supernode, which can do without metrics
			return nil
		})
	}
	if s.config.Manage == "" {
		return tasks, nil
	}
	id, err := pki.Load(s.config.PKI, pki.Node)
	if errors.Is(err, fs.ErrNotExist) && !s.config.settings.ByFlag("manage") {
		slog.Warn("no certificate: nsctl cannot look", "pki", s.config.PKI)
		return tasks, nil
	}
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.config.Manage)
	if err != nil {
		return nil, fmt.Errorf("manage: %w", err)
	}
	srv := daemon.NewServer(append(pki.Guard(map[string][]pki.Role{api.Overlay_Edges_FullMethodName: {pki.Operator, pki.Viewer}}),
		grpc.Creds(id.Server()))...)
	api.RegisterOverlayServer(srv, overlay{machine: s.machine})
	return append(tasks, func() error { return daemon.Serve(ctx, ln, srv) }), nil
}
