// Package render shows a behaviour tree and where a run of it stands: as text for terminals, as DOT, Mermaid and JSON. It
// reads an instance between two ticks, writes to the writer it is given, and is told what to leave out.
package render

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/internal/btlog"
)

// Options for showing.
type Options struct {
	OnlyActive bool              // leave out what is idle and was idle in the last tick
	Blackboard bool              // add the entries
	Last       map[int]bt.Status // answers of the last tick by UID (Answers), shown for nodes that are idle again
	Now        time.Time         // when it is set, timers show how much of their time is over instead of until when they wait
}

// Answers collects what nodes answered in the last tick: the changes recorded in it, and what was skipped.
func Answers(in *bt.Instance, changes []bt.Change) map[int]bt.Status {
	last := map[int]bt.Status{}
	for _, uid := range in.Skips() {
		last[uid] = bt.Skipped
	}
	for _, c := range changes {
		if c.To != bt.Idle {
			last[int(c.UID)] = c.To
		}
	}
	return last
}

// state is what to show for a node: what it is, or what it answered before it was reset.
func (o Options) state(in *bt.Instance, uid int) bt.Status {
	if st := in.Status(uid); st != bt.Idle {
		return st
	}
	return o.Last[uid]
}

func (o Options) hidden(in *bt.Instance, uid int) bool {
	return o.OnlyActive && o.state(in, uid) == bt.Idle
}

// Text writes one line a node. Below a running leaf stands what it waits for.
func Text(w io.Writer, in *bt.Instance, o Options) error {
	var b strings.Builder
	for _, n := range in.Program().Nodes() {
		if o.hidden(in, n.UID) {
			continue
		}
		b.WriteString(line(n).Line(btlog.Status(o.state(in, n.UID)), o.why(in, n)) + "\n")
	}
	if o.Blackboard {
		blackboard(&b, in)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line is a node as it is drawn, here and in replays of logs.
func line(n bt.Info) btlog.Node {
	drawn := btlog.Node{Depth: n.Depth, Name: n.Name, Type: n.Type, Class: n.Class.String()}
	for _, a := range n.Attrs {
		if slices.Contains(btlog.Guards, a.Name) {
			drawn.Guards = append(drawn.Guards, a.Name[1:]+": "+a.Value)
		}
	}
	return drawn
}

// why is what the node says of itself.
func (o Options) why(in *bt.Instance, n bt.Info) string {
	var parts []string
	if note := in.Note(n.UID); note != "" && o.state(in, n.UID) != bt.Success {
		parts = append(parts, note)
	}
	if op := in.Op(n.UID); op != "" {
		parts = append(parts, "op "+string(op))
	}
	if until := in.Deadline(n.UID); !until.IsZero() && o.Now.IsZero() {
		parts = append(parts, "until "+until.UTC().Format("15:04:05.000"))
	}
	if over := o.over(in, n); over != "" {
		parts = append(parts, over)
	}
	return strings.Join(parts, ", ")
}

// over says how much of its time a timer has waited; a running leaf says it of the Timeout around it.
func (o Options) over(in *bt.Instance, n bt.Info) string {
	if o.Now.IsZero() {
		return ""
	}
	if leaf := n.Class == bt.Action || n.Class == bt.Condition; leaf && n.Type != "Sleep" && in.Status(n.UID) == bt.Running {
		for n.Type != "Timeout" {
			if n.Parent == 0 {
				return ""
			}
			n = in.Program().Nodes()[n.Parent-1]
		}
	} else if n.Type == "Timeout" { // its leaf says it
		return ""
	}
	until := in.Deadline(n.UID)
	if until.IsZero() {
		return ""
	}
	limit := in.Limit(n.UID)
	return fmt.Sprintf("%s of %s", seconds(limit-until.Sub(o.Now)), seconds(limit))
}

// seconds is a duration as people say it: whole seconds from one second on.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(d, 0).Milliseconds())
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

func blackboard(b *strings.Builder, in *bt.Instance) {
	b.WriteString("blackboard\n")
	for _, k := range in.Program().Keys() {
		v := in.Value(k)
		name := k.Name
		if k.Root && k.Scope == "" {
			name = "@" + name
		}
		if k.Scope != "" {
			name = k.Scope + "/" + name
		}
		text := v.String()
		if r := []rune(text); len(r) > 80 {
			text = string(r[:79]) + "…"
		}
		fmt.Fprintf(b, "    %s: %v = %s\n", name, v.Kind(), text)
	}
}
