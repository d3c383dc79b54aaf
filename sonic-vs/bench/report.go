package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// faults says what must not be: a live move that its clients noticed as more than a wait, and runs that went wrong.
func faults(runs []run) error {
	var all error
	for _, r := range runs {
		say := func(format string, args ...any) {
			all = errors.Join(all, fmt.Errorf("%s: "+format, append([]any{r.name()}, args...)...))
		}
		if r.Error != "" {
			say("%s", r.Error)
		}
		if r.Mode != live && r.Mode != plain && r.Mode != lazy || r.Skipped != "" {
			continue
		}
		if r.seen.Failed > 0 || r.seen.Broken > 0 {
			say("%d failed requests, %d broken connections; the first: %s", r.seen.Failed, r.seen.Broken, r.seen.First)
		}
		if r.seen.Boots != 1 || r.seen.Repeated > 0 || r.seen.Lost > 0 {
			say("%d processes answered, %d answers came twice, %d were lost", r.seen.Boots, r.seen.Repeated, r.seen.Lost)
		}
	}
	return all
}

// report is for people: every run, where the milliseconds of a live move go, and the figures.
func report(out io.Writer, runs []run, all []Figure) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RUN\tLOAD\tGAP-MS\tHELD-MS\tCHECKPOINT+RESTORE-MS\tREQUESTS\tFAILED\tBROKEN\tPROCESSES\tNOTE")
	for _, r := range runs {
		fmt.Fprintf(table, "%s\t%.2f\t%s\n", r.name(), r.Load, r.line())
	}
	table.Flush()
	fmt.Fprintln(out, "\nMedian ms of the phases of a live move, in their order:")
	phases(out, runs)
	fmt.Fprintln(out)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tVALUE\tUNIT\tBASELINE\tRATIO\tRUNS\tLOAD")
	for _, f := range all {
		fmt.Fprintf(table, "%s\t%v\t%s\t%s\t%s\t%d\t%.2f\n", f.Name, f.Value, f.Unit, optional(f.Baseline), optional(f.Ratio), f.Runs, f.Load)
	}
	table.Flush()
}

// line of a run in its table: what was measured, and a note where that is not all.
func (r run) line() string {
	const nothing = "\t\t\t\t\t\t\t"
	switch {
	case r.Skipped != "":
		return nothing + "skipped: " + r.Skipped
	case r.Mode == bare && r.Error != "":
		return nothing + "failed: " + r.Error
	case r.Mode == bare:
		return fmt.Sprintf("\t\t%.1f = %.1f + %.1f\t\t\t\t\tCRIU froze it in %.1f ms", r.bare.total(), r.bare.CheckpointMS, r.bare.RestoreMS, r.bare.FreezingMS)
	}
	held, note := "", "failed: "+r.Error
	if r.trace != nil {
		held, note = fmt.Sprintf("%.1f", r.trace.HeldMS), ""
	}
	s := r.seen
	return fmt.Sprintf("%.1f\t%s\t\t%d\t%d\t%d\t%d\t%s", r.gapMS(), held, s.Requests, s.Failed, s.Broken, s.Boots, note)
}

// phases prints a column for each size.
func phases(out io.Writer, runs []run) {
	took := map[string]map[int][]float64{} // by phase and size
	var order []string
	sizes := sizesOf(runs)
	for _, r := range runs {
		if r.Mode != live || r.trace == nil {
			continue
		}
		sum := map[string]float64{} // a phase may come more than once in a move
		for _, p := range r.trace.Phases {
			if !slices.Contains(order, p.Name) {
				order = append(order, p.Name)
			}
			sum[p.Name] += p.TookMS
		}
		for name, ms := range sum {
			if took[name] == nil {
				took[name] = map[int][]float64{}
			}
			took[name][r.MB] = append(took[name][r.MB], ms)
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := []string{"PHASE"}
	for _, mb := range sizes {
		head = append(head, fmt.Sprintf("%d-MB", mb))
	}
	fmt.Fprintln(table, strings.Join(head, "\t"))
	for _, name := range order {
		row := []string{name}
		for _, mb := range sizes {
			cell := ""
			if values := took[name][mb]; len(values) > 0 {
				cell = fmt.Sprintf("%.1f", median(values))
			}
			row = append(row, cell)
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	table.Flush()
}

func optional(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}
