// CRIU cannot dump MPTCP sockets, which Go listens on by default.
//
//go:debug multipathtcp=0

// Kms is a key-management service, the example service of the suite and the one whose moves are measured.
//
// It reads and writes its volume (signing.key, keys.log), answers HTTP/1.1 and is told by flags and environment. It
// runs as process 1 of a container made from nothing: static, no shell, no child processes.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// Config of the service. Flags come before the environment.
type Config struct {
	Listen    string // host:port
	Data      string // folder of the volume
	Work      int    // SHA-256 rounds a key; 10,000 take about 1 ms of one core with SHA instructions. More: slower keys
	BallastMB int    // MiB of random memory held for nothing, to measure how a move depends on size
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	c, err := parse(os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kms:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c); err != nil {
		slog.Error("kms ended", "err", err)
		os.Exit(1)
	}
}

func parse(args []string, getenv func(string) string) (Config, error) {
	var c Config
	flags := flag.NewFlagSet("kms", flag.ExitOnError)
	flags.StringVar(&c.Listen, "listen", ":8080", "answer HTTP on this address")
	flags.StringVar(&c.Data, "data", "/data", "folder of the volume: signing.key, keys.log")
	flags.IntVar(&c.Work, "work", 10_000, "SHA-256 rounds a key, 10,000 are about 1 ms (environment: KMS_WORK)")
	flags.IntVar(&c.BallastMB, "ballast-mb", 0, "hold this much random memory, MiB (environment: KMS_BALLAST_MB)")
	env := []struct {
		name string
		to   *int
	}{{"KMS_WORK", &c.Work}, {"KMS_BALLAST_MB", &c.BallastMB}}
	for _, e := range env {
		text := getenv(e.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return c, fmt.Errorf("%s: %q is not a number", e.name, text)
		}
		*e.to = n
	}
	flags.Parse(args) // a bad flag ends the process
	switch {
	case flags.NArg() > 0:
		return c, fmt.Errorf("unknown argument %q", flags.Arg(0))
	case c.Work < 1:
		return c, fmt.Errorf("work: %d, want 1 or more", c.Work)
	case c.BallastMB < 0:
		return c, fmt.Errorf("ballast: %d MiB, want 0 or more", c.BallastMB)
	}
	return c, nil
}

func run(ctx context.Context, c Config) error {
	signer, err := LoadSigning(filepath.Join(c.Data, "signing.key"))
	if err != nil {
		return err
	}
	issuer, err := OpenIssuer(filepath.Join(c.Data, "keys.log"), signer, c.Work)
	if err != nil {
		return err
	}
	defer issuer.Close()
	ballast := makeBallast(c.BallastMB)
	defer runtime.KeepAlive(ballast)
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	slog.Info("kms serves", "address", ln.Addr(), "boot", issuer.Boot(), "serial", issuer.Serial(), "work", c.Work)
	if err := Serve(ctx, ln, Handler(issuer)); err != nil {
		return err
	}
	slog.Info("kms ended", "serial", issuer.Serial())
	return nil
}

// makeBallast fills memory with random bytes: no page is shared, empty or compressible.
func makeBallast(mb int) []byte {
	b := make([]byte, mb<<20)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
