package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"sonic-netservices/api"
)

// instance is a replica on a node as --json shows it.
type instance struct {
	Service        string `json:"service"`
	Replica        int32  `json:"replica"`
	Node           string `json:"node"`
	NodeAddress    string `json:"node_address"`
	ServiceAddress string `json:"service_address"`
	Container      string `json:"container"`
	State          string `json:"state"`
	Since          string `json:"since"` // RFC 3339
	ImageID        string `json:"image_id"`
	Op             string `json:"op"`
}

func instanceOf(i *api.Instance) instance {
	return instance{
		Service: i.Service, Replica: i.Replica, Node: i.Node, NodeAddress: i.NodeAddress, ServiceAddress: i.ServiceAddress,
		Container: i.Container, State: strings.ToLower(i.State.String()),
		Since: time.UnixMilli(i.SinceUnixMs).UTC().Format(time.RFC3339), ImageID: i.ImageId, Op: i.Op,
	}
}

func (c *cli) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printTable writes aligned columns; the first row is the heading.
func (c *cli) printTable(rows [][]string) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// progress writes an event to standard error: milliseconds since the operation began, phase, detail.
func (c *cli) progress(e *api.Event) {
	detail := e.Detail
	if e.Bytes > 0 {
		detail = strings.TrimSpace(detail + " " + size(e.Bytes))
	}
	fmt.Fprintln(c.stderr, strings.TrimRight(fmt.Sprintf("%8d ms  %-9s %s", e.AtMs, e.Phase, detail), " "))
}

func size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}
