package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// Commands are up, down, status and exec, and the first process of a node.
func Commands() []*cobra.Command {
	return []*cobra.Command{upCommand(), downCommand(), statusCommand(), execCommand(), stageCommand()}
}

// ExitCode is what the program exits with after err: for exec the command's own code, silently, as it has said what it
// had to say. A command that failed on the way of something else has been wrapped, and is said.
func ExitCode(err error) int {
	switch exit, ok := err.(*exec.ExitError); {
	case err == nil:
		return 0
	case ok && exit.Exited():
		return exit.ExitCode()
	case ok: // as a shell reports a signal
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	fmt.Fprintln(os.Stderr, "sonic-vs:", err) // not slog: several lines, for people
	return 1
}

func upCommand() *cobra.Command {
	o := Options{Restart: SONiCRestart()}
	c := &cobra.Command{
		Use:   "up -t TOPOLOGY",
		Short: "raise the switches of a topology; again: repair what died",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			for _, s := range t.Sites {
				fmt.Fprintf(cmd.OutOrStdout(), "site %s: %s, NAT %s\n", s.Name, s.Public, s.NAT)
			}
			if len(t.Nodes) == 0 {
				return nil
			}
			return printStatus(cmd, t, false)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Topology, "topology", "t", "", "topology `file`")
	c.MarkFlagRequired("topology")
	f.StringVar(&o.Instance, "instance", "", "`name` of this set of switches (default: the topology's)")
	f.StringVar(&o.Out, "out", "out", "`folder` that gets nsctl.yaml")
	f.Float64Var(&o.Restart.Sec, "restart-sec", o.Restart.Sec, "`seconds` before a failed feature starts again")
	f.IntVar(&o.Restart.LimitBurst, "start-limit-burst", o.Restart.LimitBurst, "this many starts of a feature ...")
	f.Float64Var(&o.Restart.LimitSec, "start-limit-sec", o.Restart.LimitSec, "... in so many `seconds`, then it stays down")
	return c
}

func downCommand() *cobra.Command {
	var instance string
	var all bool
	c := &cobra.Command{
		Use:   "down",
		Short: "remove the switches and everything of theirs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				return DownAll(cmd.Context())
			}
			name, err := theInstance(instance)
			if errors.Is(err, ErrNotUp) {
				slog.Info("nothing is up")
				return nil
			}
			if err != nil {
				return err
			}
			return Down(cmd.Context(), name)
		},
	}
	instanceFlag(c, &instance)
	c.Flags().BoolVar(&all, "all", false, "every instance on this machine")
	c.MarkFlagsMutuallyExclusive("all", "instance")
	return c
}

func statusCommand() *cobra.Command {
	var instance string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "show every switch: PID, uptime, Docker, Redis, containers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := Load(instance)
			if err != nil {
				return err
			}
			return printStatus(cmd, t, asJSON)
		},
	}
	instanceFlag(c, &instance)
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func execCommand() *cobra.Command {
	var instance string
	c := &cobra.Command{
		Use:   "exec NODE CMD...",
		Short: "run a command inside a switch, or in a client's network",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := Load(instance)
			if err != nil {
				return err
			}
			return runIn(t, args[0], args[1:])
		},
	}
	instanceFlag(c, &instance)
	c.Flags().SetInterspersed(false) // flags after NODE are the command's
	return c
}

func stageCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "node-stage INSTANCE NODE",
		Hidden: true, // `up` starts it with the file descriptors it needs
		RunE:   func(*cobra.Command, []string) error { return nodeStage() },
	}
}

func instanceFlag(c *cobra.Command, instance *string) {
	c.Flags().StringVar(instance, "instance", "", "`name` of the set of switches (default: the only one)")
}

func printStatus(cmd *cobra.Command, t *Testbed, asJSON bool) error {
	all, err := t.Status(cmd.Context())
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	return writeTable(os.Stdout, all)
}

func writeTable(w io.Writer, all []Status) error {
	answers := map[bool]string{true: "answers", false: "-"}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tLOOPBACK\tPID\tUPTIME\tDOCKER\tREDIS\tRUNNING")
	for _, s := range all {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", s.Node, s.Loopback, s.Pid,
			time.Duration(s.UptimeS*float64(time.Second)).Round(time.Second), answers[s.Docker], answers[s.Redis], strings.Join(s.Running, " "))
	}
	return table.Flush()
}
