package bt

import (
	"errors"
	"fmt"
	"time"

	"sonic-netservices/bt-manager/bt/board"
)

// Ctx is what a leaf sees of its tree while it is called: its ports by their place in the registered list, the time of
// the tick, and itself. It is not to be kept. A port that cannot be read or written makes the leaf fail whatever it
// answers, so leaves need not check each access; one that acts on what it read asks Fault first.
type Ctx struct {
	in    *Instance
	i     int32
	fault error
}

func (c *Ctx) node() *node { return &c.in.nodes[c.i] }

// errUnset is the fault of reading an input without a value.
var errUnset = errors.New("has no value")

// input gives a port's value, unset when it has none.
func (in *Instance) input(n *node, k int) board.Value {
	p := &n.ports[k]
	switch {
	case p.slot >= 0:
		return in.frame.Slots[p.slot].Value
	case p.slot == literalPort:
		return p.lit
	}
	return board.Value{}
}

// param reads a whole number, or a truth value as 0 or 1.
func (in *Instance) param(i int32, n *node, k int) (int64, error) {
	p := &n.ports[k]
	v := in.input(n, k)
	if v.Kind() != p.want {
		c, err := v.Convert(p.want)
		if err != nil {
			return 0, fmt.Errorf("port %s: %w", in.portName(i, k), err)
		}
		v = c
	}
	x, _ := v.Int()
	return x, nil
}

// output writes a port.
func (in *Instance) output(i int32, k int, v board.Value) error {
	if e := in.outlet(i, k); e != nil {
		return e.Put(v, in.frame.Now)
	}
	return nil
}

// outlet gives the entry that a port writes now, nil when it is bound to nothing, which swallows everything.
func (in *Instance) outlet(i int32, k int) *board.Entry {
	s := in.nodes[i].ports[k].slot
	if s < 0 {
		return nil
	}
	in.writers[s] = i + 1
	return in.frame.Slots[s]
}

func (in *Instance) portName(i int32, k int) string { return in.p.portNames[in.p.info[i].Type][k] }

func (c *Ctx) miss(k int, err error) {
	if c.fault == nil {
		c.fault = fmt.Errorf("port %s: %w", c.in.portName(c.i, k), err)
	}
}

// Value reads a port as it is.
func (c *Ctx) Value(k int) board.Value { return c.in.input(c.node(), k) }

// Has says whether the port has a value.
func (c *Ctx) Has(k int) bool { return c.in.input(c.node(), k).Kind() != board.Unset }

// Float reads a number.
func (c *Ctx) Float(k int) float64 {
	if s := c.node().ports[k].slot; s >= 0 {
		if e := c.in.frame.Slots[s]; e.Number() {
			return e.Float()
		}
	}
	return c.as(k, board.Real).Float()
}

// Int reads a whole number.
func (c *Ctx) Int(k int) int64 {
	x, _ := c.as(k, board.Int).Int()
	return x
}

// Bool reads a truth value.
func (c *Ctx) Bool(k int) bool { return c.as(k, board.Bool).Float() != 0 }

// Text reads text; a number is printed.
func (c *Ctx) Text(k int) string { return c.as(k, board.Text).String() }

// Any reads a port as a plain Go value: what another leaf has put there.
func (c *Ctx) Any(k int) any {
	v := c.in.input(c.node(), k)
	if v.Kind() == board.Unset {
		c.miss(k, errUnset)
	}
	return v.Any()
}

// ReadAs reads a port that carries a Go value of type T.
func ReadAs[T any](c *Ctx, k int) T {
	v, ok := c.Any(k).(T)
	if !ok && c.fault == nil {
		c.miss(k, fmt.Errorf("carries a %T", c.in.input(c.node(), k).Any()))
	}
	return v
}

func (c *Ctx) as(k int, want board.Kind) board.Value {
	v := c.in.input(c.node(), k)
	if v.Kind() == want {
		return v
	}
	if v.Kind() == board.Unset {
		c.miss(k, errUnset)
		return board.Value{}
	}
	converted, err := v.Convert(want)
	if err != nil {
		c.miss(k, err)
	}
	return converted
}

// Put writes a port.
func (c *Ctx) Put(k int, v board.Value) {
	if err := c.in.output(c.i, k, v); err != nil {
		c.miss(k, err)
	}
}

func (c *Ctx) PutFloat(k int, v float64) { c.Put(k, board.OfReal(v)) }
func (c *Ctx) PutInt(k int, v int64)     { c.Put(k, board.OfInt(v)) }
func (c *Ctx) PutAny(k int, v any)       { c.Put(k, board.Of(v)) }

// PutText writes text to a port.
func (c *Ctx) PutText(k int, v string) {
	if e := c.in.outlet(c.i, k); e != nil {
		if err := e.PutText(v, c.in.frame.Now); err != nil {
			c.miss(k, err)
		}
	}
}

// Entry is an entry by name, not by port, for leaves that compute the name: @Service7 on the root blackboard. Nil when
// the tree uses no such entry.
func (c *Ctx) Entry(key string) *board.Entry { return c.in.entry(key) }

// Fault is the first port that could not be read or written in this call.
func (c *Ctx) Fault() error { return c.fault }

// Failf notes why and answers FAILURE.
func (c *Ctx) Failf(format string, args ...any) Status {
	return c.in.fail(c.i, fmt.Errorf(format, args...))
}

// Say notes for the operator what the leaf is doing or waits for.
func (c *Ctx) Say(text string) { c.in.note(c.i, text) }

// Now is the time of this tick.
func (c *Ctx) Now() time.Time { return time.Unix(0, c.in.frame.Now) }

// WakeAt asks for a tick at that time, from a leaf that answers RUNNING.
func (c *Ctx) WakeAt(t time.Time) { c.in.wake(t.UnixNano()) }

// Path names the node in the tree, UID numbers it, Attempt counts its starts. Together with the run they make an
// operation id that is the same after a crash.
func (c *Ctx) Path() string { return c.in.p.info[c.i].Path }
func (c *Ctx) UID() int     { return int(c.i) + 1 }
func (c *Ctx) Attempt() int { return int(c.in.state[c.i].count) }

// SetOp notes the operation this leaf is about to start. It is part of a snapshot until the leaf ends.
func (c *Ctx) SetOp(id OpID) {
	if c.in.ops == nil {
		c.in.ops = map[int32]OpID{}
	}
	c.in.ops[c.i] = id
}

// Op is what SetOp noted.
func (c *Ctx) Op() OpID { return c.in.ops[c.i] }
