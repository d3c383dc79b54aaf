package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// treesStatus is which trees are in effect, as --json shows it.
type treesStatus struct {
	File    string        `json:"file"`
	Hash    string        `json:"hash"`
	Since   string        `json:"since"` // RFC 3339; "" = the start of the manager
	Waiting []waitingTree `json:"waiting"`
	Problem string        `json:"problem"` // of the file as it is now
	Found   string        `json:"found"`   // RFC 3339, when that was
}

type waitingTree struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

func (c *cli) treeStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show which file of trees is in effect",
		Long: `Show which file of trees is in effect, which trees still run the one before and why, and what is wrong with the file
as it is now, if anything is. (A service of this name: nsctl tree status-0.)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			manager, err := c.connect()
			if err != nil {
				return err
			}
			status, err := manager.Trees(cmd.Context(), &api.Empty{})
			if err != nil {
				return err
			}
			return c.printTrees(status)
		},
	}
}

func (c *cli) treeReload() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "reload [--force]",
		Short: "Put the manager's file of trees into effect as it is now",
		Long: `Put the manager's file of trees into effect as it is now. The manager does so by itself a second or two after the file
has changed; here its faults show at once. A tree goes on in the new file where it is. Where what runs is not in the
new file, it waits until its operation has ended, and in a cut-over it waits always.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			manager, err := c.connect()
			if err != nil {
				return err
			}
			status, err := manager.ReloadTrees(cmd.Context(), &api.ReloadRequest{Force: force})
			if err != nil {
				return err
			}
			return c.printTrees(status)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "halt trees that would have to wait, but none in a cut-over")
	return cmd
}

func (c *cli) printTrees(s *api.TreesStatus) error {
	shown := treesStatus{File: s.File, Hash: s.Hash, Since: stamp(s.SinceUnixMs), Waiting: []waitingTree{}, Problem: s.Problem, Found: stamp(s.ProblemUnixMs)}
	for _, w := range s.Waiting {
		shown.Waiting = append(shown.Waiting, waitingTree{w.Name, w.Why})
	}
	if c.json {
		return c.printJSON(shown)
	}
	since := "since the manager began"
	if shown.Since != "" {
		since = "since " + shown.Since
	}
	fmt.Fprintf(c.stdout, "%s  %s  %s\n", s.File, s.Hash, since)
	for _, w := range shown.Waiting {
		fmt.Fprintf(c.stdout, "%s still runs the file before: %s\n", w.Name, w.Why)
	}
	if s.Problem != "" {
		fmt.Fprintf(c.stdout, "not in effect, found %s:\n%s\n", shown.Found, strings.TrimRight(s.Problem, "\n"))
	}
	return nil
}

// stamp is a time as RFC 3339, "" for none.
func stamp(unixMS int64) string {
	if unixMS == 0 {
		return ""
	}
	return time.UnixMilli(unixMS).UTC().Format(time.RFC3339)
}
