package bt

import (
	"strconv"

	"sonic-netservices/bt-manager/bt/board"
)

// checkShape looks for what loads but cannot be meant. All but counts that can never be reached are warnings.
func (c *compiler) checkShape(d *Def, t *NodeType) {
	switch t.op {
	case opParallel:
		for _, name := range []string{"success_count", "failure_count"} {
			c.checkCount(d, name)
		}
	case opParallelAll:
		c.checkCount(d, "max_failures")
	case opSequence, opAsyncSequence, opSequenceWithMemory, opReactiveSequence:
		c.checkReach(d, "AlwaysFailure")
	case opFallback, opAsyncFallback, opReactiveFallback:
		c.checkReach(d, "AlwaysSuccess")
	case opRetry, opRepeat:
		name := t.Ports[0].Name
		if a := d.Attr(name); a != nil && a.Value == "-1" && len(d.Children) == 1 && c.instant(d.Children[0]) {
			c.warnf(a.ValuePos, "%s=\"-1\" over nodes that all answer at once only burns time", name)
		}
	case opTimeout:
		c.checkTimeout(d)
	}
	if t.op == opReactiveSequence || t.op == opReactiveFallback {
		slow := 0
		for _, kid := range d.Children {
			if !c.instant(kid) {
				slow++
			}
		}
		if slow > 1 {
			c.warnf(d.Pos, "<%s> has %d children that take time; each halts the others", d.Type, slow)
		}
	}
}

// checkCount refuses a literal count of more children than there are.
func (c *compiler) checkCount(d *Def, name string) {
	a := d.Attr(name)
	if a == nil {
		return
	}
	if n, err := strconv.Atoi(a.Value); err == nil && n > len(d.Children) {
		c.errorf(a.ValuePos, "port %q: %d of %d child%s can never be", name, n, len(d.Children), plural(len(d.Children)))
	}
}

// checkReach warns of children behind one that always ends the row.
func (c *compiler) checkReach(d *Def, stop string) {
	for i, kid := range d.Children {
		if kid.Type == stop && i+1 < len(d.Children) && kid.Attr("_skipIf") == nil && kid.Attr("_while") == nil &&
			kid.Attr("_successIf") == nil && kid.Attr("_failureIf") == nil {
			c.warnf(d.Children[i+1].Pos, "never reached: <%s> before it always ends <%s>", stop, d.Type)
			return
		}
	}
}

// checkTimeout warns of a Timeout inside a shorter one.
func (c *compiler) checkTimeout(d *Def) {
	outer, err := board.Parse(d.value("msec"), board.Int)
	if err != nil {
		return
	}
	entered := map[*Tree]bool{}
	var walk func(k *Def)
	walk = func(k *Def) {
		if a := k.Attr("msec"); k.Type == "Timeout" && a != nil {
			if inner, err := board.Parse(a.Value, board.Int); err == nil && outer.Float() > 0 && inner.Float() > outer.Float() {
				c.warnf(a.ValuePos, "longer than the Timeout of %s ms around it, at %s", outer, d.Pos)
			}
			return
		}
		if inside := c.trees[k.value("ID")]; k.Type == "SubTree" && inside != nil && inside.Root != nil && !entered[inside] {
			entered[inside] = true
			walk(inside.Root)
		}
		for _, kid := range k.Children {
			walk(kid)
		}
	}
	for _, kid := range d.Children {
		walk(kid)
	}
}

// instant says whether a node and everything below it answers in the tick it is asked.
func (c *compiler) instant(d *Def) bool {
	switch t := c.reg.Type(d.Type); {
	case d.Type == "SubTree":
		tree := c.trees[d.value("ID")]
		if tree == nil || tree.Root == nil || c.recursive {
			return false
		}
		known, ok := c.fast[tree]
		if !ok {
			known = c.instant(tree.Root)
			c.fast[tree] = known
		}
		return known
	case t == nil || t.op == opSleep || t.op == opDelay || t.op == opWaitValueUpdate || t.op == opKeepRunning:
		return false
	case t.op == opLeaf:
		if t.New == nil {
			return false
		}
		_, stateful := t.New().(Stateful)
		return !stateful
	}
	for _, kid := range d.Children {
		if !c.instant(kid) {
			return false
		}
	}
	return true
}
