package script

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"sonic-netservices/bt-manager/bt/board"
)

// Frame is what a running script sees: the entries of its tree, by slot, and the time of the tick.
type Frame struct {
	Slots []*board.Entry
	Now   int64 // unix ns
}

// Code is a compiled script: it runs its statements and gives the value of the last.
type Code func(*Frame) (board.Value, error)

// Names says what a name means: an enum constant, or the slot of an entry.
type Names struct {
	Enums map[string]int64
	Slot  func(key string) int
}

// Condition is a script compiled to be asked for a truth value.
type Condition func(*Frame) (bool, error)

// Condition binds a script to slots, as Compile does, for where only its truth counts.
func (s *Script) Condition(n Names) Condition {
	if e := s.statements[0]; len(s.statements) == 1 && e.op == "cmp" {
		if fast := n.compareToNumber(e); fast != nil {
			return fast
		}
	}
	code := s.Compile(n)
	return func(f *Frame) (bool, error) {
		v, err := code(f)
		if err != nil {
			return false, err
		}
		return boolean(v)
	}
}

// boolean reads a value as v4 does: an integer is 0 or 1, a real is true from above 0.
func boolean(v board.Value) (bool, error) {
	x := v.Float()
	if !v.Number() || x < 0 || v.Kind() == board.Int && x > 1 {
		return false, fmt.Errorf("%v %v is neither true nor false", v.Kind(), v)
	}
	return x != 0, nil
}

// asReal is a number as scripts calculate with it.
func asReal(v board.Value) (float64, error) {
	x, ok := v.Real()
	if !ok {
		return 0, fmt.Errorf("%v is too large to calculate with", v)
	}
	return x, nil
}

// Compile binds a script to slots.
func (s *Script) Compile(n Names) Code {
	codes := make([]Code, len(s.statements))
	for i, e := range s.statements {
		codes[i] = n.compile(e)
	}
	if len(codes) == 1 {
		return codes[0]
	}
	return func(f *Frame) (v board.Value, err error) {
		for _, c := range codes {
			if v, err = c(f); err != nil {
				return board.Value{}, err
			}
		}
		return v, nil
	}
}

func (n Names) compile(e expr) Code {
	switch e.op {
	case "":
		return n.operand(e)
	case "neg", "~", "!":
		return prefix(e.op, n.compile(e.args[0]))
	case "cmp":
		return n.compare(e)
	case "?":
		cond, yes, no := n.compile(e.args[0]), n.compile(e.args[1]), n.compile(e.args[2])
		return func(f *Frame) (board.Value, error) {
			v, err := cond(f)
			if err != nil {
				return board.Value{}, err
			}
			if v.Kind() == board.Text { // as v4: text is a condition only where it is a number
				if v, err = board.Parse(v.String(), board.Real); err != nil {
					return board.Value{}, err
				}
			}
			x, err := asReal(v)
			if err != nil {
				return board.Value{}, err
			}
			if x != 0 {
				return yes(f)
			}
			return no(f)
		}
	case ":=", "=", "+=", "-=", "*=", "/=":
		return n.assign(e)
	}
	return binary(e.op, n.compile(e.args[0]), n.compile(e.args[1]))
}

// operand is a literal, an enum constant or an entry.
func (n Names) operand(e expr) Code {
	v := e.lit
	if e.key != "" {
		constant, enum := n.Enums[e.key]
		if !enum {
			slot, key := n.Slot(e.key), e.key
			return func(f *Frame) (board.Value, error) {
				v := f.Slots[slot].Value
				if v.Kind() == board.Unset {
					return v, fmt.Errorf("entry %q has no value", key)
				}
				return v, nil
			}
		}
		v = board.OfReal(float64(constant))
	}
	return func(*Frame) (board.Value, error) { return v, nil }
}

func prefix(op string, arg Code) Code {
	return func(f *Frame) (board.Value, error) {
		v, err := arg(f)
		if err != nil {
			return board.Value{}, err
		}
		if !v.Number() {
			return board.Value{}, fmt.Errorf("%s takes a number, got a %v", op, v.Kind())
		}
		x, err := asReal(v)
		if err != nil {
			return board.Value{}, err
		}
		switch op {
		case "neg":
			return board.OfReal(-x), nil
		case "!":
			return truth(x == 0), nil
		}
		if x >= 1<<63 || x < -(1<<63) || x != x {
			return board.Value{}, fmt.Errorf("~ takes a number of 64 bits, got %v", x)
		}
		return board.OfReal(float64(^int64(x))), nil
	}
}

func truth(b bool) board.Value {
	if b {
		return board.OfReal(1)
	}
	return board.OfReal(0)
}

// errInfinite ends a calculation that has no number as its result, such as 1/0.
var errInfinite = errors.New("the result is no finite number")

func finite(x float64) (board.Value, error) {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return board.Value{}, errInfinite
	}
	return board.OfReal(x), nil
}

func binary(op string, left, right Code) Code {
	return func(f *Frame) (board.Value, error) {
		l, err := left(f)
		if err != nil {
			return board.Value{}, err
		}
		r, err := right(f)
		if err != nil {
			return board.Value{}, err
		}
		texts := l.Kind() == board.Text || r.Kind() == board.Text
		switch {
		case l.Number() && r.Number():
			return arithmetic(op, l, r)
		case op == "+" && l.Kind() == board.Text && r.Kind() == board.Text,
			op == ".." && texts && (l.Number() || l.Kind() == board.Text) && (r.Number() || r.Kind() == board.Text):
			return board.OfText(joined(l) + joined(r)), nil
		}
		return board.Value{}, fmt.Errorf("%s does not go between a %v and a %v", op, l.Kind(), r.Kind())
	}
}

// joined is a value as `..` writes it: a real with six decimals, as v4 does.
func joined(v board.Value) string {
	if v.Kind() == board.Real {
		return strconv.FormatFloat(v.Float(), 'f', 6, 64)
	}
	return v.String()
}

func arithmetic(op string, l, r board.Value) (board.Value, error) {
	x, err := asReal(l)
	if err != nil {
		return board.Value{}, err
	}
	y, err := asReal(r)
	if err != nil {
		return board.Value{}, err
	}
	switch op {
	case "+":
		return finite(x + y)
	case "-":
		return finite(x - y)
	case "*":
		return finite(x * y)
	case "/":
		return finite(x / y)
	case "&&", "||":
		a, err := boolean(l)
		if err != nil {
			return board.Value{}, err
		}
		b, err := boolean(r)
		return truth(a && b || op == "||" && (a || b)), err
	case "&", "|", "^":
		a, ok1 := l.Int()
		b, ok2 := r.Int()
		if !ok1 || !ok2 {
			return board.Value{}, fmt.Errorf("%s takes integers, got %v and %v", op, x, y)
		}
		switch op {
		case "&":
			a &= b
		case "|":
			a |= b
		default:
			a ^= b
		}
		return board.OfReal(float64(a)), nil
	}
	return board.Value{}, fmt.Errorf("%s does not go between two numbers", op)
}

// epsilon is how far apart two reals may be and still count as equal.
const epsilon = 1.1920928955078125e-07

// Same compares two numbers as == does.
func Same(x, y float64) bool { return math.Abs(x-y) <= epsilon }

// sign is a comparison.
type sign uint8

const (
	equal sign = iota
	unequal
	less
	greater
	atMost
	atLeast
)

var signs = map[string]sign{"==": equal, "!=": unequal, "<": less, ">": greater, "<=": atMost, ">=": atLeast}

func compareTexts(op sign, a, b string) bool {
	switch op {
	case equal:
		return a == b
	case unequal:
		return a != b
	case less:
		return a < b
	case greater:
		return a > b
	case atMost:
		return a <= b
	}
	return a >= b
}

func compareNumbers(op sign, x, y float64) bool {
	switch op {
	case equal:
		return Same(x, y)
	case unequal:
		return !Same(x, y)
	case less:
		return x < y
	case greater:
		return x > y
	case atMost:
		return x <= y
	}
	return x >= y
}

func (n Names) compare(e expr) Code {
	if fast := n.compareToNumber(e); fast != nil {
		return func(f *Frame) (board.Value, error) {
			ok, err := fast(f)
			return truth(ok), err
		}
	}
	args := make([]Code, len(e.args))
	for i, a := range e.args {
		args[i] = n.compile(a)
	}
	return func(f *Frame) (board.Value, error) {
		l, err := args[0](f)
		if err != nil {
			return board.Value{}, err
		}
		for i, op := range e.cmps {
			r, err := args[i+1](f)
			if err != nil {
				return board.Value{}, err
			}
			ok, err := n.comparePair(signs[op], op, l, r)
			if err != nil || !ok {
				return truth(false), err
			}
			l = r
		}
		return truth(true), nil
	}
}

func (n Names) comparePair(op sign, text string, l, r board.Value) (bool, error) {
	if l.Kind() == board.Text && r.Kind() == board.Text {
		return compareTexts(op, l.String(), r.String()), nil
	}
	x, err := n.number(l)
	if err != nil {
		return false, fmt.Errorf("%s: %w", text, err)
	}
	y, err := n.number(r)
	if err != nil {
		return false, fmt.Errorf("%s: %w", text, err)
	}
	return compareNumbers(op, x, y), nil
}

// number reads a value as a number: text may be true, false, an enum name or digits.
func (n Names) number(v board.Value) (float64, error) {
	switch v.Kind() {
	case board.Int, board.Real, board.Bool:
		return asReal(v)
	case board.Text:
		s := v.String()
		if s == "true" || s == "false" {
			return truth(s == "true").Float(), nil
		}
		if c, ok := n.Enums[s]; ok {
			return float64(c), nil
		}
		r, err := board.Parse(s, board.Real)
		return r.Float(), err
	}
	return 0, fmt.Errorf("a %v does not compare", v.Kind())
}

// compareToNumber is the frequent case, one entry against one number, without a closure per operand. Nil for others.
func (n Names) compareToNumber(e expr) Condition {
	if len(e.args) != 2 || e.args[0].op != "" || e.args[0].key == "" || e.args[1].op != "" || !e.args[1].lit.Number() {
		return nil
	}
	if _, enum := n.Enums[e.args[0].key]; enum {
		return nil
	}
	y, ok := e.args[1].lit.Real()
	if !ok {
		return nil
	}
	slot, key, text, op, lit := n.Slot(e.args[0].key), e.args[0].key, e.cmps[0], signs[e.cmps[0]], e.args[1].lit
	return func(f *Frame) (bool, error) {
		v := &f.Slots[slot].Value
		if v.Kind() == board.Real {
			return compareNumbers(op, v.Float(), y), nil
		}
		if v.Kind() == board.Unset {
			return false, fmt.Errorf("entry %q has no value", key)
		}
		return n.comparePair(op, text, *v, lit)
	}
}

func (n Names) assign(e expr) Code {
	right, slot, key, op := n.compile(e.args[0]), n.Slot(e.key), e.key, e.op
	return func(f *Frame) (board.Value, error) {
		entry := f.Slots[slot]
		if op != ":=" && entry.Kind() == board.Unset {
			return board.Value{}, fmt.Errorf("entry %q does not exist yet; := would make it", key)
		}
		v, err := right(f)
		if err != nil {
			return board.Value{}, err
		}
		if op != ":=" && op != "=" {
			old := entry.Value
			switch {
			case old.Number() && v.Number():
				v, err = arithmetic(op[:1], old, v)
			case op == "+=" && old.Kind() == board.Text && v.Kind() == board.Text:
				v = board.OfText(old.String() + v.String())
			default:
				err = fmt.Errorf("%s does not go between a %v and a %v", op, old.Kind(), v.Kind())
			}
			if err != nil {
				return board.Value{}, err
			}
		}
		if v.Kind() == board.Text && (entry.Kind() == board.Int || entry.Kind() == board.Real) {
			x, err := n.number(v)
			if err != nil {
				return board.Value{}, fmt.Errorf("assign %q: %w", key, err)
			}
			v = board.OfReal(x)
		}
		if err := entry.Put(v, f.Now); err != nil {
			return board.Value{}, fmt.Errorf("assign %q: %w", key, err)
		}
		return entry.Value, nil
	}
}
