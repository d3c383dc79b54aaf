// Command sonic-vs makes virtual SONiC switches on one Linux machine, loads them and runs scenarios on them.
//
// It wires only: every command is a function of the package that does the work.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/testbed"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "sonic-vs",
		Short:         "Virtual SONiC switches on one Linux machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(testbed.Commands()...)
	err := root.ExecuteContext(ctx)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		os.Exit(exit.ExitCode()) // exec: the command has said what it had to say
	}
	if err != nil {
		slog.Error("sonic-vs", "err", err)
		os.Exit(1)
	}
}
