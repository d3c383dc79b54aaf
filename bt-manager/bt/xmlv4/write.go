package xmlv4

import (
	"bytes"
	"fmt"
	"strings"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
)

// Write gives a compiled tree as BehaviorTree.CPP writes the tree it runs, for monitors and logs: each subtree once for
// each place it is used at, every node with its _uid, every subtree with its _fullpath, then the models of all types.
// It is no tree file: a subtree that is used twice is there twice, under one ID.
func Write(p *bt.Program) []byte {
	w := &writer{nodes: p.Nodes()}
	w.line(0, "<root%s>", attribute("BTCPP_format", "4"))
	w.tree(p.Main(), "", 0)
	for i, n := range w.nodes {
		if n.Class == bt.SubTree {
			w.tree(attrOf(n, "ID"), n.Path, i+1)
		}
	}
	w.line(1, "<TreeNodesModel>")
	for _, t := range p.Types() {
		w.model(t.Class, t.Name, t.Ports)
	}
	w.model(bt.SubTree, "SubTree", []bt.Port{{Name: "_autoremap", Type: board.Bool, Default: "false"}})
	w.line(1, "</TreeNodesModel>")
	w.line(0, "</root>")
	return w.Bytes()
}

// Order lists the UIDs subtree by subtree, the main tree first, as Write has them.
func Order(p *bt.Program) []uint16 {
	nodes := p.Nodes()
	in := make([]int, len(nodes)) // the subtree of each node, by its place in list
	list := [][]uint16{nil}
	place := map[int]int{0: 0}
	for i, n := range nodes {
		if n.Parent > 0 {
			in[i] = in[n.Parent-1]
			if nodes[n.Parent-1].Class == bt.SubTree {
				in[i] = place[n.Parent]
			}
		}
		list[in[i]] = append(list[in[i]], uint16(n.UID))
		if n.Class == bt.SubTree {
			place[n.UID] = len(list)
			list = append(list, nil)
		}
	}
	var all []uint16
	for _, one := range list {
		all = append(all, one...)
	}
	return all
}

type writer struct {
	bytes.Buffer
	nodes []bt.Info
}

func (w *writer) line(depth int, format string, args ...any) {
	w.WriteString(strings.Repeat("    ", depth))
	fmt.Fprintf(w, format, args...)
	w.WriteByte('\n')
}

// tree writes the subtree whose root is that node.
func (w *writer) tree(id, path string, root int) {
	w.line(1, "<BehaviorTree%s%s>", attribute("ID", id), attribute("_fullpath", path))
	w.node(root, 2)
	w.line(1, "</BehaviorTree>")
}

// node writes a node and what is below it, and gives the index behind it.
func (w *writer) node(i, depth int) int {
	n := w.nodes[i]
	var b strings.Builder
	if n.Class == bt.SubTree {
		b.WriteString(attribute("ID", attrOf(n, "ID")) + attribute("_fullpath", n.Path))
	} else {
		b.WriteString(attribute("name", n.Name))
	}
	b.WriteString(attribute("_uid", fmt.Sprint(n.UID)))
	for _, a := range n.Attrs {
		if a.Name != "name" && a.Name != "ID" && a.Name != "_uid" && a.Name != "_fullpath" {
			b.WriteString(attribute(a.Name, a.Value))
		}
	}
	next := i + 1
	if n.Class == bt.SubTree || next == len(w.nodes) || w.nodes[next].Parent != n.UID {
		w.line(depth, "<%s%s/>", n.Type, b.String())
		for next < len(w.nodes) && w.nodes[next].Depth > n.Depth {
			next++
		}
		return next
	}
	w.line(depth, "<%s%s>", n.Type, b.String())
	for next < len(w.nodes) && w.nodes[next].Parent == n.UID {
		next = w.node(next, depth+1)
	}
	w.line(depth, "</%s>", n.Type)
	return next
}

var (
	portNames = [...]string{bt.In: "input_port", bt.Out: "output_port", bt.InOut: "inout_port"}
	typeNames = map[board.Kind]string{board.Int: "int", board.Real: "double", board.Bool: "bool", board.Text: "std::string"}
)

func (w *writer) model(class bt.Class, id string, ports []bt.Port) {
	if len(ports) == 0 {
		w.line(2, "<%s%s/>", class, attribute("ID", id))
		return
	}
	w.line(2, "<%s%s>", class, attribute("ID", id))
	for _, p := range ports {
		text := attribute("name", p.Name)
		if name := typeNames[p.Type]; name != "" {
			text += attribute("type", name)
		}
		if p.Default != "" {
			text += attribute("default", p.Default)
		}
		w.line(3, "<%s%s/>", portNames[p.Dir], text)
	}
	w.line(2, "</%s>", class)
}

func attrOf(n bt.Info, name string) string {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "\n", "&#10;", "\r", "&#13;", "\t", "&#9;")

func attribute(name, value string) string { return " " + name + `="` + escapes.Replace(value) + `"` }
