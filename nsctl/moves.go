package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"sonic-netservices/api"
)

func (c *cli) moves() *cobra.Command {
	var most int32
	cmd := &cobra.Command{
		Use:   "moves [OP] [-n N]",
		Short: "List the newest moves, or show one with its trace",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if most < 1 {
				return refused(fmt.Errorf("-n %d: want at least 1", most))
			}
			req := &api.MovesRequest{Most: most}
			if len(args) > 0 {
				req.Op = args[0]
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			list, err := manager.Moves(cmd.Context(), req)
			if err != nil {
				return err
			}
			if c.json {
				return c.printMovesJSON(list)
			}
			if req.Op != "" {
				return c.printTrace(list.Moves[0])
			}
			return c.printMoves(list)
		},
	}
	cmd.Flags().Int32VarP(&most, "number", "n", 20, "of moves at most, the newest")
	return cmd
}

// printMovesJSON writes each move with its trace, under the names of the contract.
func (c *cli) printMovesJSON(list *api.MoveList) error {
	moves := []map[string]any{}
	for _, v := range list.Moves {
		text, err := (protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}).Marshal(v.Move)
		if err != nil {
			return err
		}
		moves = append(moves, map[string]any{"move": json.RawMessage(text), "outcome": strings.ToLower(v.Outcome.String()),
			"step": v.Step, "error": v.Error, "reason": v.Reason})
	}
	return c.printJSON(map[string]any{"moves": moves})
}

func (c *cli) printMoves(list *api.MoveList) error {
	rows := [][]string{{"OP", "REPLICA", "FROM", "TO", "MODE", "OUTCOME", "HELD-MS", "BYTES", "STARTED"}}
	for _, v := range list.Moves {
		m := v.Move
		held := "-"
		if m.SwitchToReleaseMs > 0 {
			held = fmt.Sprintf("%.1f", m.SwitchToReleaseMs)
		}
		outcome := strings.ToLower(v.Outcome.String())
		if v.Outcome == api.Outcome_PENDING {
			outcome += " (" + v.Step + ")"
		}
		rows = append(rows, []string{m.Op, fmt.Sprintf("%s-%d", m.Service, m.Replica), m.From, m.To, strings.ToLower(m.Mode.String()),
			outcome, held, size(bytesOf(m)), time.UnixMilli(m.StartedUnixMs).UTC().Format(time.RFC3339)})
	}
	return c.printTable(rows)
}

// bytesOf is all that a move sent.
func bytesOf(m *api.Move) int64 {
	return max(0, m.ImageBytes) + m.VolumeBytes + m.DeltaBytes + m.CheckpointBytes + m.PresentBytes
}

// printTrace shows one move for people: how it ended, its phases, what was sent ahead, what CRIU counted.
func (c *cli) printTrace(v *api.MoveView) error {
	m := v.Move
	fmt.Fprintf(c.stdout, "%s-%d from %s to %s, %s: %s\n", m.Service, m.Replica, m.From, m.To,
		strings.ToLower(m.Mode.String()), strings.Join(nonempty(strings.ToLower(v.Outcome.String()), v.Step, v.Error), ", "))
	if v.Reason != "" {
		fmt.Fprintf(c.stdout, "because: %s\n", v.Reason)
	}
	if len(m.Phases) > 0 {
		rows := [][]string{{"PHASE", "AT-MS", "TOOK-MS"}}
		for _, p := range m.Phases {
			rows = append(rows, []string{p.Name, fmt.Sprintf("%.1f", p.StartMs), fmt.Sprintf("%.1f", p.TookMs)})
		}
		if err := c.printTable(rows); err != nil {
			return err
		}
	}
	if m.SwitchToReleaseMs > 0 {
		fmt.Fprintf(c.stdout, "traffic held %.1f ms (%.0f ms expected), %d packets\n", m.SwitchToReleaseMs, m.ExpectedFreezeMs, m.PacketsHeld)
	}
	fmt.Fprintf(c.stdout, "image %s, volumes %s, memory ahead %s, checkpoint %s, delta %s\n",
		size(max(0, m.ImageBytes)), size(m.VolumeBytes), size(m.PresentBytes), size(m.CheckpointBytes), size(m.DeltaBytes))
	for i, r := range m.Rounds {
		fmt.Fprintf(c.stdout, "round %d: %s of %s in %.1f ms\n", i+1, size(r.Bytes), r.What, r.TookMs)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Criu)) {
		fmt.Fprintf(c.stdout, "criu %s: %.0f\n", name, m.Criu[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m.Notes)) {
		fmt.Fprintf(c.stdout, "%s: %s\n", name, m.Notes[name])
	}
	return nil
}
