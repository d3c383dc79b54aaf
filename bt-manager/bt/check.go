package bt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/script"
)

// plainAttrs are the other attributes any node may have. _uid and _fullpath are what monitors write into their copies.
var plainAttrs = []string{"name", "_description", "_uid", "_fullpath"}

// check looks at every tree of the forest as written, also at those the main tree does not use, and gives the main tree.
func (c *compiler) check(f Forest) *Tree {
	for _, t := range f.Trees {
		if first := c.trees[t.ID]; first != nil {
			c.errorf(t.Pos, "a second tree %q; the first is at %s", t.ID, first.Pos)
			continue
		}
		c.trees[t.ID] = t
		if why := badName(t.ID); why != "" {
			c.errorf(t.Pos, "tree %q: %s", t.ID, why)
		} else if c.reg.Type(t.ID) != nil || t.ID == "SubTree" {
			c.errorf(t.Pos, "tree %q has the name of a node", t.ID)
		}
	}
	done := map[string]bool{}
	for _, t := range f.Trees {
		c.checkRecursion(t, nil, done)
	}
	c.checkModels(f.Models)
	for _, t := range f.Trees {
		if t.Root != nil {
			c.checkNode(t.Root, 0)
		}
	}
	main := c.trees[f.Main]
	switch {
	case len(f.Trees) == 0:
		c.errorf(f.Pos, "no tree in the file")
	case f.Main == "" && len(f.Trees) == 1:
		main = f.Trees[0]
	case f.Main == "":
		c.errorf(f.Pos, "several trees but no main_tree_to_execute")
	case main == nil:
		c.errorf(f.Pos, "main tree %q is not in the file%s", f.Main, Meant(f.Main, keysOf(c.trees)))
	}
	if main != nil && main.Root == nil {
		return nil
	}
	return main
}

func (c *compiler) checkModels(models []Model) {
	for i, m := range models {
		if why := badName(m.ID); why != "" {
			c.errorf(m.Pos, "model %q: %s", m.ID, why)
		}
		for _, p := range m.Ports {
			if why := badPort(p.Name); why != "" && m.ID != "SubTree" { // which v4's own models give _autoremap
				c.errorf(m.Pos, "port %q of %s: %s", p.Name, m.ID, why)
			}
		}
		if m.Class == SubTree {
			if c.models[m.ID] != nil {
				c.errorf(m.Pos, "a second model of subtree %q", m.ID)
			}
			c.models[m.ID] = &models[i]
			continue
		}
		t := c.reg.Type(m.ID)
		if t == nil {
			continue // an unused model is no fault; a used unknown node is reported where it is used
		}
		if t.Class != m.Class {
			c.errorf(m.Pos, "the model has %s as %v; it is of class %v", m.ID, m.Class, t.Class)
		}
		for _, p := range m.Ports {
			if own := t.port(p.Name); own == nil {
				c.errorf(m.Pos, "the model gives %s a port %q it does not have%s", m.ID, p.Name, Meant(p.Name, t.portNames()))
			} else if own.Dir != p.Dir {
				c.errorf(m.Pos, "the model has port %q of %s in the other direction", p.Name, m.ID)
			}
		}
	}
}

func (t *NodeType) port(name string) *Port {
	for i := range t.Ports {
		if t.Ports[i].Name == name {
			return &t.Ports[i]
		}
	}
	return nil
}

func (t *NodeType) portNames() []string {
	var names []string
	for _, p := range t.Ports {
		names = append(names, p.Name)
	}
	return names
}

func (c *compiler) checkNode(d *Def, depth int) {
	if depth > MaxDepth {
		return // build reports it
	}
	c.checkAttributes(d)
	if d.Type == "SubTree" {
		c.checkSubTree(d)
	} else if t := c.reg.Type(d.Type); t == nil && d.Type != "" {
		var known []string
		for _, t := range c.reg.Types() {
			known = append(known, t.Name)
		}
		hint := Meant("<"+d.Type+">", bracketed(append(known, "SubTree")))
		if c.trees[d.Type] != nil {
			hint = fmt.Sprintf("; did you mean <SubTree ID=%q>?", d.Type)
		}
		c.errorf(d.Pos, "unknown node <%s>%s", d.Type, hint)
	} else if t != nil {
		c.checkType(d, t)
	}
	for _, kid := range d.Children {
		c.checkNode(kid, depth+1)
	}
}

// checkAttributes parses the scripts and refuses what begins with _ and is unknown: v4 ignores it and the node runs.
func (c *compiler) checkAttributes(d *Def) {
	for i := range d.Attrs {
		a := &d.Attrs[i]
		if !strings.HasPrefix(a.Name, "_") || slices.Contains(plainAttrs, a.Name) {
			continue
		}
		switch {
		case slices.Contains(scriptAttrs[:], a.Name):
			c.parse(a)
		case a.Name == "_autoremap" && d.Type != "SubTree":
			c.errorf(a.Pos, "_autoremap belongs to <SubTree>")
		case a.Name == "_autoremap":
			if _, err := board.Parse(a.Value, board.Bool); err != nil {
				c.errorf(a.ValuePos, "_autoremap: %v", err)
			}
		default:
			c.errorf(a.Pos, "unknown attribute %q%s", a.Name, Meant(a.Name, append(append([]string{"_autoremap"}, plainAttrs...), scriptAttrs[:]...)))
		}
	}
}

func (c *compiler) parse(a *Attr) {
	parsed, err := script.Parse(a.Value)
	if err != nil {
		var at *script.Error
		if errors.As(err, &at) {
			c.errorf(a.At(at.At), "script: %s", at.Msg)
		}
		return
	}
	c.scripts[a] = parsed
}

func (c *compiler) checkType(d *Def, t *NodeType) {
	if d.Explicit != "" && d.Explicit != t.Class.String() {
		c.errorf(d.Pos, "<%s ID=%q>: %s is of class %v", d.Explicit, d.Type, d.Type, t.Class)
	}
	switch kids := len(d.Children); {
	case kids >= t.minKids && kids <= t.maxKs:
	case t.maxKs == 0:
		c.errorf(d.Children[0].Pos, "<%s> is a leaf and has no children", d.Type)
	case t.minKids == t.maxKs:
		c.errorf(d.Pos, "<%s> has exactly %d child%s, not %d", d.Type, t.minKids, plural(t.minKids), kids)
	case t.maxKs == many:
		c.errorf(d.Pos, "<%s> has at least %d child%s, not %d", d.Type, t.minKids, plural(t.minKids), kids)
	default:
		c.errorf(d.Pos, "<%s> has %d to %d children, not %d", d.Type, t.minKids, t.maxKs, kids)
	}
	for i := range d.Attrs {
		a := &d.Attrs[i]
		if strings.HasPrefix(a.Name, "_") || a.Name == "name" || a.Name == "ID" && d.Explicit != "" {
			continue
		}
		p := t.port(a.Name)
		if p == nil {
			c.errorf(a.Pos, "<%s> has no port %q%s", d.Type, a.Name, Meant(a.Name, t.portNames()))
			continue
		}
		c.checkPort(d, t, p, a)
	}
	for _, p := range t.Ports {
		if p.Dir == In && !p.Optional && p.Default == "" && d.Attr(p.Name) == nil || t.isKey(p.Name) && d.Attr(p.Name) == nil {
			c.errorf(d.Pos, "<%s> lacks its port %q", d.Type, p.Name)
		}
	}
	c.checkShape(d, t)
}

func (c *compiler) checkPort(d *Def, t *NodeType, p *Port, a *Attr) {
	if t.isScript(p.Name) {
		c.parse(a)
		return
	}
	if t.isKey(p.Name) {
		if strings.TrimSpace(a.Value) == "" {
			c.errorf(a.ValuePos, "port %q names no entry", p.Name)
		}
		return
	}
	if _, pointer := pointerKey(a.Value, a.Name); pointer {
		return
	}
	if p.Dir == Out {
		c.errorf(a.ValuePos, "port %q is an output: want {entry}, got %q", p.Name, a.Value)
		return
	}
	if t.op == opLoop && p.Name == "queue" {
		c.checkQueue(t, a)
		return
	}
	if t.isStatus(p.Name) {
		if st, err := ParseStatus(a.Value); err != nil || st == Idle {
			c.errorf(a.ValuePos, "port %q: want RUNNING, SUCCESS, FAILURE or SKIPPED, got %q", p.Name, a.Value)
		}
		return
	}
	v, err := board.Parse(a.Value, p.Type)
	switch {
	case p.Type == board.Opaque:
		c.errorf(a.ValuePos, "port %q takes an {entry}, no literal", p.Name)
	case err != nil:
		c.errorf(a.ValuePos, "port %q: %v", p.Name, err)
	case (p.Min != 0 || p.Max != 0) && (v.Float() < p.Min || v.Float() > p.Max):
		c.errorf(a.ValuePos, "port %q: %s is out of range %.0f to %.0f", p.Name, a.Value, p.Min, p.Max)
	}
}

// checkQueue looks at each item of a list that is written out.
func (c *compiler) checkQueue(t *NodeType, a *Attr) {
	at := 0
	for _, item := range strings.Split(a.Value, ";") {
		if _, err := board.Parse(item, t.port("value").Type); err != nil && a.Value != "" {
			c.errorf(a.At(at), "port %q: item %v", a.Name, err)
		}
		at += len(item) + 1
	}
}

func (c *compiler) checkSubTree(d *Def) {
	id := d.Attr("ID")
	if id == nil {
		c.errorf(d.Pos, "<SubTree> without ID")
		return
	}
	if len(d.Children) > 0 {
		c.errorf(d.Children[0].Pos, "<SubTree> has no children here: its inside is the tree %q", id.Value)
	}
	if c.trees[id.Value] == nil {
		c.errorf(id.ValuePos, "no tree %q%s", id.Value, Meant(id.Value, keysOf(c.trees)))
		return
	}
	for i := range d.Attrs {
		a := &d.Attrs[i]
		if strings.HasPrefix(a.Name, "_") || a.Name == "name" || a.Name == "ID" {
			continue
		}
		if why := badPort(a.Name); why != "" {
			c.errorf(a.Pos, "port %q: %s", a.Name, why)
		}
		if m := c.models[id.Value]; m != nil && m.port(a.Name) == nil {
			c.errorf(a.Pos, "tree %q has no port %q%s", id.Value, a.Name, Meant(a.Name, m.portNames()))
		}
	}
	if m := c.models[id.Value]; m != nil && d.Attr("_autoremap") == nil {
		for _, p := range m.Ports {
			if p.Dir == In && p.Default == "" && d.Attr(p.Name) == nil {
				c.errorf(d.Pos, "<SubTree ID=%q> lacks its port %q", id.Value, p.Name)
			}
		}
	}
}

func (m *Model) port(name string) *Port { return (&NodeType{Ports: m.Ports}).port(name) }
func (m *Model) portNames() []string    { return (&NodeType{Ports: m.Ports}).portNames() }
func bracketed(names []string) (list []string) {
	for _, n := range names {
		list = append(list, "<"+n+">")
	}
	return list
}

// checkRecursion refuses a tree that contains itself, with the chain. Walked trees are in done, those on the way in chain.
func (c *compiler) checkRecursion(t *Tree, chain []string, done map[string]bool) {
	if done[t.ID] {
		return
	}
	chain = append(chain, t.ID)
	var walk func(d *Def)
	walk = func(d *Def) {
		if inner := c.trees[d.value("ID")]; d.Type == "SubTree" && inner != nil {
			if i := slices.Index(chain, inner.ID); i >= 0 {
				c.errorf(d.Pos, "tree %q contains itself: %s", inner.ID, strings.Join(append(chain[i:len(chain):len(chain)], inner.ID), " > "))
				c.recursive = true
			} else {
				c.checkRecursion(inner, chain, done)
			}
		}
		for _, kid := range d.Children {
			walk(kid)
		}
	}
	if t.Root != nil {
		walk(t.Root)
	}
	done[t.ID] = true
}

// badName says why a text cannot name a tree or a type of node, "" when it can.
func badName(name string) string {
	if name == "" {
		return "an empty name"
	}
	for _, r := range name {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("<>&\"'/\\:*?|.", r) {
			return fmt.Sprintf("a name has no %q", r)
		}
	}
	return ""
}

// badPort is badName for ports.
func badPort(name string) string {
	switch first, _ := utf8.DecodeRuneInString(name); {
	case unicode.IsDigit(first):
		return "a port's name does not begin with a digit"
	case name == "name" || name == "ID" || strings.HasPrefix(name, "_"):
		return "this attribute has a meaning of its own"
	}
	return badName(name)
}

// badKey is badName for entries of the blackboard, which may be called what they like.
func badKey(key string) string {
	key = strings.TrimPrefix(key, "@")
	if key == "" {
		return "an empty name"
	}
	for _, r := range key {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("{}=@", r) {
			return fmt.Sprintf("a name has no %q", r)
		}
	}
	return ""
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "ren"
}

func keysOf[T any](m map[string]T) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	return list
}
