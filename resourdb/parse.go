package resourdb

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/netmap"
)

const timeLayout = "2006-01-02T15:04:05.000Z"

// stamp writes a time; the zero time is the empty string.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// parser reads the fields of one row and keeps the first error. A missing field reads as the zero value where that has a
// meaning (text, number, time): rows written by an older program lack the newer fields.
type parser struct {
	key   string
	parts []string
	row   map[string]string
	err   error
}

func parse(table, key string, parts int, row map[string]string) *parser {
	p := &parser{key: key, row: row, parts: make([]string, parts)}
	got := strings.Split(key, "|")
	switch {
	case got[0] != table:
		p.err = fmt.Errorf("key %s: want %s", key, table)
	case len(got) != parts+1:
		p.err = fmt.Errorf("key %s: %d parts after the table, want %d", key, len(got)-1, parts)
	case row == nil:
		p.err = fmt.Errorf("key %s: no such row", key)
	default:
		copy(p.parts, got[1:])
	}
	return p
}

func (p *parser) fail(field string, err error) {
	if p.err == nil {
		p.err = fmt.Errorf("key %s: field %s: %w", p.key, field, err)
	}
}

func (p *parser) part(i int) string { return p.parts[i] }

func (p *parser) text(field string) string { return p.row[field] }

func (p *parser) list(field string) []string {
	if p.row[field] == "" {
		return nil
	}
	return strings.Split(p.row[field], ",")
}

// into converts the text s of a field with one of netmap's parsers.
func into[T any](p *parser, field, s string, convert func(string) (T, error)) T {
	v, err := convert(s)
	if err != nil {
		p.fail(field, err)
	}
	return v
}

func (p *parser) integer(field string) int64 {
	s := p.row[field]
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("is negative")
	}
	if err != nil {
		p.fail(field, err)
		return 0
	}
	return n
}

func (p *parser) epoch() uint64 { return uint64(p.integer("epoch")) }

func (p *parser) float(field string) float64 {
	s := p.row[field]
	if s == "" {
		return 0
	}
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = fmt.Errorf("%q is not a number", s)
	}
	if err != nil {
		p.fail(field, err)
		return 0
	}
	return f
}

// amount is a quantity of something: never negative.
func (p *parser) amount(field string) float64 {
	f := p.float(field)
	if f < 0 {
		p.fail(field, errors.New("is negative"))
		return 0
	}
	return f
}

// number32 is an integer that fits 32 bits.
func (p *parser) number32(field string) uint32 {
	n := p.integer(field)
	if n > math.MaxInt32 {
		p.fail(field, errors.New("is too large"))
		return 0
	}
	return uint32(n)
}

// millis is a duration in milliseconds, at most ten years of them.
func (p *parser) millis(field string) time.Duration {
	n := p.integer(field)
	if n > 10*365*24*3600*1000 {
		p.fail(field, errors.New("is too large"))
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

// need refuses a row without fields that have no default.
func (p *parser) need(fields ...string) {
	for _, field := range fields {
		if p.row[field] == "" {
			p.fail(field, errors.New("is missing"))
		}
	}
}

func (p *parser) time(field string) time.Time {
	s := p.row[field]
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		p.fail(field, err)
	}
	return t
}

// replica reads SERVICE|NUMBER from the first two parts of the key.
func (p *parser) replica() netmap.ReplicaID {
	n, err := strconv.Atoi(p.parts[1])
	if err != nil || n < 0 {
		if p.err == nil {
			p.err = fmt.Errorf("key %s: %q is not a replica number", p.key, p.parts[1])
		}
		return netmap.ReplicaID{}
	}
	return netmap.ReplicaID{Service: p.parts[0], Replica: n}
}
