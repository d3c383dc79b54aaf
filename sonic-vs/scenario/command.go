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
	f.IntVar(&config.Rate, "rate", 50, "requests a second of the load of agent-kill and manager-kill")
	f.StringSliceVar(&config.Cases, "case", nil, "only this `VICTIM/RECORD` of agent-kill or manager-kill, server of services or act of line; may be repeated")
	f.BoolVar(&config.Quick, "quick", false, "a sample of the cases")
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
