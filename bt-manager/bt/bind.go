package bt

import (
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/bt-manager/bt/script"
)

// ports binds the ports of a node to slots or literals.
func (c *compiler) ports(n *node, t *NodeType, d *Def, sc *scope) {
	n.ports = make([]port, len(t.Ports))
	if c.p.portNames[t.Name] == nil {
		c.p.portNames[t.Name] = t.portNames()
	}
	for i, p := range t.Ports {
		a := d.Attr(p.Name)
		switch {
		case t.isScript(p.Name):
			n.ports[i].slot = noPort
		case t.isKey(p.Name) && a != nil:
			key, pointer := pointerKey(a.Value, a.Name)
			if !pointer {
				key = a.Value
			}
			n.ports[i] = c.bind(sc, key, p, a)
		case a != nil:
			if key, pointer := pointerKey(a.Value, a.Name); pointer {
				n.ports[i] = c.bind(sc, key, p, a)
			} else {
				n.ports[i] = literalOf(a.Value, p)
			}
		case p.Default != "":
			if key, pointer := pointerKey(p.Default, p.Name); pointer {
				n.ports[i] = c.bind(sc, key, p, &Attr{Name: p.Name, ValuePos: d.Pos})
			} else {
				n.ports[i] = literalOf(p.Default, p)
			}
		default:
			n.ports[i].slot = noPort
		}
	}
}

func literalOf(text string, p Port) port {
	v, err := board.Parse(text, p.Type)
	if err != nil { // reported by check
		v = board.OfText(text)
	}
	return port{slot: literalPort, want: p.Type, lit: v}
}

func (c *compiler) bind(sc *scope, key string, p Port, a *Attr) port {
	if why := badKey(key); why != "" {
		c.errorf(a.ValuePos, "entry %q: %s", key, why)
		return port{slot: noPort}
	}
	slot := c.slot(sc, key)
	u := &c.uses[slot]
	if p.Dir != In {
		u.written = true
	}
	if p.Dir == In && p.Name != "key" {
		u.reads = append(u.reads, useAt{key, a.ValuePos})
	}
	switch {
	case p.Type == board.Unset || u.kind == p.Type:
	case u.kind == board.Unset:
		u.kind, u.kindAt = p.Type, a.ValuePos
	case u.kind == board.Int && p.Type == board.Real || u.kind == board.Real && p.Type == board.Int:
		u.kind = board.Real
	default:
		c.errorf(a.ValuePos, "entry %q is %v here but %v at %s", key, p.Type, u.kind, u.kindAt)
	}
	return port{slot: int32(slot), want: p.Type}
}

// isScript says whether a port holds a script.
func (t *NodeType) isScript(port string) bool {
	return (t.op == opScript || t.op == opScriptCondition) && port == "code" || t.op == opPrecondition && port == "if"
}

// isKey says whether a port names an entry even without braces.
func (t *NodeType) isKey(port string) bool {
	switch t.op {
	case opSetBlackboard:
		return port == "output_key"
	case opUnsetBlackboard:
		return port == "key"
	case opSkipUnlessUpdated, opWaitValueUpdate, opWasEntryUpdated:
		return port == "entry"
	}
	return false
}

// isStatus says whether a port holds a status.
func (t *NodeType) isStatus(port string) bool {
	return t.op == opPrecondition && port == "else" || t.op == opLoop && port == "if_empty"
}

// payload resolves what a node of that type has besides ports.
func (c *compiler) payload(n *node, t *NodeType, d *Def, sc *scope) {
	switch t.op {
	case opLeaf:
		leaf := t.leaf()
		if f, plain := leaf.(Func); plain {
			n.op, n.aux = opFunc, int32(len(c.p.funcs))
			if n.attrs {
				n.op = opGuardedFunc
			}
			c.p.funcs = append(c.p.funcs, f)
		} else if _, stateful := leaf.(Stateful); stateful {
			n.op, n.aux = opStateful, int32(len(c.p.slow))
			c.p.slow = append(c.p.slow, t)
		} else {
			n.op, n.aux = opSync, int32(len(c.p.sync))
			c.p.sync = append(c.p.sync, t)
		}
	case opScript:
		n.aux = int32(len(c.p.code))
		c.p.code = append(c.p.code, c.statements(d.Attr("code"), sc))
	case opScriptCondition:
		n.aux = int32(len(c.p.conds))
		c.p.conds = append(c.p.conds, c.condition(d.Attr("code"), sc))
	case opPrecondition:
		n.aux = int32(len(c.p.conds))
		c.p.conds = append(c.p.conds, c.condition(d.Attr("if"), sc))
	case opTimeout, opDelay, opSleep, opSkipUnlessUpdated, opWaitValueUpdate, opWasEntryUpdated:
		n.aux = int32(c.p.cells)
		c.p.cells++
	}
	for i, p := range t.Ports {
		if t.isStatus(p.Name) && n.ports[i].slot == literalPort {
			st, _ := ParseStatus(n.ports[i].lit.String())
			n.parm = int32(st)
		}
	}
}

// scriptAttrs are the attributes any node may have with a script in them.
var scriptAttrs = [...]string{"_failureIf", "_successIf", "_skipIf", "_while", "_onSuccess", "_onFailure", "_post", "_onHalted"}

// attributes compiles the scripts before and after a node.
func (c *compiler) attributes(n *node, d *Def, sc *scope) {
	var s scripts
	for _, g := range [...]struct {
		attr  string
		when  bool
		gives Status
	}{{"_failureIf", true, Failure}, {"_successIf", true, Success}, {"_skipIf", true, Skipped}, {"_while", false, Skipped}} {
		a := d.Attr(g.attr)
		if a == nil {
			continue
		}
		n.attrs = true
		if asks := c.condition(a, sc); asks != nil {
			s.guards = append(s.guards, guard{asks, g.when, g.gives})
			if g.attr == "_while" {
				s.while = asks
			}
		}
	}
	for _, run := range [...]struct {
		attr string
		code *script.Code
	}{{"_onSuccess", &s.onSuccess}, {"_onFailure", &s.onFailure}, {"_post", &s.post}, {"_onHalted", &s.halted}} {
		if a := d.Attr(run.attr); a != nil {
			n.attrs = true
			*run.code = c.statements(a, sc)
		}
	}
	if n.attrs {
		n.x = int32(len(c.p.scripts))
		c.p.scripts = append(c.p.scripts, s)
	}
}

// condition compiles the script of an attribute in a scope, nil when it does not parse.
func (c *compiler) condition(a *Attr, sc *scope) script.Condition {
	if parsed := c.use(a, sc); parsed != nil {
		return parsed.Condition(c.names(sc))
	}
	return nil
}

// statements is condition for a script that is run for what it does.
func (c *compiler) statements(a *Attr, sc *scope) script.Code {
	if parsed := c.use(a, sc); parsed != nil {
		return parsed.Compile(c.names(sc))
	}
	return nil
}

func (c *compiler) names(sc *scope) script.Names {
	return script.Names{Enums: c.reg.enums, Slot: func(key string) int { return c.slot(sc, key) }}
}

// use notes what the script of an attribute reads and writes; nil when there is none or it does not parse.
func (c *compiler) use(a *Attr, sc *scope) *script.Script {
	parsed := c.scripts[a]
	if parsed == nil {
		return nil
	}
	for _, name := range parsed.Names() {
		if _, enum := c.reg.enums[name.Key]; enum {
			continue
		}
		u := &c.uses[c.slot(sc, name.Key)]
		if name.Creates {
			u.written = true
		} else {
			u.reads = append(u.reads, useAt{name.Key, a.At(name.At)})
		}
	}
	return parsed
}
