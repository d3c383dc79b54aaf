package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// edge is an edge of the overlay as --json shows it.
type edge struct {
	Community    string `json:"community"`
	Name         string `json:"name"`
	MAC          string `json:"mac"`
	Address      string `json:"address"`
	Public       string `json:"public"`
	Transport    string `json:"transport"`
	Local        string `json:"local"`
	NAT          string `json:"nat"`
	Encrypted    bool   `json:"encrypted"`
	RegisteredMS int64  `json:"registered_ms"` // since it came
	HeardMS      int64  `json:"heard_ms"`      // since its newest registration
	Relayed      uint64 `json:"relayed"`       // frames for one other edge that the supernode passed on
	RelayedMS    int64  `json:"relayed_ms"`    // since the newest of them; -1: there was none
	Why          string `json:"why"`           // it does not send straight
}

// supernode is another supernode as --json shows it.
type supernode struct {
	Addr  string `json:"addr"`
	MAC   string `json:"mac"`
	Alive bool   `json:"alive"`
}

func (c *cli) edges() *cobra.Command {
	var community string
	cmd := &cobra.Command{
		Use:   "edges [--community NAME]",
		Short: "List the edges of the N2N overlay",
		Long: `List the edges of the N2N overlay that are registered at the supernode, and the other supernodes.

RELAYED counts the frames for one other edge that went by the supernode because the edge could not send them straight, or
had not found out yet; WHY is what keeps it from doing so, as far as the supernode can tell.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			overlay, err := c.overlay()
			if err != nil {
				return err
			}
			list, err := overlay.Edges(cmd.Context(), &api.EdgesRequest{Community: community})
			if err != nil {
				return err
			}
			return c.printEdges(list)
		},
	}
	cmd.Flags().StringVar(&community, "community", "", "only the edges of this community")
	return cmd
}

func (c *cli) printEdges(list *api.EdgeList) error {
	edges, supernodes := []edge{}, []supernode{}
	for _, e := range list.Edges {
		edges = append(edges, edge{e.Community, e.Name, e.Mac, e.Address, e.Public, e.Transport, e.Local, e.Nat, e.Encrypted,
			e.RegisteredMs, e.HeardMs, e.Relayed, e.RelayedMs, e.Why})
	}
	for _, s := range list.Supernodes {
		supernodes = append(supernodes, supernode{s.Addr, s.Mac, s.Alive})
	}
	if c.json {
		return c.printJSON(map[string]any{"edges": edges, "supernodes": supernodes})
	}
	rows := [][]string{{"COMMUNITY", "EDGE", "MAC", "ADDRESS", "PUBLIC", "NAT", "HEARD", "RELAYED", "WHY"}}
	for _, e := range edges {
		public := e.Public
		if e.Transport != "udp" {
			public += "/" + e.Transport
		}
		rows = append(rows, []string{e.Community, cmp.Or(e.Name, "-"), e.MAC, cmp.Or(e.Address, "-"), public, e.NAT,
			(time.Duration(e.HeardMS) * time.Millisecond).Round(time.Second).String(), fmt.Sprint(e.Relayed), cmp.Or(e.Why, "-")})
	}
	if err := c.printTable(rows); err != nil || len(supernodes) == 0 {
		return err
	}
	fmt.Fprintln(c.stdout)
	rows = [][]string{{"SUPERNODE", "MAC", "STATE"}}
	for _, s := range supernodes {
		state := "silent"
		if s.Alive {
			state = "alive"
		}
		rows = append(rows, []string{s.Addr, cmp.Or(s.MAC, "-"), state})
	}
	return c.printTable(rows)
}
