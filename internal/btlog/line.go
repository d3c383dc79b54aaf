package btlog

import (
	"fmt"
	"strings"
)

// Status of a node, as logs and monitors carry it.
type Status uint8

const (
	Idle Status = iota
	Running
	Success
	Failure
	Skipped
)

var statusNames = [...]string{"IDLE", "RUNNING", "SUCCESS", "FAILURE", "SKIPPED"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

var marks = [...]string{"-", "*", "✓", "✕", "⤼"}

// symbol is the shape of a node, as py_trees draws them.
func (n Node) symbol() string {
	switch {
	case n.Type == "SequenceWithMemory":
		return "{-}"
	case strings.HasPrefix(n.Type, "Parallel"):
		return "/_/"
	case strings.Contains(n.Type, "Sequence") || n.Type == "TryCatch":
		return "[-]"
	case n.Class == "Control":
		return "[o]"
	case n.Class == "Decorator":
		return "-^-"
	case n.Class == "SubTree":
		return "[/]"
	}
	return "-->"
}

// Line shows a node in one line: its shape, name, type and guards, its status, and what it says of itself.
func (n Node) Line(st Status, why string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s %s", strings.Repeat("    ", n.Depth), n.symbol(), n.Name)
	if n.Name != n.Type {
		fmt.Fprintf(&b, " (%s)", n.Type)
	}
	for _, g := range n.Guards {
		fmt.Fprintf(&b, " [%s]", g)
	}
	mark := "?"
	if int(st) < len(marks) {
		mark = marks[st]
	}
	fmt.Fprintf(&b, " [%s]", mark)
	if why != "" {
		b.WriteString(" -- " + why)
	}
	return b.String()
}
