package daemon

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sonic-netservices/api"
)

// stuck has a stream that never ends by itself.
type stuck struct {
	api.UnimplementedManagerServer
	entered chan struct{}
}

func (s stuck) Join(_ *api.Hello, stream grpc.ServerStreamingServer[api.Members]) error {
	close(s.entered)
	<-stream.Context().Done()
	return stream.Context().Err()
}

func TestServeEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	entered := make(chan struct{})
	api.RegisterManagerServer(srv, stuck{entered: entered})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- Serve(ctx, ln, srv) }()

	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := api.NewManagerClient(conn).Join(t.Context(), &api.Hello{})
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("the stuck stream went on")
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeTellsAListenerThatFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := Serve(t.Context(), ln, grpc.NewServer()); err == nil {
		t.Error("no error from a closed listener")
	}
}

func TestContextEndsWithASignal(t *testing.T) {
	ctx, stop := Context()
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
}

func TestLogLevel(t *testing.T) {
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	level := LogLevel(flags)
	if err := flags.Parse([]string{"-log-level", "warn"}); err != nil || *level != slog.LevelWarn {
		t.Errorf("level %v, error %v", *level, err)
	}
	if err := flags.Parse([]string{"-log-level", "loud"}); err == nil {
		t.Error("level loud was taken")
	}
}
