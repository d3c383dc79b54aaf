package scenario

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Command is `sonic-vs scenario`.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "scenario", Short: "run scenarios on virtual switches"}
	c.AddCommand(runCommand(), listCommand())
	return c
}

func runCommand() *cobra.Command {
	config := Config{Repo: ".", Lines: os.Stdout}
	c := &cobra.Command{
		Use:   "run NAME",
		Short: "run one; raises and installs the switches first where they are missing",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return Run(cmd.Context(), config, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&config.Instance, "instance", "", "`name` of the set of switches (default: the topology's)")
	f.StringVarP(&config.Topology, "topology", "t", "", "topology `file` (default: the scenario's)")
	f.StringVar(&config.Out, "out", "out", "`folder` for nsctl.yaml, certificates and scenario/NAME/")
	f.IntVar(&config.Rate, "rate", 50, "requests a second of the load of agent-kill, manager-kill and failover")
	f.StringSliceVar(&config.Cases, "case", nil, "only this `VICTIM/RECORD` of agent-kill, manager-kill or failover, server of services, act of line or cell of n2n-interop or n2n-nat, death of n2n-kill, wave of n2n-flood; may be repeated")
	f.BoolVar(&config.Quick, "quick", false, "a sample of the cases")
	return c
}

// ChaosCommand is `sonic-vs chaos`.
func ChaosCommand() *cobra.Command {
	config := Config{Repo: ".", Lines: os.Stdout}
	var want Chaos
	c := &cobra.Command{
		Use:   "chaos",
		Short: "break one thing at one step of a move, move after move; writes chaos.jsonl",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return RunChaos(cmd.Context(), config, want)
		},
	}
	f := c.Flags()
	f.StringVar(&config.Instance, "instance", "", "`name` of the set of switches (default: the topology's)")
	f.StringVarP(&config.Topology, "topology", "t", "sonic-vs/topologies/triangle.yaml", "topology `file`")
	f.StringVar(&config.Out, "out", "out", "`folder` for nsctl.yaml, certificates, chaos.jsonl and chaos/N/ of what went wrong")
	f.IntVar(&config.Rate, "rate", 50, "requests a second")
	f.IntVar(&want.Moves, "moves", 0, "moves to play; 0 = every case once")
	f.Uint64Var(&want.Seed, "seed", 0, "of the order of the cases; 0 = any")
	f.DurationVar(&want.Time, "time", 0, "begin no move after it; 0 = without end")
	f.StringSliceVar(&want.Faults, "fault", nil, "only this `FAULT`; may be repeated")
	f.StringSliceVar(&want.Steps, "step", nil, "only at this `STEP`; may be repeated")
	f.BoolVar(&want.Light, "light", false, "nothing that takes a switch down")
	return c
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the scenarios there are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range All() {
				fmt.Fprintf(w, "%s\t%s\n", s.Name, s.About)
			}
			return w.Flush()
		},
	}
}
