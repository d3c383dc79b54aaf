package render

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
)

var colours = map[bt.Status]string{bt.Idle: "white", bt.Running: "lightskyblue", bt.Success: "palegreen",
	bt.Failure: "lightcoral", bt.Skipped: "lightgray"}

var shapes = map[bt.Class]string{bt.Control: "box", bt.Decorator: "hexagon", bt.SubTree: "folder", bt.Action: "ellipse", bt.Condition: "ellipse"}

// Dot writes the tree for Graphviz.
func Dot(w io.Writer, in *bt.Instance, o Options) error {
	var b strings.Builder
	b.WriteString("digraph tree {\n\tordering=out;\n\tnode [style=filled, fontname=\"sans-serif\"];\n")
	each(in, o, func(n bt.Info, st bt.Status) {
		fmt.Fprintf(&b, "\tn%d [label=%q, shape=%s, fillcolor=%s];\n", n.UID, label(n), shapes[n.Class], colours[st])
		if n.Parent > 0 {
			fmt.Fprintf(&b, "\tn%d -> n%d;\n", n.Parent, n.UID)
		}
	})
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Mermaid writes the tree as a Mermaid flow chart.
func Mermaid(w io.Writer, in *bt.Instance, o Options) error {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	each(in, o, func(n bt.Info, st bt.Status) {
		text := strings.NewReplacer("&", "#amp;", "\"", "#quot;", "<", "#lt;", ">", "#gt;", "\n", " ").Replace(label(n))
		fmt.Fprintf(&b, "    n%d[\"%s\"]:::%s\n", n.UID, text, st)
		if n.Parent > 0 {
			fmt.Fprintf(&b, "    n%d --> n%d\n", n.Parent, n.UID)
		}
	})
	for st := bt.Idle; st <= bt.Skipped; st++ {
		fmt.Fprintf(&b, "    classDef %s fill:%s\n", st, colours[st])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func each(in *bt.Instance, o Options, show func(bt.Info, bt.Status)) {
	for _, n := range in.Program().Nodes() {
		if !o.hidden(in, n.UID) {
			show(n, o.state(in, n.UID))
		}
	}
}

func label(n bt.Info) string {
	if n.Name == n.Type {
		return n.Name
	}
	return n.Name + " (" + n.Type + ")"
}

// node is one node in JSON, entry one entry of a blackboard.
type node struct {
	UID    int    `json:"uid"`
	Parent int    `json:"parent,omitempty"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Path   string `json:"path"`
	Status string `json:"status"`
	Why    string `json:"why,omitempty"`
}

type entry struct {
	Scope string `json:"scope,omitempty"`
	Name  string `json:"name"`
	Root  bool   `json:"root,omitempty"`
	Kind  string `json:"kind"`
	Value any    `json:"value,omitempty"`
}

// plain is a value JSON can carry; what only the engine carries is printed.
func plain(v board.Value) any {
	if f := v.Float(); v.Kind() == board.Opaque || math.IsInf(f, 0) || math.IsNaN(f) {
		return v.String()
	}
	return v.Any()
}

// JSON writes one object: the tree's name, its nodes, and its entries when asked for.
func JSON(w io.Writer, in *bt.Instance, o Options) error {
	out := struct {
		Tree       string  `json:"tree"`
		Nodes      []node  `json:"nodes"`
		Blackboard []entry `json:"blackboard,omitempty"`
	}{Tree: in.Program().Main(), Nodes: []node{}}
	each(in, o, func(n bt.Info, st bt.Status) {
		out.Nodes = append(out.Nodes, node{n.UID, n.Parent, n.Name, n.Type, n.Path, st.String(), o.why(in, n)})
	})
	if o.Blackboard {
		for _, k := range in.Program().Keys() {
			v := in.Value(k)
			out.Blackboard = append(out.Blackboard, entry{k.Scope, k.Name, k.Root, v.Kind().String(), plain(v)})
		}
	}
	return json.NewEncoder(w).Encode(out)
}
