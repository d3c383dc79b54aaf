// CRIU cannot dump MPTCP sockets, which Go listens on by default.
//
//go:debug multipathtcp=0

// Ballast is a service to measure moves with: random memory that is partly rewritten each second, and a count that
// proves where its answers come from.
//
// It reads and writes nothing but its connections, raw TCP (a line asks, a line answers) and HTTP, and is told by flags
// and environment. It runs as process 1 of a container made from nothing.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"sonic-netservices/examples/ballast/proof"
)

// Config of the service. Flags come before the environment.
type Config struct {
	HTTP    string // host:port
	TCP     string // host:port
	MB      int    // MiB of random memory
	Rewrite int    // percent of it rewritten each second
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	c, err := parse(os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ballast:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		slog.Error("ballast ended", "err", err)
		os.Exit(1)
	}
}

func parse(args []string, getenv func(string) string) (Config, error) {
	var c Config
	flags := flag.NewFlagSet("ballast", flag.ContinueOnError)
	flags.StringVar(&c.HTTP, "http", ":8080", "answer HTTP on this address: /count, /verify, /healthz")
	flags.StringVar(&c.TCP, "tcp", ":9000", "answer a line by a line on this address")
	flags.IntVar(&c.MB, "mb", 10, "MiB of random memory (environment: BALLAST_MB)")
	flags.IntVar(&c.Rewrite, "rewrite", 20, "percent of it rewritten each second (environment: BALLAST_REWRITE)")
	for _, e := range []struct {
		name string
		to   *int
	}{{"BALLAST_MB", &c.MB}, {"BALLAST_REWRITE", &c.Rewrite}} {
		if text := getenv(e.name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return c, fmt.Errorf("%s: %q is not a number", e.name, text)
			}
			*e.to = n
		}
	}
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	switch {
	case flags.NArg() > 0:
		return c, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case c.MB < 1 || c.MB > 1<<16:
		return c, fmt.Errorf("mb: %d, want 1 to 65536", c.MB)
	case c.Rewrite < 0 || c.Rewrite > 1000:
		return c, fmt.Errorf("rewrite: %d %%, want 0 to 1000", c.Rewrite)
	}
	return c, nil
}

func run(ctx context.Context, c Config) error {
	b, err := NewBallast(c.MB)
	if err != nil {
		return err
	}
	raw, err := net.Listen("tcp", c.TCP)
	if err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	web, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return errors.Join(fmt.Errorf("http: %w", err), raw.Close())
	}
	go b.Rewrite(ctx, float64(c.Rewrite)/100)
	// No idle time-outs: a restored process finds another monotonic clock, and all of them would be over at once.
	srv := &http.Server{Handler: handler(b), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 2)
	go func() { ended <- answerLines(raw, b) }()
	go func() { ended <- srv.Serve(web) }()
	slog.Info("ballast serves", "http", web.Addr(), "tcp", raw.Addr(), "mb", c.MB, "rewrite", c.Rewrite)
	select {
	case err = <-ended:
	case <-ctx.Done(): // nothing is kept: connections end with the process
	}
	return errors.Join(err, raw.Close(), srv.Close())
}

func handler(b *Ballast) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) { w.Write(b.Count().Append(nil)) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /verify", func(w http.ResponseWriter, _ *http.Request) {
		if err := b.Verify(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// answerLines serves raw TCP: whatever a line says, the answer is the next count.
func answerLines(ln net.Listener, b *Ballast) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReaderSize(conn, proof.PageSize)
			for {
				if _, err := in.ReadSlice('\n'); err != nil {
					return
				}
				if _, err := conn.Write(b.Count().Append(nil)); err != nil {
					return
				}
			}
		}()
	}
}
