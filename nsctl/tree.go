package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// watchEvery is how often --watch looks. Trees are ticked about once a second.
const watchEvery = 500 * time.Millisecond

// tree is a running behaviour tree as --json shows it.
type tree struct {
	Name       string            `json:"name"`
	Tree       json.RawMessage   `json:"tree"` // nodes with status, path and note
	Blackboard map[string]string `json:"blackboard"`
}

// boardEntry is one entry of a blackboard with who wrote it when.
type boardEntry struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Kind   string `json:"kind"`
	Writer string `json:"writer"` // path of a node, "" = none of this tree
	At     string `json:"at"`     // RFC 3339
}

// treeForm is how a tree is to be shown.
type treeForm struct{ dot, mermaid, blackboard, active bool }

func (c *cli) tree() *cobra.Command {
	var form treeForm
	var watch bool
	cmd := &cobra.Command{
		Use:   "tree [REPLICA|SERVICE] [--dot|--mermaid|--blackboard] [--only-active] [--watch]",
		Short: "Show a running behaviour tree",
		Long: `Show the running behaviour tree of a replica, with what each node answered last: ✓ success, ✕ failure, * running,
⤼ skipped, - not asked. Without an argument the intake tree, which takes services on.`,
		Example: "  nsctl tree kms --watch\n  nsctl tree kms-0 --dot | dot -Tsvg > kms.svg",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.json && (form.dot || form.mermaid) {
				return refused(errors.New("--json: not with --dot or --mermaid"))
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			ref := &api.TreeRef{Replica: strings.Join(args, ""), OnlyActive: form.active}
			before := ""
			for {
				view, err := manager.Tree(cmd.Context(), ref)
				if watch && cmd.Context().Err() != nil {
					return nil // Ctrl-C is how watching ends
				}
				if err != nil {
					return err
				}
				text, err := c.showTree(view, form)
				if err != nil {
					return err
				}
				if text != before {
					c.draw(text, watch)
				}
				if !watch {
					return nil
				}
				before = text
				select {
				case <-time.After(watchEvery):
				case <-cmd.Context().Done():
					return nil
				}
			}
		},
	}
	cmd.Flags().BoolVar(&form.dot, "dot", false, "for Graphviz")
	cmd.Flags().BoolVar(&form.mermaid, "mermaid", false, "as a Mermaid flow chart")
	cmd.Flags().BoolVar(&form.blackboard, "blackboard", false, "only the entries of its blackboard, with who wrote them when")
	cmd.Flags().BoolVar(&form.active, "only-active", false, "leave out what is idle and was in the newest tick")
	cmd.Flags().BoolVar(&watch, "watch", false, "again whenever it changes, until Ctrl-C")
	cmd.MarkFlagsMutuallyExclusive("dot", "mermaid", "blackboard")
	cmd.AddCommand(c.treeStatus(), c.treeReload())
	return cmd
}

// showTree gives a tree in the form asked for, ending with a newline.
func (c *cli) showTree(view *api.TreeView, form treeForm) (string, error) {
	text := view.Text
	switch {
	case c.json:
		v := tree{view.Name, view.Json, view.Blackboard}
		if v.Blackboard == nil {
			v.Blackboard = map[string]string{}
		}
		shown := any(v)
		if form.blackboard {
			shown = boardOf(view)
		}
		b, err := json.MarshalIndent(shown, "", "  ")
		if err != nil {
			return "", fmt.Errorf("tree %s: %w", view.Name, err)
		}
		text = string(b)
	case form.dot:
		text = view.Dot
	case form.mermaid:
		text = view.Mermaid
	case form.blackboard:
		var b strings.Builder
		for _, e := range boardOf(view) {
			fmt.Fprintf(&b, "%s = %s", e.Name, e.Value)
			if who := strings.Join(nonempty(e.At, e.Writer), "  "); who != "" {
				fmt.Fprintf(&b, "    (%s)", who)
			}
			b.WriteString("\n")
		}
		text = b.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, nil
}

// boardOf lists a blackboard. A manager before this version does not say who wrote what.
func boardOf(view *api.TreeView) []boardEntry {
	list := []boardEntry{}
	for _, e := range view.Entries {
		list = append(list, boardEntry{e.Name, e.Value, e.Kind, e.Writer, stamp(e.AtUnixMs)})
	}
	if len(list) == 0 {
		for _, name := range slices.Sorted(maps.Keys(view.Blackboard)) {
			list = append(list, boardEntry{Name: name, Value: view.Blackboard[name]})
		}
	}
	return list
}

// draw writes a text; when watched on a terminal, in the place of the one before.
func (c *cli) draw(text string, watch bool) {
	if out, ok := c.stdout.(*os.File); ok && watch {
		if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			text = "\x1b[H\x1b[2J" + text
		}
	}
	fmt.Fprint(c.stdout, text)
}
