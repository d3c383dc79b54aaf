package script

import (
	"fmt"
	"strconv"

	"sonic-netservices/bt-manager/bt/board"
)

// Script is a parsed script.
type Script struct {
	Text       string
	statements []expr
	names      []Name
}

// Name is one use of a blackboard entry.
type Name struct {
	Key     string
	At      int
	Write   bool
	Creates bool // by :=, so nobody else needs to write it first
}

// Names lists the entries the script reads and writes, in the order of the text.
func (s *Script) Names() []Name { return s.names }

// expr is one node of the parsed script.
type expr struct {
	op   string // "" = literal or name; "neg" "~" "!"; binary sign; "cmp"; "?"; assignment sign
	at   int
	lit  board.Value
	key  string
	args []expr
	cmps []string // of "cmp": signs between args
}

// Binding powers, loose to tight.
const (
	bindAssign  = 2
	bindIf      = 4
	bindCompare = 10
	bindPrefix  = 20
)

var binding = map[string]int{
	":=": bindAssign, "=": bindAssign, "+=": bindAssign, "-=": bindAssign, "*=": bindAssign, "/=": bindAssign,
	"?": bindIf, "||": 6, "&&": 8,
	"==": bindCompare, "!=": bindCompare, "<": bindCompare, ">": bindCompare, "<=": bindCompare, ">=": bindCompare,
	"|": 12, "^": 12, "&": 14, "+": 16, "-": 16, "..": 16, "*": 18, "/": 18,
}

// maxDepth bounds how deep expressions nest: the parser and what it makes are recursive.
const maxDepth = 200

type parser struct {
	tokens []token
	depth  int
	names  []Name
}

// Parse reads a script. Statements are divided by ';', or by nothing.
func Parse(src string) (*Script, error) {
	tokens, err := lex(src)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	s := &Script{Text: src}
	for p.tokens[0].kind != end {
		e, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		s.statements = append(s.statements, e)
		for p.is(";") {
			p.take()
		}
	}
	if len(s.statements) == 0 {
		return nil, &Error{0, "empty script"}
	}
	s.names = p.names
	return s, nil
}

func (p *parser) is(sign string) bool {
	return p.tokens[0].kind == operator && p.tokens[0].text == sign
}

func (p *parser) take() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) expression(min int) (expr, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxDepth {
		return expr{}, &Error{p.tokens[0].at, "nested too deep"}
	}
	left, err := p.prefix()
	if err != nil {
		return expr{}, err
	}
	for p.tokens[0].kind == operator {
		sign := p.tokens[0]
		bind, infix := binding[sign.text]
		if !infix || bind < min {
			break
		}
		switch bind {
		case bindAssign:
			return p.assign(left)
		case bindIf:
			return p.choice(left)
		case bindCompare:
			left, err = p.compare(left)
		default:
			p.take()
			var right expr
			right, err = p.expression(bind + 1)
			left = expr{op: sign.text, at: sign.at, args: []expr{left, right}}
		}
		if err != nil {
			return expr{}, err
		}
	}
	return left, nil
}

func (p *parser) prefix() (expr, error) {
	t := p.take()
	switch t.kind {
	case integer:
		base, digits := 10, t.text
		if len(digits) > 2 && (digits[1] == 'x' || digits[1] == 'X') {
			base, digits = 16, digits[2:]
		}
		n, err := strconv.ParseInt(digits, base, 64)
		if err != nil {
			return expr{}, &Error{t.at, t.text + " is out of range"}
		}
		return expr{at: t.at, lit: board.OfInt(n)}, nil
	case real:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return expr{}, &Error{t.at, t.text + " is out of range"}
		}
		return expr{at: t.at, lit: board.OfReal(f)}, nil
	case text:
		return expr{at: t.at, lit: board.OfText(t.text)}, nil
	case name:
		switch t.text {
		case "true": // booleans are numbers in scripts
			return expr{at: t.at, lit: board.OfReal(1)}, nil
		case "false":
			return expr{at: t.at, lit: board.OfReal(0)}, nil
		}
		p.names = append(p.names, Name{Key: t.text, At: t.at})
		return expr{at: t.at, key: t.text}, nil
	case operator:
		switch t.text {
		case "-", "~", "!":
			operand, err := p.expression(bindPrefix)
			op := t.text
			if op == "-" {
				op = "neg"
			}
			return expr{op: op, at: t.at, args: []expr{operand}}, err
		case "(":
			e, err := p.expression(0)
			if err != nil {
				return expr{}, err
			}
			if !p.is(")") {
				return expr{}, &Error{p.tokens[0].at, "want ')', got " + p.tokens[0].shown()}
			}
			p.take()
			return e, nil
		}
	}
	return expr{}, &Error{t.at, "want a value, got " + t.shown()}
}

func (p *parser) assign(left expr) (expr, error) {
	sign := p.take()
	if left.key == "" || left.op != "" {
		return expr{}, &Error{left.at, fmt.Sprintf("the left side of %s is no entry", sign.text)}
	}
	target := &p.names[len(p.names)-1]
	target.Write, target.Creates = true, sign.text == ":="
	right, err := p.expression(0)
	return expr{op: sign.text, at: sign.at, key: left.key, args: []expr{right}}, err
}

func (p *parser) choice(cond expr) (expr, error) {
	sign := p.take()
	yes, err := p.expression(0)
	if err != nil {
		return expr{}, err
	}
	if !p.is(":") {
		return expr{}, &Error{p.tokens[0].at, "want ':' of the choice, got " + p.tokens[0].shown()}
	}
	p.take()
	no, err := p.expression(bindIf)
	return expr{op: "?", at: sign.at, args: []expr{cond, yes, no}}, err
}

func (p *parser) compare(first expr) (expr, error) {
	e := expr{op: "cmp", at: p.tokens[0].at, args: []expr{first}}
	for p.tokens[0].kind == operator && binding[p.tokens[0].text] == bindCompare {
		e.cmps = append(e.cmps, p.take().text)
		next, err := p.expression(bindCompare + 1)
		if err != nil {
			return expr{}, err
		}
		e.args = append(e.args, next)
	}
	return e, nil
}
