package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sonic-netservices/bt-manager/bt/xmlv4"
	"sonic-netservices/bt-manager/lint"
)

// fault is one fault of a tree file as --json shows it.
type fault struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Col      int    `json:"col"` // in characters, from 1
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Source   string `json:"source"` // the line
}

func (c *cli) lint() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check files of behaviour trees, offline",
		Long: `Check files of behaviour trees as bt-manager does before it runs them. Every fault is told at once, as
file:line:col: message, with its line and a caret under the place. Nobody is asked: this works without a manager.
Exit code 2: a file has an error, or with --strict a warning.`,
		Example: "  nsctl lint --strict trees/*.xml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all := []fault{}
			var failed error
			for _, name := range args {
				faults, err := lintFile(name)
				if err == nil && (faults.Failed() || strict && len(faults.Diags) > 0) {
					err = fmt.Errorf("%s: %s", name, counted(faults))
				}
				failed = errors.Join(failed, err)
				if !c.json {
					fmt.Fprint(c.stdout, faults.String())
				}
				for _, d := range faults.Diags {
					severity := "error"
					if d.Warning {
						severity = "warning"
					}
					all = append(all, fault{d.Pos.File, d.Pos.Line, d.Pos.Col, severity, d.Msg, faults.Line(d.Pos)})
				}
			}
			if c.json {
				if err := c.printJSON(all); err != nil {
					return err
				}
			}
			if failed != nil {
				return refused(failed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings count as errors")
	return cmd
}

func counted(faults xmlv4.Faults) string {
	errs, warnings := 0, 0
	for _, d := range faults.Diags {
		if d.Warning {
			warnings++
		} else {
			errs++
		}
	}
	return fmt.Sprintf("errors: %d, warnings: %d", errs, warnings)
}

// lintFile checks one file. Files it includes lie beside or below it.
func lintFile(name string) (xmlv4.Faults, error) {
	dir, base := filepath.Split(name)
	if info, err := os.Stat(name); err != nil {
		return xmlv4.Faults{}, err
	} else if info.IsDir() {
		return xmlv4.Faults{}, fmt.Errorf("%s is a folder", name)
	}
	return lint.File(os.DirFS(filepath.Clean(dir)), base, filepath.ToSlash(dir))
}
