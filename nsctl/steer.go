package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// steered is a hand in a tree as --json shows it.
type steered struct {
	Done  string   `json:"done"`
	Holds []string `json:"holds"` // all hands in the tree now
}

// steer sends what an operator tells a tree.
func (c *cli) steer(cmd *cobra.Command, req *api.SteerRequest) error {
	manager, err := c.connect()
	if err != nil {
		return err
	}
	reply, err := manager.Steer(cmd.Context(), req)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(steered{reply.Text, append([]string{}, reply.Holds...)})
	}
	fmt.Fprintln(c.stdout, reply.Text)
	for _, hold := range reply.Holds {
		fmt.Fprintf(c.stdout, "! %s\n", hold)
	}
	return nil
}

const treeArgument = "\nThe tree is that of a replica (kms-0), of the first replica of a service (kms), or the intake tree (\"\")."

func (c *cli) pause() *cobra.Command {
	return c.simple(api.Act_PAUSE, "pause", "Keep a tree from being ticked",
		"Keep a tree from being ticked, until nsctl resume, over restarts of the manager as well. What it has begun goes on, and so do\ndeadlines: a Timeout that passes meanwhile ends what it is around when the tree is resumed.")
}

func (c *cli) resume() *cobra.Command {
	return c.simple(api.Act_RESUME, "resume", "Let a paused tree go on", "Let a paused tree go on where it was.")
}

func (c *cli) halt() *cobra.Command {
	return c.simple(api.Act_HALT, "halt", "Halt everything a tree is doing",
		"Halt everything a tree is doing; it begins anew. A move that rests is taken back; one whose step is under way is taken up by the\nnew round. In a cut-over this is refused.")
}

// simple is a command that only names a tree.
func (c *cli) simple(act api.Act, name, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: name + " REPLICA|SERVICE", Short: short, Long: long + treeArgument, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.steer(cmd, &api.SteerRequest{Replica: args[0], Act: act})
		},
	}
}

func (c *cli) force() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "force REPLICA|SERVICE NODE=STATUS [--once]",
		Short: "Let a node of a tree answer without being run",
		Long: `Let a node of a tree answer SUCCESS, FAILURE or SKIPPED without being run, until nsctl release, over restarts of the manager
as well. RUNNING holds the tree before that node. NODE is a path, the number of a node, or a name that only one node has:
nsctl tree --json has them all. Refused in a cut-over, and for nodes that tell what became of an operation.` + treeArgument,
		Example: "  nsctl force kms 'guard/LeavesFirst::44=FAILURE'\n  nsctl force kms 'guard/move/migrate/only forward=RUNNING'    # hold it before the cut-over",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cut := strings.LastIndexByte(args[1], '=')
			if cut < 1 {
				return refused(fmt.Errorf("%q: want NODE=STATUS", args[1]))
			}
			return c.steer(cmd, &api.SteerRequest{Replica: args[0], Act: api.Act_FORCE,
				Node: args[1][:cut], Status: strings.ToUpper(args[1][cut+1:]), Once: once})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "at the node's next tick only")
	return cmd
}

func (c *cli) release() *cobra.Command {
	return &cobra.Command{
		Use: "release REPLICA|SERVICE [NODE]", Short: "End nsctl force", Long: "End nsctl force for a node, or for all of a tree." + treeArgument,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.steer(cmd, &api.SteerRequest{Replica: args[0], Act: api.Act_RELEASE, Node: strings.Join(args[1:], "")})
		},
	}
}
