package line

import (
	"strconv"

	"github.com/spf13/cobra"
)

// Command is `sonic-vs line`, which testbed starts inside a line's namespace.
func Command() *cobra.Command {
	var shape Shape
	c := &cobra.Command{
		Use:    "line A B",
		Short:  "carry frames between two interfaces, slowly",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return Pass(cmd.Context(), args[0], args[1], shape)
		},
	}
	f := c.Flags()
	f.DurationVar(&shape.Delay, "delay", 0, "of each frame")
	f.DurationVar(&shape.Jitter, "jitter", 0, "how much more or less the delay may be")
	f.Float64Var(&shape.Loss, "loss", 0, "`percent` of the frames that get lost")
	f.Float64Var(&shape.Rate, "rate", 0, "`Mbit/s`")
	return c
}

// Args are the arguments that Command reads back.
func (s Shape) Args(a, b string) []string {
	return []string{"line", "--delay", s.Delay.String(), "--jitter", s.Jitter.String(), "--loss", number(s.Loss), "--rate", number(s.Rate), a, b}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
