package suite

import (
	"fmt"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/testbed"
)

// Command is `sonic-vs suite`.
func Command() *cobra.Command {
	var instance string
	var o Options
	c := &cobra.Command{
		Use:   "suite",
		Short: "install the product of out/bin on all switches: certificates, images, features",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bed, err := testbed.Load(instance)
			if err != nil {
				return err
			}
			s, err := Install(cmd.Context(), bed, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d agents have joined %s on %s\n", len(bed.Nodes), Manager, s.manager().Name)
			return nil
		},
	}
	c.Flags().StringVar(&o.Out, "out", "out", "`folder` in which up has left nsctl.yaml; gets pki/")
	c.Flags().StringVar(&instance, "instance", "", "`name` of the set of switches (default: the only one)")
	return c
}
