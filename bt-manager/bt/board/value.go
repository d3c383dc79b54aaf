// Package board holds what nodes of a behaviour tree tell each other: typed values in named entries, each with a sequence
// number and the time of its last write. It reads no clock (times come in), is written by scripts and leaves, and is told
// nothing by anybody: whoever mirrors a board asks it for what changed.
package board

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Kind is the type of a value.
type Kind uint8

const (
	Unset Kind = iota // no value yet; as the type of a port or entry: any
	Int               // all integer types are one family
	Real
	Bool
	Text
	Opaque // a Go value the engine only carries, such as a snapshot of the network
)

var kindNames = [...]string{"any", "int", "real", "bool", "string", "opaque"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Value is one typed value. Numbers live in bits, so that reading and writing them allocates nothing.
type Value struct {
	kind Kind
	bits uint64
	ref  any
}

func OfInt(v int64) Value    { return Value{kind: Int, bits: uint64(v)} }
func OfReal(v float64) Value { return Value{kind: Real, bits: math.Float64bits(v)} }
func OfText(v string) Value  { return Value{kind: Text, ref: v} }
func OfBool(v bool) Value {
	if v {
		return Value{kind: Bool, bits: 1}
	}
	return Value{kind: Bool}
}

// Of wraps any Go value; nil becomes an unset value.
func Of(v any) Value {
	switch v := v.(type) {
	case nil:
		return Value{}
	case Value:
		return v
	case int:
		return OfInt(int64(v))
	case int64:
		return OfInt(v)
	case uint16:
		return OfInt(int64(v))
	case uint32:
		return OfInt(int64(v))
	case float64:
		return OfReal(v)
	case bool:
		return OfBool(v)
	case string:
		return OfText(v)
	}
	return Value{kind: Opaque, ref: v}
}

// Guess reads an untyped literal as v4 does: integer, then real, else text.
func Guess(s string) Value {
	if v, err := Parse(s, Int); err == nil {
		return v
	}
	if v, err := Parse(s, Real); err == nil {
		return v
	}
	return OfText(s)
}

// Parse reads text as a value of the kind wanted.
func Parse(s string, want Kind) (Value, error) {
	t := strings.TrimSpace(s)
	switch want {
	case Int:
		if v, err := strconv.ParseInt(t, 10, 64); err == nil {
			return OfInt(v), nil
		}
	case Real:
		if v, err := strconv.ParseFloat(t, 64); err == nil {
			return OfReal(v), nil
		}
	case Bool:
		switch strings.ToLower(t) {
		case "true", "1":
			return OfBool(true), nil
		case "false", "0":
			return OfBool(false), nil
		}
	case Text, Unset:
		return OfText(s), nil
	}
	return Value{}, fmt.Errorf("%q is no %v", s, want)
}

func (v Value) Kind() Kind { return v.kind }

// Same says whether two values are equal and of one kind. What the engine only carries is never the same.
func (v Value) Same(o Value) bool {
	return v.kind == o.kind && v.bits == o.bits && v.kind != Opaque && v.ref == o.ref
}

// Number says whether scripts may calculate with the value.
func (v Value) Number() bool { return v.kind == Int || v.kind == Real || v.kind == Bool }

// Float is the value as a number, 0 when it is none.
func (v Value) Float() float64 {
	switch v.kind {
	case Real:
		return math.Float64frombits(v.bits)
	case Int:
		return float64(int64(v.bits))
	case Bool:
		return float64(v.bits)
	}
	return 0
}

// Int is the value as an integer; ok is false when that would lose something.
func (v Value) Int() (n int64, ok bool) {
	switch v.kind {
	case Int, Bool:
		return int64(v.bits), true
	case Real:
		f := math.Float64frombits(v.bits)
		if f != math.Trunc(f) || f < -(1<<63) || f >= 1<<63 {
			return 0, false
		}
		return int64(f), true
	}
	return 0, false
}

// Real is the value as a real; ok is false when it is no number, or an integer that a real would round.
func (v Value) Real() (x float64, ok bool) {
	const exact = 1<<53 - 1
	if n := int64(v.bits); v.kind == Int && (n > exact || n < -exact) {
		return 0, false
	}
	return v.Float(), v.Number()
}

// Any is the value as a plain Go value, nil when unset.
func (v Value) Any() any {
	switch v.kind {
	case Int:
		return int64(v.bits)
	case Real:
		return v.Float()
	case Bool:
		return v.bits != 0
	}
	return v.ref
}

// String is the value for people, and for `..` in scripts.
func (v Value) String() string {
	switch v.kind {
	case Unset:
		return ""
	case Int:
		return strconv.FormatInt(int64(v.bits), 10)
	case Real:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case Bool:
		return strconv.FormatBool(v.bits != 0)
	case Text:
		return v.ref.(string)
	}
	return fmt.Sprint(v.ref)
}

// Convert gives the value as the kind wanted, or says why it cannot. Nothing may be lost on the way.
func (v Value) Convert(want Kind) (Value, error) {
	if v.kind == want || want == Unset {
		return v, nil
	}
	switch {
	case v.kind == Text && want != Opaque:
		return Parse(v.ref.(string), want)
	case v.Number() && want == Real:
		if x, ok := v.Real(); ok {
			return OfReal(x), nil
		}
	case v.Number() && want == Int:
		if n, ok := v.Int(); ok {
			return OfInt(n), nil
		}
	case v.Number() && want == Bool:
		if f := v.Float(); f == 0 || f == 1 {
			return OfBool(f == 1), nil
		}
	case v.Number() && want == Text:
		return OfText(v.String()), nil
	}
	if v.kind == Unset {
		return Value{}, fmt.Errorf("has no value yet")
	}
	return Value{}, fmt.Errorf("%v %s is no %v", v.kind, v, want)
}
