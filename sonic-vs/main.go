// Command sonic-vs makes virtual SONiC switches on one Linux machine, loads them and runs scenarios on them.
//
// It wires only: every command is a function of the package that does the work.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/bench"
	"sonic-netservices/sonic-vs/demo"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/line"
	"sonic-netservices/sonic-vs/load"
	"sonic-netservices/sonic-vs/scenario"
	"sonic-netservices/sonic-vs/suite"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
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
	root.AddCommand(line.Command())
	root.AddCommand(vswitch.Command())
	root.AddCommand(images.Commands()...)
	root.AddCommand(suite.Command())
	root.AddCommand(load.Command())
	root.AddCommand(demo.Command())
	root.AddCommand(bench.Command())
	root.AddCommand(scenario.Command(), scenario.ChaosCommand())
	os.Exit(testbed.ExitCode(root.ExecuteContext(ctx)))
}
