package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netns"
)

// Command is `sonic-vs load`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Ask a key service for keys by schedule, and check what came of it",
	}
	cmd.AddCommand(runCommand(), checkCommand(), plotCommand())
	return cmd
}

func runCommand() *cobra.Command {
	var c Config
	var rate, ns string
	var freezers []string
	cmd := &cobra.Command{
		Use:   "run --target URL --out DIR",
		Short: "Ask for keys, open loop and never twice, and record every request",
		Example: `  sonic-vs load run --target http://10.20.0.10:8080 --out out/load --rate 100,500@30s --duration 60s \
    --netns /run/netns/client --freezer 'leaf1=/sys/fs/cgroup/freezer/netservices/*'`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := EnterNetns(ns); err != nil {
				return err
			}
			var err error
			if c.Schedule.Steps, err = ParseSteps(rate); err != nil {
				return err
			}
			for _, text := range freezers {
				g, err := ParseCgroups(text)
				if err != nil {
					return err
				}
				c.Freezers = append(c.Freezers, g)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			return Run(ctx, c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Target, "target", "", "the service, http://HOST:PORT")
	f.StringVar(&c.Dir, "out", "", "write the records into this folder")
	f.StringVar(&rate, "rate", "100", "requests a second, RATE or RATE,RATE@TIME,...")
	f.DurationVar(&c.Schedule.Duration, "duration", 0, "end after this time; 0: at SIGINT or SIGTERM")
	f.IntVar(&c.Kept, "kept", 50, "connections kept open")
	f.IntVar(&c.Schedule.New, "new", 20, "requests a second, of the rate, on a new connection each")
	f.Uint64Var(&c.Schedule.Seed, "poisson", 0, "ask at random moments drawn from this `seed`, as independent clients do; 0: evenly spaced")
	f.StringVar(&ns, "netns", "", "run in the network namespace at this path")
	f.StringArrayVar(&freezers, "freezer", nil, "sample the freezers of these cgroups, NODE=GLOB; may be repeated")
	cmd.MarkFlagRequired("target")
	cmd.MarkFlagRequired("out")
	return cmd
}

// EnterNetns starts this program again in another network namespace. A namespace belongs to a thread, and only a new
// program image makes sure that no thread is left in the old one.
func EnterNetns(path string) error {
	if path == "" {
		return nil
	}
	here, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return err
	}
	there, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if os.SameFile(here, there) {
		return nil
	}
	runtime.LockOSThread()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return fmt.Errorf("start again in network namespace %s: %w", path, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

func checkCommand() *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Compute every figure from the records, and verify every signature",
		Long: `Prints the report of the load in DIR, or of the loads in its folders, computed from the records and the copy of the volume alone.
A load that nobody moved by hand (watch.json) is judged as well: the report's verdict lists what it had to show.
Exit code 1: a record is unreadable or missing, a signature does not verify, a part of the verdict does not hold, or the
report.json in DIR says something else.`,
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			report, verified := Check(dir)
			if verified != nil && !Reported(verified) {
				return verified
			}
			text, err := report.Format()
			if err != nil {
				return err
			}
			if write {
				err = WriteReport(dir, report)
			} else {
				err = sameReport(dir, text)
			}
			cmd.OutOrStdout().Write(text)
			return errors.Join(verified, err)
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "write report.json instead of comparing with it")
	return cmd
}

func plotCommand() *cobra.Command {
	return &cobra.Command{
		Use:          "plot DIR",
		Short:        "Draw latency over time: latency.svg and latency.png",
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE:         func(_ *cobra.Command, args []string) error { return Plot(args[0]) },
	}
}

// plotStep is short enough to show a gap of 100 ms and long enough for some answers at 100 a second. Watched loads take
// minutes: there are more answers than points to draw.
func plotStep(p Part) time.Duration {
	if p.Watch != nil {
		return 100 * time.Millisecond
	}
	return 50 * time.Millisecond
}
