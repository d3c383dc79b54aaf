package experiment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"sonic-netservices/scheduler/chart"
)

// Text writes the report for people.
func (r Report) Text(w io.Writer) {
	for i, t := range r.Tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		t.Text(w)
	}
	if len(r.Claims) > 0 {
		fmt.Fprintln(w, "\nWhat is claimed, and what came out (± 95 %)")
		rows := [][]string{{"", "claim", "said", "got", "holds from", "to", ""}}
		for _, c := range r.Claims {
			verdict := "holds"
			if !c.Holds() {
				verdict = "DOES NOT HOLD"
			}
			rows = append(rows, []string{verdict, strings.TrimSpace(c.ID + " " + c.What), c.Said, c.Got.text(2), bound(c.Low), bound(c.High), c.Unit})
		}
		align(w, rows)
		for _, c := range r.Claims {
			if !c.Holds() && c.Reason != "" {
				fmt.Fprintf(w, "  %s %s: %s\n", c.ID, c.What, c.Reason)
			}
		}
	}
	for i, n := range r.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, n)
	}
}

func bound(x float64) string {
	if x > 1e15 || x < -1e15 {
		return ""
	}
	return fmt.Sprintf("%.2f", x)
}

// Failed are the gates that do not hold.
func (r Report) Failed() error {
	var all error
	for _, c := range r.Claims {
		if c.Gate && !c.Holds() {
			all = errors.Join(all, fmt.Errorf("%s: %s %s is not in %s..%s", strings.TrimSpace(c.ID+" "+c.What), c.Got.text(2), c.Unit, bound(c.Low), bound(c.High)))
		}
	}
	return all
}

// Save writes CSV files and drawings into a folder, and adds the figures to a file beside those of other benches.
func (r Report) Save(folder, figures string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	for _, t := range r.Tables {
		var text bytes.Buffer
		if err := t.CSV(&text); err != nil {
			return fmt.Errorf("save %s: %w", t.Name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, t.Name+".csv"), text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("save: %w", err)
		}
	}
	for _, c := range r.Charts {
		if err := chart.Write(filepath.Join(folder, c.Name), c); err != nil {
			return fmt.Errorf("save: %w", err)
		}
	}
	if figures == "" || len(r.Figures) == 0 {
		return nil
	}
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	load := machineLoad()
	for _, f := range r.Figures {
		f = f.rounded()
		f.Load = load
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("save %s: %w", f.Name, err)
		}
	}
	f, err := os.OpenFile(figures, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	_, err = f.Write(lines.Bytes())
	return errors.Join(err, f.Close())
}

// rounded to a millionth: what rounding of sums leaves behind is no result.
func (f Figure) rounded() Figure {
	short := func(x float64) float64 { return math.Round(x*1e6) / 1e6 }
	f.Value = short(f.Value)
	for _, p := range []**float64{&f.Baseline, &f.Ratio} {
		if *p != nil {
			x := short(**p)
			*p = &x
		}
	}
	return f
}

// machineLoad is the average of the last minute; 0 where the machine does not say.
func machineLoad() (load float64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &load)
	}
	return load
}
