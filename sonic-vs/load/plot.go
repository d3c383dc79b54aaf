package load

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"sonic-netservices/sonic-vs/plot"
)

// Plot draws the latency of the loads in a folder into latency.svg and latency.png there. Of several parts it shows
// the first live and the first cold load, as the paper's figure 8 compares them, and all if there are no such two.
func Plot(dir string) error {
	parts, err := readParts(dir)
	if err != nil {
		return err
	}
	report := Analyse(parts)
	first := func(name string) int {
		return slices.IndexFunc(parts, func(p Part) bool { return partName(p.Name) == name })
	}
	if live, cold := first("live"), first("cold"); live >= 0 && cold >= 0 {
		parts = []Part{parts[live], parts[cold]}
	}
	f := plot.Figure{
		Title:  "Latency of key requests while the service moves",
		Note:   fmt.Sprintf("Mean over %d ms of the answers that came, from due to answered. Open loop, no request is repeated. Shaded: a move, from order to done.", plotStep(parts[0]).Milliseconds()),
		Silent: "requests were due and none was answered: drawn as 0",
		Failed: "a request failed",
	}
	if slices.ContainsFunc(parts, func(p Part) bool { return p.Watch != nil }) {
		f.Title = "Latency of key requests while a switch is overloaded and the service moves by itself"
		f.Note += " Blue: a typical second."
	}
	for _, p := range parts {
		f.Panels = append(f.Panels, p.panel(report))
	}
	if len(f.Panels) == 0 {
		return errors.New("no records to draw")
	}
	return plot.Write(filepath.Join(dir, "latency"), f)
}

func (p Part) panel(report Report) plot.Panel {
	r := report.of(p.Name)
	panel := plot.Panel{Color: plot.Black}
	switch name := partName(p.Name); {
	case name == "live" && p.Watch != nil:
		panel.Title = "Overload, and the behaviour tree moves the service live"
	case name == "cold" && p.Watch != nil:
		panel.Title = "The same with a cold move: stop, start elsewhere, as Kubernetes moves a pod"
		panel.Color = plot.Red
	case name == "live":
		panel.Title = "Live moves: the service keeps memory, address and connections"
	case name == "cold":
		panel.Title = "Cold moves: stop, start elsewhere, as Kubernetes moves a pod"
		panel.Color = plot.Red
	default:
		panel.Title = "Load " + p.Name
	}
	panel.Title += fmt.Sprintf(". %d of %d requests failed, %d connections broken", r.Failed, r.Requests, r.Broken)
	step := plotStep(p)
	var end span
	for _, x := range p.Records {
		end.to = max(end.to, x.Due, x.Answered, x.Failed)
		if !inTime(x) {
			panel.Failed = append(panel.Failed, x.Due.Seconds())
		}
	}
	for _, b := range bins(p.Records, end.to, step) {
		pt := plot.Point{From: b.From.Seconds(), To: (b.From + step).Seconds(), MS: ms(b.Mean).Milliseconds()}
		switch {
		case b.Answers > 0:
			pt.State = plot.Answered
		case b.Due:
			pt.State = plot.Silent
		}
		panel.Points = append(panel.Points, pt)
	}
	if r.Automatic != nil {
		panel.Marks = r.Automatic.marks(p.About.Steps)
		panel.Levels = r.Automatic.Phases.levels()
	}
	for _, m := range report.Moves {
		if m.Load != p.Name {
			continue
		}
		begin := m.BeginMS.Milliseconds() / 1000
		panel.Bands = append(panel.Bands, plot.Band{
			From: begin, To: begin + m.TookMS.Milliseconds()/1000,
			Label: []string{
				fmt.Sprintf("%s → %s", m.From, m.To),
				fmt.Sprintf("longest gap %s", duration(m.GapMS)),
				fmt.Sprintf("%d failed", m.Failed),
			},
		})
	}
	return panel
}

// marks of what happened before the move.
func (a *Automatic) marks(steps []Step) []plot.Mark {
	var all []plot.Mark
	if len(steps) == 2 {
		all = append(all, plot.Mark{At: steps[1].From.Seconds(), Label: fmt.Sprintf("%d → %d requests/s", steps[0].Rate, steps[1].Rate)})
	}
	if a.ConfirmedS != nil {
		all = append(all, plot.Mark{At: *a.ConfirmedS, Label: fmt.Sprintf("overload of %s confirmed", a.From)})
	}
	return all
}

// levels are the latencies that the phases are judged by.
func (p Phases) levels() []plot.Level {
	var all []plot.Level
	for _, l := range []Level{p.Before, p.Overloaded, p.After} {
		if l.Typical != nil {
			v := l.Typical.Milliseconds()
			digits := 1
			if v >= 100 {
				digits = 0
			}
			all = append(all, plot.Level{From: l.within.from.Seconds(), To: l.within.to.Seconds(), MS: v, Label: fmt.Sprintf("%.*f ms", digits, v)})
		}
	}
	return all
}

// duration as a person reads it.
func duration(m ms) string {
	if v := m.Milliseconds(); v < 1000 {
		return fmt.Sprintf("%.0f ms", v)
	}
	return fmt.Sprintf("%.2f s", m.Milliseconds()/1000)
}
