// Package demo shows the suite at work on virtual switches, with a load that records what its clients see.
//
// It reads a topology and a service's spec, orders everything by nsctl, and writes the records of the loads, the
// checker's report, the drawing and facts.json into a folder; it is told by `sonic-vs demo`.
package demo

import (
	"github.com/spf13/cobra"
)

// Command is `sonic-vs demo`.
func Command() *cobra.Command {
	c := &cobra.Command{Use: "demo", Short: "show the suite at work"}
	c.AddCommand(storyCommand(), moveCommand())
	return c
}

func moveCommand() *cobra.Command {
	var o Options
	c := &cobra.Command{
		Use:   "move",
		Short: "move a key service between switches under load, live and cold, and compare",
		Long: `Raises the switches of a topology anew, installs the suite, runs the key service on leaf1 and, under 100 requests a
second, moves it live to leaf2 and back, then cold there and back, then live to leaf2, where it stays.
Exit code 1: a live move failed a request, broke a connection, lost or repeated a key; a cold one did not; or something
else is not as it must be, such as a copy left behind. The switches stay up in any case.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return Move(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	o.flags(c, "out/demo-move")
	return c
}

func storyCommand() *cobra.Command {
	var o Options
	c := &cobra.Command{
		Use:   "story",
		Short: "overload a switch and look on as the behaviour tree moves its service, live and then cold",
		Long: `Raises the switches of a topology anew, installs the suite, runs the key service on leaf1, measures what it costs, and
sets the CPU budgets for services so that 500 requests a second are too much for leaf1. Then clients ask 100 times a second,
from second 30 on 500 times. Nobody orders anything. The same once more with a service that is moved cold.
Exit code 1: the tree did not move the service by itself exactly once, the live move failed a request, broke a connection,
lost or repeated a key, or the latency is not as it must be. The switches stay up in any case.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return Story(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	o.flags(c, "out/demo")
	return c
}

func (o *Options) flags(c *cobra.Command, dir string) {
	f := c.Flags()
	f.StringVarP(&o.Topology, "topology", "t", "sonic-vs/topologies/triangle.yaml", "topology `file` with leaf1, leaf2, leaf3 and a client")
	f.StringVar(&o.Instance, "instance", "", "`name` of the set of switches, raised anew (default: the topology's)")
	f.StringVar(&o.Out, "out", "out", "`folder` that gets nsctl.yaml and pki/")
	f.StringVar(&o.Dir, "dir", dir, "`folder` that gets the records, the report and the drawing; what an earlier demo left in it is removed")
}
