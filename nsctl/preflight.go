package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sonic-netservices/api"
)

// finding is one thing a move needs as --json shows it.
type finding struct {
	Name   string `json:"name"`
	Node   string `json:"node"`
	Holds  bool   `json:"holds"`
	Detail string `json:"detail"`
}

// preflight is what --dry-run tells as --json shows it.
type preflight struct {
	From             string    `json:"from"`
	To               string    `json:"to"`
	Mode             string    `json:"mode"`
	Missing          int       `json:"missing"`
	ImageBytes       int64     `json:"image_bytes"`
	VolumeBytes      int64     `json:"volume_bytes"`
	MemoryBytes      int64     `json:"memory_bytes"`
	ExpectedFreezeMS float64   `json:"expected_freeze_ms"`
	ExpectedTotalMS  float64   `json:"expected_total_ms"`
	Formula          string    `json:"formula"`
	Checks           []finding `json:"checks"`
}

// dryRun shows what a move would meet. That something is missing is an error of its own, after the answer.
func (c *cli) dryRun(ctx context.Context, manager api.ManagerClient, req *api.MigrateRequest) error {
	reply, err := manager.Preflight(ctx, req)
	if err != nil {
		return err
	}
	p := preflight{From: reply.From, To: reply.To, Mode: strings.ToLower(reply.Mode.String()), ImageBytes: reply.ImageBytes,
		VolumeBytes: reply.VolumeBytes, MemoryBytes: reply.MemoryBytes, ExpectedFreezeMS: reply.ExpectedFreezeMs,
		ExpectedTotalMS: reply.ExpectedTotalMs, Formula: reply.Formula, Checks: []finding{}}
	for _, k := range reply.Checks {
		p.Checks = append(p.Checks, finding{k.Name, k.Node, k.Holds, k.Detail})
		if !k.Holds {
			p.Missing++
		}
	}
	if c.json {
		err = c.printJSON(p)
	} else {
		err = c.printPreflight(p)
	}
	if err == nil && p.Missing > 0 {
		err = refused(errors.New(missingText(p)))
	}
	return err
}

func missingText(p preflight) string {
	var names []string
	for _, k := range p.Checks {
		if !k.Holds {
			names = append(names, k.Name+" ("+k.Node+")")
		}
	}
	return "missing for a move from " + p.From + " to " + p.To + ": " + strings.Join(names, ", ")
}

func (c *cli) printPreflight(p preflight) error {
	rows := [][]string{{"CHECK", "NODE", "HOLDS", "FOUND"}}
	for _, k := range p.Checks {
		holds := "yes"
		if !k.Holds {
			holds = "NO"
		}
		rows = append(rows, []string{k.Name, k.Node, holds, k.Detail})
	}
	if err := c.printTable(rows); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "to send: image %s, volumes %s, memory %s\n", size(p.ImageBytes), size(p.VolumeBytes), size(p.MemoryBytes))
	if p.ExpectedTotalMS > 0 {
		fmt.Fprintf(c.stdout, "expected: traffic held %.0f ms, %.1f s altogether\n", p.ExpectedFreezeMS, p.ExpectedTotalMS/1000)
		fmt.Fprintf(c.stdout, "  %s\n", p.Formula)
	}
	return nil
}
