// Package daemon is what every long-running program does the same way: log, stop on a signal, tell its version, serve
// gRPC until it is told to stop.
//
// It reads the process's signals and build information, writes the log to stderr, and is told by each main.go.
package daemon

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// LogLevel defines -log-level (debug, info, warn, error; default info) and gives where its value will be.
func LogLevel(flags *flag.FlagSet) *slog.Level {
	level := new(slog.Level)
	flags.TextVar(level, "log-level", slog.LevelInfo, "log from this level on: debug, info, warn, error")
	return level
}

// Logger writes text lines to stderr and becomes slog's default. Agreed keys: node, service, replica, op, state, peer, err.
func Logger(level slog.Level) *slog.Logger {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log)
	return log
}

// Context ends with SIGINT or SIGTERM. A second signal ends the process at once.
func Context() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Version of the program, from its build information: a module version, or "devel" where the build knew none.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// grace is how long open calls may go on after the context ended. Docker sends SIGKILL after 10 s.
const grace = 2 * time.Second

// Serve runs srv on ln until ctx ends, lets open calls finish for the grace time, then cuts them. It closes ln.
func Serve(ctx context.Context, ln net.Listener, srv *grpc.Server) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	cut := time.AfterFunc(grace, srv.Stop)
	defer cut.Stop()
	srv.GracefulStop()
	<-served // nil: it was stopped
	return nil
}
