package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// node is a switch as --json shows it.
type node struct {
	Name      string     `json:"name"`
	Address   string     `json:"address"`
	Tier      string     `json:"tier"`
	Liveness  string     `json:"liveness"`
	HeardMS   int64      `json:"heard_ms"` // since its newest row
	Drained   bool       `json:"drained"`
	Resources []resource `json:"resources"`
	Replicas  []string   `json:"replicas"`
	Neighbors []neighbor `json:"neighbors"`
	Problem   string     `json:"problem"`
}

type resource struct {
	Kind      string  `json:"kind"`
	Capacity  float64 `json:"capacity"`
	Used      float64 `json:"used"`
	Reserved  float64 `json:"reserved"`
	Unit      string  `json:"unit"`
	Over      bool    `json:"over"` // used / capacity is above the threshold
	Threshold float64 `json:"threshold"`
	Verdict   string  `json:"verdict"`
}

type neighbor struct {
	Node     string  `json:"node"`
	SpeedBPS float64 `json:"speed_bps"`
}

func (c *cli) nodes() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the switches with their resources and links",
		Long: `List the switches with their resources and links, as the manager's switch sees them.

Of each resource: used, what is held for services on their way (+), capacity, and the share that is used. A ! marks what
is over its threshold; armed or confirmed is what the judgement over several samples came to.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			manager, err := c.connect()
			if err != nil {
				return err
			}
			list, err := manager.Nodes(cmd.Context(), &api.Empty{})
			if err != nil {
				return err
			}
			return c.printNodes(nodesOf(list))
		},
	}
}

func (c *cli) drain() *cobra.Command {
	var end bool
	cmd := &cobra.Command{
		Use:   "drain NODE [--end]",
		Short: "Move the services of a node elsewhere and keep it free",
		Long: `Move the services of a node elsewhere and place none on it any more, or allow that again with --end.

The moves take place one after the other, as the tree finds room; nsctl nodes and nsctl why show how it goes.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			manager, err := c.connect()
			if err != nil {
				return err
			}
			list, err := manager.Drain(cmd.Context(), &api.DrainRequest{Node: args[0], End: end})
			if err != nil {
				return err
			}
			nodes := nodesOf(list)
			if c.json {
				return c.printNodes(nodes)
			}
			if end {
				fmt.Fprintf(c.stdout, "%s takes services again\n", args[0])
				return nil
			}
			fmt.Fprintf(c.stdout, "%s is drained", args[0])
			if i := slices.IndexFunc(nodes, func(n node) bool { return n.Name == args[0] }); i >= 0 && len(nodes[i].Replicas) > 0 {
				fmt.Fprintf(c.stdout, "; still there: %s", strings.Join(nodes[i].Replicas, ", "))
			}
			fmt.Fprintln(c.stdout)
			return nil
		},
	}
	cmd.Flags().BoolVar(&end, "end", false, "services may come again")
	return cmd
}

func nodesOf(list *api.NodeList) []node {
	nodes := []node{}
	for _, v := range list.Nodes {
		n := node{
			Name: v.Name, Address: v.Address, Tier: v.Tier, Liveness: v.Liveness, HeardMS: v.HeardMs, Drained: v.Drained,
			Resources: []resource{}, Replicas: append([]string{}, v.Replicas...), Neighbors: []neighbor{}, Problem: v.Problem,
		}
		for _, r := range v.Resources {
			over := r.Threshold > 0 && r.Used > r.Threshold*r.Capacity
			n.Resources = append(n.Resources, resource{r.Kind, r.Capacity, r.Used, r.Reserved, r.Unit, over, r.Threshold, r.Verdict})
		}
		for _, l := range v.Neighbors {
			n.Neighbors = append(n.Neighbors, neighbor{l.Node, l.SpeedBps})
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// printNodes writes a table with a column for every kind that any node has, and the links below it.
func (c *cli) printNodes(nodes []node) error {
	if c.json {
		return c.printJSON(map[string]any{"nodes": nodes})
	}
	kinds := map[string]bool{}
	for _, n := range nodes {
		for _, r := range n.Resources {
			kinds[r.Kind] = true
		}
		if n.Problem != "" {
			fmt.Fprintf(c.stderr, "nsctl: %s: %s\n", n.Name, n.Problem)
		}
	}
	heading := []string{"NODE", "TIER", "STATE", "HEARD"}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		heading = append(heading, strings.ToUpper(kind))
	}
	rows := [][]string{append(heading, "REPLICAS")}
	for _, n := range nodes {
		state := n.Liveness
		if n.Drained {
			state += ", drained"
		}
		row := []string{n.Name, cmp.Or(n.Tier, "-"), state, heard(n.HeardMS)}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			cell := "-"
			if i := slices.IndexFunc(n.Resources, func(r resource) bool { return r.Kind == kind }); i >= 0 {
				cell = n.Resources[i].String()
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, cmp.Or(strings.Join(n.Replicas, " "), "-")))
	}
	if err := c.printTable(rows); err != nil {
		return err
	}
	for i, link := range links(nodes) {
		if i == 0 {
			fmt.Fprintln(c.stdout)
		}
		fmt.Fprintln(c.stdout, link)
	}
	return nil
}

// String is a resource in one cell: "0.95+0.2/1 cores 95 % ! armed".
func (r resource) String() string {
	unit, scale := r.Unit, 1.0
	if unit == "bytes" {
		unit, scale = binary(r.Capacity)
	}
	text := amount(r.Used / scale)
	if r.Reserved > 0 {
		text += "+" + amount(r.Reserved/scale)
	}
	text += "/" + amount(r.Capacity/scale)
	if unit != "" {
		text += " " + unit
	}
	if r.Capacity > 0 {
		text += fmt.Sprintf(" %.0f %%", 100*r.Used/r.Capacity)
	}
	if r.Over {
		text += " !"
	}
	if r.Verdict == "armed" || r.Verdict == "confirmed" {
		text += " " + r.Verdict
	}
	return text
}

// binary is the unit in which an amount of bytes reads best.
func binary(bytes float64) (unit string, scale float64) {
	unit, scale = "B", 1
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if bytes < 1024*scale {
			break
		}
		unit, scale = larger, 1024*scale
	}
	return unit, scale
}

// amount writes what one wants to see of a number: three digits or the whole part. Budgets of a few hundredths of a
// core are usual.
func amount(x float64) string {
	digits := 3
	switch {
	case x >= 100:
		digits = 0
	case x >= 10:
		digits = 1
	case x >= 1:
		digits = 2
	}
	text := fmt.Sprintf("%.*f", digits, x)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func heard(ms int64) string {
	switch {
	case ms < 10_000:
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	case ms < 120_000:
		return fmt.Sprintf("%d s", ms/1000)
	}
	return fmt.Sprintf("%d min", ms/60_000)
}

// links draws every cable once: "leaf1 -10G- leaf2". Where the two ends do not say the same, or only one speaks, each
// direction stands for itself: "leaf1 -10G> leaf2".
func links(nodes []node) []string {
	type end struct{ from, to string }
	speeds := map[end]float64{}
	for _, n := range nodes {
		for _, l := range n.Neighbors {
			speeds[end{n.Name, l.Node}] += l.SpeedBPS
		}
	}
	var drawn []string
	for e, speed := range speeds {
		back, both := speeds[end{e.to, e.from}]
		switch {
		case !both || back != speed:
			drawn = append(drawn, fmt.Sprintf("%s -%s> %s", e.from, bitRate(speed), e.to))
		case e.from < e.to:
			drawn = append(drawn, fmt.Sprintf("%s -%s- %s", e.from, bitRate(speed), e.to))
		}
	}
	slices.Sort(drawn)
	return drawn
}

// bitRate names a speed as switches do.
func bitRate(bps float64) string {
	switch {
	case bps >= 1e9:
		return amount(bps/1e9) + "G"
	case bps >= 1e6:
		return amount(bps/1e6) + "M"
	}
	return amount(bps/1e3) + "k"
}
