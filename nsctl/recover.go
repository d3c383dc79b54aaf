package main

import (
	"github.com/spf13/cobra"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

func (c *cli) recover() *cobra.Command {
	var to string
	var accept bool
	cmd := &cobra.Command{
		Use:   "recover SERVICE[-N] --accept-loss [--to NODE]",
		Short: "Give up the copy on a lost node and run a replica anew, with empty volumes",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &api.RecoverRequest{Service: args[0], To: to, AcceptLoss: accept}
			if id, err := netmap.ParseReplicaID(args[0]); err == nil { // no service has a name that looks like a replica's
				req.Service, req.Replica = id.Service, int32(id.Replica)
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			stream, err := manager.Recover(cmd.Context(), req)
			if err != nil {
				return err
			}
			done, err := follow(cmd.Context(), stream, c.progress)
			if err != nil {
				return err
			}
			return c.printDeployed(done)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "node to run it on (default: the manager chooses)")
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "without it nothing is done, and said what would be lost")
	return cmd
}
