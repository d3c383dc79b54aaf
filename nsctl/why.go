package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// decision is an entry of the manager's audit as --json shows it.
type decision struct {
	At      string          `json:"at"` // RFC 3339
	Replica string          `json:"replica"`
	What    string          `json:"what"`
	Text    string          `json:"text"`
	Detail  json.RawMessage `json:"detail"` // of its own kind; null when the text says all

	Op    string            `json:"op,omitempty"`
	Path  string            `json:"path,omitempty"`  // of the leaf that says it
	Reads map[string]string `json:"reads,omitempty"` // its ports, and what was in them
}

func (c *cli) why() *cobra.Command {
	var most int32
	var reads bool
	cmd := &cobra.Command{
		Use:   "why SERVICE [-n N] [--reads]",
		Short: "Explain what was decided about a service",
		Long: `Explain what was decided about a service, the newest decision last. Below a choice of a node stand the candidates:
their utilisation (SU) and its balance (SUB) before and after, benefit, cost and gain, and why a node is none. With --reads
stands what the leaf that decided has read.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 1 {
				return refused(fmt.Errorf("-n %d: want at least 1", most))
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			reply, err := manager.Why(cmd.Context(), &api.WhyRequest{Service: args[0], Most: most})
			if err != nil {
				return err
			}
			return c.printDecisions(args[0], reply, reads)
		},
	}
	cmd.Flags().Int32VarP(&most, "number", "n", 20, "of decisions at most, the newest")
	cmd.Flags().BoolVar(&reads, "reads", false, "with the leaf that decided, and the values it read")
	return cmd
}

func (c *cli) printDecisions(service string, reply *api.WhyReply, reads bool) error {
	if c.json {
		entries := []decision{}
		for _, e := range reply.Entries {
			at := time.UnixMilli(e.AtUnixMs).UTC().Format("2006-01-02T15:04:05.000Z07:00")
			entries = append(entries, decision{at, e.Replica, e.What, e.Text, e.Detail, e.Op, e.Path, e.Reads})
		}
		return c.printJSON(map[string]any{"service": service, "decisions": entries})
	}
	if len(reply.Entries) == 0 {
		fmt.Fprintf(c.stderr, "nsctl: nothing has been decided about %s yet\n", service)
	}
	for _, e := range reply.Entries {
		at := time.UnixMilli(e.AtUnixMs).UTC().Format(time.RFC3339)
		fmt.Fprintln(c.stdout, strings.Join(nonempty(at, e.Replica, e.What, e.Text), "  "))
		if reads && e.Path != "" {
			fmt.Fprintf(c.stdout, "    at %s\n", e.Path)
			for _, port := range slices.Sorted(maps.Keys(e.Reads)) {
				fmt.Fprintf(c.stdout, "        %s = %s\n", port, strings.Join(strings.Fields(e.Reads[port]), " "))
			}
		}
		for line := range strings.Lines(e.DetailText) {
			fmt.Fprintln(c.stdout, strings.TrimRight("    "+line, " \n"))
		}
	}
	return nil
}

// nonempty leaves out what is not there: a decision about the whole has no replica.
func nonempty(fields ...string) []string {
	var rest []string
	for _, f := range fields {
		if f != "" {
			rest = append(rest, f)
		}
	}
	return rest
}
