package vswitch

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Command is `sonic-vs switch`, the one child of a node's PID 1.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:    "switch",
		Short:  "be a virtual switch, inside a node",
		Hidden: true, // started by `up`
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := os.ReadFile(ConfigFile)
			if err != nil {
				return err
			}
			cfg, err := ParseConfig(text)
			if err != nil {
				return fmt.Errorf("%s: %w", ConfigFile, err)
			}
			return Run(cmd.Context(), cfg)
		},
	}
}
