// Package bench measures what a move costs a service's clients, beside what CRIU alone takes.
//
// It raises two virtual switches, runs examples/ballast on them, orders its moves by nsctl while three clients ask, and
// takes a bare container of the same process through runc's checkpoint and restore in between. It writes a folder for each
// run, <out>/bench/migrate/<run>/:
//
//	run.json           what was done, and the load of the machine
//	requests.jsonl.gz  one record a request of the three clients
//	trace.json         the move as nsctl tells it
//	bare.json          in place of both: one checkpoint and restore without a move
//
// Every figure is computed from these files; <out>/bench.jsonl gets them as one JSON object a line. What a tick of a
// behaviour tree costs is measured as well (bt.go), in this process, beside a plain walk, the N2N overlay beside ntop's (n2n.go),
// and decisions beside gonum or brute force (plan.go). It is told by `sonic-vs bench`.
package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/load"
)

// Command is `sonic-vs bench`.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "measure moves beside what CRIU alone takes, behaviour trees beside a plain walk, the N2N overlay beside ntop's, and decisions beside gonum"}
	c.AddCommand(migrateCommand(), btCommand(), n2nCommand(), planCommand(), checkCommand(), playCommand())
	return c
}

func migrateCommand() *cobra.Command {
	var o Options
	c := &cobra.Command{
		Use:   "migrate",
		Short: "move services of several sizes under load, beside bare checkpoint and restore, and cold moves",
		Long: `Raises two virtual switches, and for each size of random memory (20 % rewritten each second), in turn: a live move, a
checkpoint and restore of the same process by runc alone to tmpfs, a cold move. The largest is moved without memory ahead of
its freeze and with lazy pages as well, the smallest warm. Three clients ask all the while: raw TCP, kept HTTP, and a new HTTP
connection each, 100 times a second each.
Exit code 1: a live move failed a request, broke a connection or lost memory, or a run went wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return Migrate(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVarP(&o.Topology, "topology", "t", "sonic-vs/topologies/pair.yaml", "topology `file` with leaf1, leaf2 and a client")
	f.StringVar(&o.Instance, "instance", "bench", "`name` of the set of switches, raised anew and taken down")
	f.StringVar(&o.Out, "out", "out", "`folder` that gets bench.jsonl and bench/migrate/; the records of an earlier run are removed")
	f.IntVar(&o.Runs, "runs", 3, "moves of each mode and size")
	f.IntSliceVar(&o.Sizes, "sizes", []int{10, 100, 500}, "MiB of memory")
	f.StringSliceVar(&o.Only, "only", nil, "only these of "+strings.Join(modes, ", "))
	f.BoolVar(&o.Keep, "keep", false, "leave the switches up")
	return c
}

func checkCommand() *cobra.Command {
	var lines string
	c := &cobra.Command{
		Use:   "check DIR",
		Short: "compute every figure from the records of a bench",
		Long: `Prints the figures of the runs in DIR, such as out/bench/migrate or out/bench/n2n, computed from their records alone.
Exit code 1: a record is missing or unreadable, a live move failed its clients, or the newest lines of bench.jsonl say
something else.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if lines == "" {
				lines = filepath.Join(args[0], "..", "..", figureFile)
			}
			if _, err := os.Stat(filepath.Join(args[0], wireFile)); err == nil {
				return checkWire(args[0], lines, cmd.OutOrStdout())
			}
			runs, err := readRuns(args[0])
			if err != nil {
				return err
			}
			all := figures(runs)
			report(cmd.OutOrStdout(), runs, all)
			written, err := readFigures(lines)
			if err != nil {
				return err
			}
			return errors.Join(compare(all, written), faults(runs))
		},
	}
	c.Flags().StringVar(&lines, "figures", "", "`file` of figures to compare with (default: DIR/../../bench.jsonl)")
	return c
}

// playCommand is the clients' process.
func playCommand() *cobra.Command {
	var target, out, netns string
	c := &cobra.Command{
		Use:    "play",
		Hidden: true, // migrate starts it
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load.EnterNetns(netns); err != nil {
				return err
			}
			return play(cmd.Context(), target, out) // until SIGTERM
		},
	}
	f := c.Flags()
	f.StringVar(&target, "target", "", "address of the service")
	f.StringVar(&out, "out", "", "folder of the records")
	f.StringVar(&netns, "netns", "", "network namespace of the clients")
	return c
}

// Options of `sonic-vs bench migrate`.
type Options struct {
	Topology string
	Instance string
	Out      string
	Runs     int
	Sizes    []int // MiB, in the order they are measured
	Only     []string
	Keep     bool
}

func (o Options) check() error {
	if o.Runs < 1 {
		return fmt.Errorf("--runs %d: want 1 or more", o.Runs)
	}
	if len(o.Sizes) == 0 {
		return errors.New("--sizes: none")
	}
	for i, mb := range o.Sizes {
		if mb < 1 || slices.Contains(o.Sizes[:i], mb) {
			return fmt.Errorf("--sizes %d: want MiB, each once", mb)
		}
	}
	for _, mode := range o.Only {
		if !slices.Contains(modes, mode) {
			return fmt.Errorf("--only %q: want some of %s", mode, strings.Join(modes, ", "))
		}
	}
	return nil
}
