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

// treeForm is how a tree is to be shown.
type treeForm struct{ dot, mermaid, blackboard bool }

func (c *cli) tree() *cobra.Command {
	var form treeForm
	var watch bool
	cmd := &cobra.Command{
		Use:   "tree [REPLICA|SERVICE] [--dot|--mermaid|--blackboard] [--watch]",
		Short: "Show a running behaviour tree",
		Long: `Show the running behaviour tree of a replica, with what each node answered last; without an argument the intake
tree, which takes services on.`,
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
			ref := &api.TreeRef{Replica: strings.Join(args, "")}
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
	cmd.Flags().BoolVar(&form.blackboard, "blackboard", false, "only the entries of its blackboard")
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
			shown = v.Blackboard
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
		for _, key := range slices.Sorted(maps.Keys(view.Blackboard)) {
			fmt.Fprintf(&b, "%s = %s\n", key, view.Blackboard[key])
		}
		text = b.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, nil
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
