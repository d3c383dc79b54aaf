package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/sonic-vs/testbed"
)

// Command is `sonic-vs suite`.
func Command() *cobra.Command {
	var instance string
	var o Options
	c := &cobra.Command{
		Use:   "suite",
		Short: "install the product of out/bin on all switches: certificates, images, features",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bed, err := testbed.Load(instance)
			if err != nil {
				return err
			}
			s, err := Install(cmd.Context(), bed, o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d agents have joined %s on %s\n", len(bed.Nodes), Manager, s.manager().Name)
			return nil
		},
	}
	c.AddCommand(footprintCommand(), addCommand(), removeCommand())
	c.Flags().StringVar(&o.Out, "out", "out", "`folder` in which up has left nsctl.yaml; gets pki/")
	c.Flags().StringVar(&instance, "instance", "", "`name` of the set of switches (default: the only one)")
	return c
}

func addCommand() *cobra.Command {
	return changeCommand("add", "install and enable a further feature of out/bin on switches: n2n-supernode or n2n-edge", (*Suite).Add)
}

func removeCommand() *cobra.Command {
	return changeCommand("remove", "disable and remove a feature from switches", (*Suite).Remove)
}

func changeCommand(verb, short string, change func(*Suite, context.Context, testbed.Node, string) error) *cobra.Command {
	var instance string
	c := &cobra.Command{
		Use:   verb + " FEATURE NODE...",
		Short: short,
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			bed, err := testbed.Load(instance)
			if err != nil {
				return err
			}
			s, err := At(bed, Options{})
			if err != nil {
				return err
			}
			for _, name := range args[1:] {
				n, err := bed.Node(name)
				if err != nil {
					return err
				}
				if err := change(s, cmd.Context(), n, args[0]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&instance, "instance", "", "`name` of the set of switches (default: the only one)")
	return c
}

// ErrFootprint says that the suite takes more of a switch than it may.
var ErrFootprint = errors.New("footprint is over its limits")

func footprintCommand() *cobra.Command {
	var instance string
	var seconds int
	var asJSON bool
	c := &cobra.Command{
		Use:   "footprint",
		Short: "measure what the programs take of each switch, and compare it with the limits of an idle one",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if seconds < 1 {
				return fmt.Errorf("seconds: %d is not positive", seconds)
			}
			bed, err := testbed.Load(instance)
			if err != nil {
				return err
			}
			s, err := At(bed, Options{})
			if err != nil {
				return err
			}
			f, err := s.Footprint(cmd.Context(), time.Duration(seconds)*time.Second)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(f)
			} else {
				err = f.Print(cmd.OutOrStdout())
			}
			if faults := f.Faults(); err == nil && len(faults) > 0 {
				err = fmt.Errorf("%w: %s", ErrFootprint, strings.Join(faults, "; "))
			}
			return err
		},
	}
	c.Flags().StringVar(&instance, "instance", "", "`name` of the set of switches (default: the only one)")
	c.Flags().IntVar(&seconds, "seconds", 60, "how long to measure; shorter ones miss what happens seldom")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
