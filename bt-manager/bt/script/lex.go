// Package script is the small language inside tree files: conditions, assignments and arithmetic on blackboard entries.
// It reads text once, into closures over the entries' slots; running them reads and writes those entries and nothing else.
// It is told what a name means by whoever compiles it. Errors carry the place in the text.
package script

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is a fault in a script. At is the offset in bytes.
type Error struct {
	At  int
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.At+1, e.Msg) }

type tokenKind uint8

const (
	end tokenKind = iota
	integer
	real
	text
	name
	operator
)

type token struct {
	kind tokenKind
	text string // of a text literal: without its quotes
	at   int
}

// shown is the token as a person would call it.
func (t token) shown() string {
	if t.kind == end {
		return "the end"
	}
	return "'" + t.text + "'"
}

var twoSigns = []string{"..", "&&", "||", "==", "!=", "<=", ">=", ":=", "+=", "-=", "*=", "/="}

func lex(src string) ([]token, error) {
	var list []token
	for i := 0; i < len(src); {
		r, size := utf8.DecodeRuneInString(src[i:])
		start := i
		switch {
		case unicode.IsSpace(r):
			i += size
			continue
		case r == '\'':
			n := strings.IndexByte(src[i+1:], '\'')
			if n < 0 {
				return nil, &Error{start, "string without closing quote"}
			}
			list = append(list, token{text, src[i+1 : i+1+n], start})
			i += n + 2
		case r >= '0' && r <= '9':
			kind, n, ok := number(src[i:])
			if !ok {
				return nil, &Error{start, fmt.Sprintf("'%s' is no number", src[i:i+n])}
			}
			list = append(list, token{kind, src[i : i+n], start})
			i += n
		case nameStart(r):
			for i += size; i < len(src); i += size {
				if r, size = utf8.DecodeRuneInString(src[i:]); !nameStart(r) && !unicode.IsDigit(r) || r == '@' {
					break
				}
			}
			list = append(list, token{name, src[start:i], start})
		default:
			n := 0
			for _, s := range twoSigns {
				if strings.HasPrefix(src[i:], s) {
					n = 2
				}
			}
			if n == 0 && strings.ContainsRune("+-*/&|^~!<>=?:();", r) {
				n = 1
			}
			if n == 0 {
				return nil, &Error{start, fmt.Sprintf("unknown sign %q", r)}
			}
			list = append(list, token{operator, src[i : i+n], start})
			i += n
		}
	}
	return append(list, token{end, "", len(src)}), nil
}

func nameStart(r rune) bool {
	return r == '_' || r == '@' || r != utf8.RuneError && unicode.IsLetter(r)
}

// number measures the number at the start of s. "65.." is an integer and a concatenation, "65." is nothing.
func number(s string) (kind tokenKind, n int, ok bool) {
	digits := func(set string) bool {
		from := n
		for n < len(s) && strings.IndexByte(set, s[n]) >= 0 {
			n++
		}
		return n > from
	}
	const decimal, hex = "0123456789", "0123456789abcdefABCDEF"
	kind, ok = integer, true
	if len(s) > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		n = 2
		ok = digits(hex)
	} else {
		digits(decimal)
		if n < len(s) && s[n] == '.' && !strings.HasPrefix(s[n:], "..") {
			n++
			kind, ok = real, digits(decimal)
		}
		if ok && n < len(s) && (s[n] == 'e' || s[n] == 'E') {
			n++
			if n < len(s) && (s[n] == '+' || s[n] == '-') {
				n++
			}
			kind, ok = real, digits(decimal)
		}
	}
	for n < len(s) {
		r, size := utf8.DecodeRuneInString(s[n:])
		if !nameStart(r) && !unicode.IsDigit(r) {
			break
		}
		n += size
		ok = false
	}
	return kind, n, ok
}
