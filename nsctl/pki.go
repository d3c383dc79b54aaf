package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sonic-netservices/internal/pki"
)

func (c *cli) pki() *cobra.Command {
	cmd := &cobra.Command{Use: "pki", Short: "Certificates of the AS"}
	cmd.AddCommand(c.pkiInit(), c.pkiIssue())
	return cmd
}

func (c *cli) pkiInit() *cobra.Command {
	var dir, as string
	cmd := &cobra.Command{
		Use:   "init --as NAME [--dir DIR]",
		Short: "Make the certificate authority of an AS",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := pki.Init(dir, as); err != nil {
				return refused(err)
			}
			if c.json {
				return c.printJSON(map[string]string{"dir": dir, "as": as})
			}
			fmt.Fprintf(c.stdout, "%s holds the CA of %s; keep ca.key there and nowhere else\n", dir, as)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "pki", "folder of the CA")
	cmd.Flags().StringVar(&as, "as", "", "name or number of the AS")
	_ = cmd.MarkFlagRequired("as") // only fails for a flag that does not exist
	return cmd
}

func (c *cli) pkiIssue() *cobra.Command {
	var dir, out string
	var names []string
	cmd := &cobra.Command{
		Use:   "issue NAME --role ROLE [--role ROLE] --out DIR [--dir DIR]",
		Short: "Make a certificate for a node or a person",
		Long:  "Make a certificate. Roles: node (a switch's agent), manager, operator (may change things), viewer (may look).\nThe files take the name of the first role.",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var roles []pki.Role
			for _, name := range names {
				role, err := pki.ParseRole(name)
				if err != nil {
					return refused(err)
				}
				roles = append(roles, role)
			}
			if err := pki.Issue(dir, out, args[0], roles); err != nil {
				return refused(err)
			}
			if c.json {
				return c.printJSON(map[string]any{"name": args[0], "roles": names, "dir": out})
			}
			fmt.Fprintf(c.stdout, "%s/%s.crt names %s\n", out, names[0], args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "pki", "folder of the CA")
	cmd.Flags().StringVar(&out, "out", "", "folder for the certificate, its key and ca.crt")
	cmd.Flags().StringSliceVar(&names, "role", nil, "what the holder may do: node, manager, operator, viewer")
	_ = cmd.MarkFlagRequired("out")
	_ = cmd.MarkFlagRequired("role")
	return cmd
}
