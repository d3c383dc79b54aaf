package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/spec"
)

// cli is one run of nsctl.
type cli struct {
	stdout, stderr io.Writer
	json           bool
	config         string // path given by --config
	begun          bool   // the command line was understood
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "nsctl",
		Short:             "Run networking services on the switches of one AS",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.PersistentFlags().BoolVar(&c.json, "json", false, "answer in JSON")
	root.PersistentFlags().StringVar(&c.config, "config", "", "where the manager is (default $NSCTL_CONFIG, ./out/nsctl.yaml, ~/.config/nsctl.yaml)")
	root.AddCommand(c.deploy(), c.services(), c.migrate(), c.moves(), c.remove(), c.recover(),
		c.nodes(), c.edges(), c.tree(), c.pause(), c.resume(), c.halt(), c.force(), c.release(), c.why(), c.replay(), c.groot(), c.lint(), c.drain(), c.image(), c.manager(), c.pki(), c.version())
	c.mark(root)
	return root
}

// mark lets every command note that its line was understood: what fails before is refused input.
func (c *cli) mark(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.mark(sub)
	}
	if do := cmd.RunE; do != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.begun = true
			return do(cmd, args)
		}
	}
}

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.json {
				return c.printJSON(map[string]string{"version": daemon.Version()})
			}
			fmt.Fprintln(c.stdout, "nsctl", daemon.Version())
			return nil
		},
	}
}

// errRefused marks an error that nsctl itself finds in its input.
var errRefused = errors.New("refused")

// refused gives such an error its place in the exit code, without a word in its text.
func refused(err error) error { return refusal{err} }

type refusal struct{ error }

func (r refusal) Is(target error) bool { return target == errRefused }
func (r refusal) Unwrap() error        { return r.error }

// code maps an error to the exit code.
func (c *cli) code(err error) int {
	if err == nil {
		return 0
	}
	if !c.begun || errors.Is(err, errRefused) {
		return 2
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied:
		return 2
	}
	return 1
}

// message is what an error looks like on standard error. Errors in a spec come as compilers print theirs, so that an
// editor finds the place.
func message(err error) string {
	var places spec.Errors
	if errors.As(err, &places) {
		return places.Error() + "\n"
	}
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	return "nsctl: " + strings.ReplaceAll(text, "\n", "\nnsctl: ") + "\n"
}
