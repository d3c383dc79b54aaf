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
	c.AddCommand(moveCommand())
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
	f := c.Flags()
	f.StringVarP(&o.Topology, "topology", "t", "sonic-vs/topologies/triangle.yaml", "topology `file` with leaf1, leaf2 and a client")
	f.StringVar(&o.Instance, "instance", "", "`name` of the set of switches, raised anew (default: the topology's)")
	f.StringVar(&o.Out, "out", "out", "`folder` that gets nsctl.yaml and pki/")
	f.StringVar(&o.Dir, "dir", "out/demo-move", "`folder` that gets the records, the report and the drawing; what an earlier demo left in it is removed")
	return c
}
