package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sonic-netservices/internal/daemon"
	"sonic-netservices/plan"
	"sonic-netservices/plan/topology"
	"sonic-netservices/scheduler/experiment"
	"sonic-netservices/scheduler/problem"
	"sonic-netservices/spec"
)

// cli is one run of scheduler.
type cli struct {
	stdout, stderr io.Writer
	begun          bool // the command line was understood
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "scheduler",
		Short:             "Decide where services, chains and paths go",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	experiments := &cobra.Command{Use: "experiment", Short: "Run the experiment of a paper, or solve a problem by its method"}
	for _, e := range experiment.All() {
		experiments.AddCommand(c.experiment(e))
	}
	root.AddCommand(experiments, &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(c.stdout, "scheduler", daemon.Version()) },
	})
	return root
}

// flags of an experiment.
type flags struct {
	experiment.Options
	topology, problem, out string
	asJSON                 bool
	budget                 plan.Budget
}

func (c *cli) experiment(e experiment.Experiment) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   e.Name,
		Short: e.About,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(e); err != nil {
				return err
			}
			c.begun = true
			if f.problem != "" {
				return c.solve(cmd, e, f)
			}
			return c.measure(cmd, e, f)
		},
	}
	cmd.Flags().IntVar(&f.Seeds, "seeds", 0, "runs, each with a network and a load of its own; 0: the experiment's own number")
	cmd.Flags().Uint64Var(&f.First, "first", cmp.Or(e.First, 1000), "seed of the first run; seed of the search with --problem")
	cmd.Flags().BoolVar(&f.Paper, "paper", false, "the paper's own setting in full, and judge what it claims")
	cmd.Flags().BoolVar(&f.Quick, "quick", false, "small and fast: that it works, not what comes out")
	cmd.Flags().StringVar(&f.topology, "topology", "", "network: a file, or one of "+topology.Choices())
	cmd.Flags().StringVar(&f.problem, "problem", "", "solve the problem in this file instead, and explain the decision")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "with --problem: the decision as JSON")
	cmd.Flags().IntVar(&f.budget.Work, "work", 0, "with --problem: solutions to weigh; 0: the strategy's own number")
	cmd.Flags().StringVar(&f.out, "out", "out", "folder for experiments/ and bench.jsonl")
	return cmd
}

// check refuses what contradicts itself, and reads the topology.
func (f *flags) check(e experiment.Experiment) error {
	switch {
	case f.Seeds < 0 || f.budget.Work < 0:
		return errors.New("--seeds, --work: want 0 or more")
	case f.Paper && f.Quick:
		return errors.New("--paper, --quick: want one of them")
	case f.Paper && f.topology != "":
		return errors.New("--paper, --topology: the paper has a network of its own")
	case (f.asJSON || f.budget.Work > 0) && f.problem == "":
		return errors.New("--json, --work: go with --problem")
	case f.problem != "" && (f.Paper || f.Quick || f.Seeds > 0 || f.topology != ""):
		return errors.New("--problem: is one problem on a network of its own; --paper, --quick, --seeds and --topology are for experiments")
	case f.problem != "" && e.Solve == nil:
		return fmt.Errorf("--problem: %s has no problems to solve", e.Name)
	}
	if f.topology == "" {
		return nil
	}
	t, err := readTopology(f.topology, f.First)
	f.Topology = t
	return err
}

// readTopology takes a name that topology knows, or a file.
func readTopology(name string, seed uint64) (*topology.Topology, error) {
	if t, ok, err := topology.ByName(name, seed); ok {
		return &t, err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--topology: no file of that name, and none of %s: %w", topology.Choices(), err)
	}
	network, err := spec.ParseTopology(name, text)
	if err != nil {
		return nil, err
	}
	t, err := problem.Topology(network)
	return &t, err
}

func (c *cli) solve(cmd *cobra.Command, e experiment.Experiment, f flags) error {
	text, err := os.ReadFile(f.problem)
	if err != nil {
		return fmt.Errorf("--problem: %w", err)
	}
	p, err := spec.ParseProblem(f.problem, text)
	if err != nil {
		return err
	}
	f.budget.Seed = f.First
	d, err := e.Solve(cmd.Context(), p, f.budget)
	if err != nil {
		return fmt.Errorf("%s: %w", f.problem, err)
	}
	if f.asJSON {
		enc := json.NewEncoder(c.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(d)
	}
	fmt.Fprint(c.stdout, d)
	return nil
}

func (c *cli) measure(cmd *cobra.Command, e experiment.Experiment, f flags) error {
	began, last := time.Now(), time.Time{}
	f.Progress = func(done, total int) {
		if now := time.Now(); done == total || now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintf(c.stderr, "%s: %d of %d runs, %.0f s\n", e.Name, done, total, now.Sub(began).Seconds())
		}
	}
	report, err := e.Run(cmd.Context(), f.Options)
	if err != nil {
		return fmt.Errorf("experiment %s: %w", e.Name, err)
	}
	report.Text(c.stdout)
	figures := filepath.Join(f.out, "bench.jsonl")
	if !f.Paper {
		figures = "" // figures are those of the setting the goals are about
	}
	folder := filepath.Join(f.out, "experiments")
	if err := report.Save(folder, figures); err != nil {
		return err
	}
	fmt.Fprintf(c.stderr, "%s: tables and drawings are in %s\n", e.Name, folder)
	if !f.Paper {
		return nil
	}
	return report.Failed()
}

// code is the exit code: 2 for input that cannot be meant, 1 for what failed.
func (c *cli) code(err error) int {
	var bad spec.Errors
	switch {
	case err == nil:
		return 0
	case !c.begun || errors.As(err, &bad):
		return 2
	}
	return 1
}

// message is an error as standard error shows it; those in a file come as compilers print theirs.
func message(err error) string {
	var bad spec.Errors
	if errors.As(err, &bad) {
		return bad.Error() + "\n"
	}
	return fmt.Sprintf("scheduler: %v\n", err)
}
