package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// monitored is an open monitor socket as --json shows it.
type monitored struct {
	Tree  string `json:"tree"` // "" when the socket is closed
	Node  string `json:"node"`
	Rep   string `json:"rep"` // host:port on the loopback of the node
	Pub   string `json:"pub"`
	Write bool   `json:"write"`
}

func (c *cli) groot() *cobra.Command {
	var write, end bool
	cmd := &cobra.Command{
		Use:   "groot [REPLICA|SERVICE] [--write] | --off",
		Short: "Show a running behaviour tree to Groot2",
		Long: `Show the running behaviour tree of a replica to Groot2; without an argument the intake tree. Opens the monitor socket on
the loopback of the manager's switch, where whoever reaches it may look, until --off. Another call shows another tree.
With --write a client may also hold the tree at a node and answer in a node's place, until the next call; what it has
set ends when it says nothing for 5 s.`,
		Example: "  nsctl groot kms\n  ssh -L 1667:127.0.0.1:1667 -L 1668:127.0.0.1:1668 leaf3    # Groot2: connect to localhost, 1667",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if end && (write || len(args) > 0) {
				return refused(errors.New("--off: alone"))
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			reply, err := manager.Monitor(cmd.Context(), &api.MonitorRequest{Replica: strings.Join(args, ""), Write: write, Close: end})
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(monitored{reply.Name, reply.Node, reply.Rep, reply.Pub, reply.Write})
			}
			if reply.Name == "" {
				fmt.Fprintf(c.stdout, "closed on %s\n", reply.Node)
				return nil
			}
			may := "read only"
			if reply.Write {
				may = "hooks allowed"
			}
			_, pub, _ := net.SplitHostPort(reply.Pub)
			fmt.Fprintf(c.stdout, "%s on %s at %s and %s, %s\n", reply.Name, reply.Node, reply.Rep, cmp.Or(pub, reply.Pub), may)
			return nil
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "let clients hold nodes and answer in their place")
	cmd.Flags().BoolVar(&end, "off", false, "close the socket")
	return cmd
}
