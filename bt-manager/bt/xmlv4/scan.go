// Package xmlv4 reads behaviour trees from BehaviorTree.CPP v4 XML. It reads files from the file system it is given,
// writes nothing, and gives a compiled program or every fault at once, each with its place, its line and a caret.
package xmlv4

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"sonic-netservices/bt-manager/bt"
)

// element is one XML element with its places. An own reader of the small part of XML that tree files use, because the
// library's keeps no attribute positions, and lets duplicate attributes and a second root element pass.
type element struct {
	name  string
	attrs []bt.Attr
	kids  []*element
	pos   bt.Pos // of its '<'
	text  bt.Pos // of the first text between the tags, zero without
}

func (e *element) attr(name string) *bt.Attr {
	for i := range e.attrs {
		if e.attrs[i].Name == name {
			return &e.attrs[i]
		}
	}
	return nil
}

func (e *element) value(name string) string {
	if a := e.attr(name); a != nil {
		return a.Value
	}
	return ""
}

type scanner struct {
	file  string
	src   string
	at    int
	lines []int // offsets where lines begin
	diags bt.Diags
	lost  bool // a fault after which the rest of the file means nothing
}

// maxDepth bounds elements inside elements, with room for the wrappers of MaxDepth nodes.
const maxDepth = bt.MaxDepth + 8

func newScanner(file, src string) *scanner {
	src = strings.TrimPrefix(src, "\ufeff")
	s := &scanner{file: file, src: src, lines: []int{0}}
	for i := 0; i < len(src); i++ {
		if src[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// pos is the place of an offset; columns count characters.
func (s *scanner) pos(at int) bt.Pos {
	at = min(at, len(s.src))
	lo, hi := 0, len(s.lines)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; s.lines[mid] <= at {
			lo = mid
		} else {
			hi = mid
		}
	}
	return bt.Pos{File: s.file, Line: lo + 1, Col: utf8.RuneCountInString(s.src[s.lines[lo]:at]) + 1}
}

// errorf notes a fault after which nothing more of the file can be trusted.
func (s *scanner) errorf(at int, format string, args ...any) {
	s.twice(at, format, args...)
	s.lost = true
}

// twice notes a fault that leaves the rest readable: what is there a second time.
func (s *scanner) twice(at int, format string, args ...any) {
	s.diags = append(s.diags, bt.Diag{Pos: s.pos(at), Msg: fmt.Sprintf(format, args...)})
}

// document reads the file, nil when it is not XML.
func (s *scanner) document() *element {
	if !utf8.ValidString(s.src) {
		bad := 0
		for i, r := range s.src {
			if r == utf8.RuneError {
				bad = i
				break
			}
		}
		s.errorf(bad, "not UTF-8")
		return nil
	}
	var root *element
	for s.space(); s.at < len(s.src); s.space() {
		start := s.at
		switch {
		case s.skipMisc():
		case strings.HasPrefix(s.src[s.at:], "<!"):
			s.errorf(start, "document types are not supported")
		case s.src[s.at] != '<':
			s.errorf(start, "text outside of the root element")
		default:
			e := s.element(0)
			if root != nil && e != nil {
				s.twice(start, "a second root element <%s>; the first is at %s", e.name, root.pos)
			} else {
				root = e
			}
		}
		if s.lost {
			return nil
		}
	}
	if root == nil {
		s.errorf(s.at, "no element in the file")
	}
	return root
}

func (s *scanner) space() {
	for s.at < len(s.src) && strings.IndexByte(" \t\r\n", s.src[s.at]) >= 0 {
		s.at++
	}
}

// skipMisc skips a comment or a processing instruction.
func (s *scanner) skipMisc() bool {
	for _, m := range [...][2]string{{"<!--", "-->"}, {"<?", "?>"}} {
		if strings.HasPrefix(s.src[s.at:], m[0]) {
			n := strings.Index(s.src[s.at+len(m[0]):], m[1])
			if n < 0 {
				s.errorf(s.at, "%s without %s", m[0], m[1])
				return true
			}
			s.at += len(m[0]) + n + len(m[1])
			return true
		}
	}
	return false
}

// element reads from '<' to the end of the closing tag. Nil means a fault was noted.
func (s *scanner) element(depth int) *element {
	open := s.at
	if depth > maxDepth {
		s.errorf(open, "more than %d elements inside each other", maxDepth)
		return nil
	}
	s.at++
	e := &element{pos: s.pos(open), name: s.name()}
	if e.name == "" {
		s.errorf(s.at, "want the name of an element")
		return nil
	}
	for {
		before := s.at
		s.space()
		switch rest := s.src[s.at:]; {
		case strings.HasPrefix(rest, "/>"):
			s.at += 2
			return e
		case strings.HasPrefix(rest, ">"):
			s.at++
			if !s.content(e, depth) {
				return nil
			}
			return e
		case rest == "":
			s.errorf(open, "<%s is not closed", e.name)
			return nil
		case before == s.at:
			s.errorf(s.at, "want a space before the next attribute of <%s>", e.name)
			return nil
		}
		if !s.attribute(e) {
			return nil
		}
	}
}

// content reads children up to the closing tag.
func (s *scanner) content(e *element, depth int) bool {
	for {
		s.space()
		rest := s.src[s.at:]
		switch {
		case rest == "":
			s.errorf(s.at, "<%s> of line %d has no closing tag", e.name, e.pos.Line)
			return false
		case strings.HasPrefix(rest, "</"):
			start := s.at
			s.at += len("</")
			if name := s.name(); name != e.name {
				s.errorf(start, "</%s> closes <%s> of line %d", name, e.name, e.pos.Line)
				return false
			}
			s.space()
			if !strings.HasPrefix(s.src[s.at:], ">") {
				s.errorf(s.at, "want '>' of </%s>", e.name)
				return false
			}
			s.at++
			return true
		case s.skipMisc():
			if s.lost {
				return false
			}
		case strings.HasPrefix(rest, "<!"):
			s.errorf(s.at, "only elements and comments go here")
			return false
		case rest[0] == '<':
			kid := s.element(depth + 1)
			if kid == nil {
				return false
			}
			e.kids = append(e.kids, kid)
		default:
			if e.text.Line == 0 {
				e.text = s.pos(s.at)
			}
			n := strings.IndexByte(rest, '<')
			if n < 0 {
				n = len(rest)
			}
			s.at += n
		}
	}
}

func (s *scanner) name() string {
	start := s.at
	for s.at < len(s.src) {
		r, size := utf8.DecodeRuneInString(s.src[s.at:])
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("<>=/\"'&", r) {
			break
		}
		s.at += size
	}
	return s.src[start:s.at]
}

func (s *scanner) attribute(e *element) bool {
	start := s.at
	name := s.name()
	if name == "" {
		s.errorf(s.at, "want an attribute of <%s>, got %q", e.name, firstRune(s.src[s.at:]))
		return false
	}
	s.space()
	if !strings.HasPrefix(s.src[s.at:], "=") {
		s.errorf(s.at, "attribute %q has no value", name)
		return false
	}
	s.at++
	s.space()
	if s.at >= len(s.src) || s.src[s.at] != '"' && s.src[s.at] != '\'' {
		s.errorf(s.at, "the value of %q is not quoted", name)
		return false
	}
	quote := s.src[s.at : s.at+1]
	s.at++
	raw := s.at
	n := strings.Index(s.src[raw:], quote)
	if n < 0 {
		s.errorf(raw-1, "the value of %q has no closing quote", name)
		return false
	}
	s.at = raw + n + 1
	value, offsets, ok := s.unescape(raw, raw+n)
	if !ok {
		return false
	}
	if first := e.attr(name); first != nil {
		s.twice(start, "attribute %q twice; the first is at %s", name, first.Pos)
		return true
	}
	a := bt.Attr{Name: name, Value: value, Pos: s.pos(start), ValuePos: s.pos(raw)}
	a.Place = func(offset int) bt.Pos {
		at := raw + offset
		for _, o := range offsets {
			if o[0] <= offset {
				at = o[1] + offset - o[0]
			}
		}
		return s.pos(at)
	}
	e.attrs = append(e.attrs, a)
	return true
}

var entities = map[string]string{"lt": "<", "gt": ">", "amp": "&", "quot": "\"", "apos": "'"}

// unescape resolves entities. offsets says from which byte of the value on which byte of the source corresponds.
func (s *scanner) unescape(from, to int) (value string, offsets [][2]int, ok bool) {
	raw := s.src[from:to]
	if i := strings.IndexByte(raw, '<'); i >= 0 {
		s.errorf(from+i, "'<' in a value is written &lt;")
		return "", nil, false
	}
	var b strings.Builder
	for i := 0; i < len(raw); {
		amp := strings.IndexByte(raw[i:], '&')
		if amp < 0 {
			b.WriteString(raw[i:])
			break
		}
		b.WriteString(raw[i : i+amp])
		i += amp
		semi := strings.IndexByte(raw[i:], ';')
		if semi < 0 {
			s.errorf(from+i, "'&' in a value is written &amp;")
			return "", nil, false
		}
		name := raw[i+1 : i+semi]
		text, known := entities[name]
		if code, num := strings.CutPrefix(name, "#"); num {
			base := 10
			if hex, is := strings.CutPrefix(code, "x"); is {
				base, code = 16, hex
			}
			r, err := strconv.ParseUint(code, base, 32)
			known = err == nil && r > 0 && utf8.ValidRune(rune(r))
			text = string(rune(r))
		}
		if !known {
			s.errorf(from+i, "unknown entity &%s;", name)
			return "", nil, false
		}
		b.WriteString(text)
		i += semi + 1
		offsets = append(offsets, [2]int{b.Len(), from + i})
	}
	return b.String(), offsets, true
}

func firstRune(s string) string {
	if s == "" {
		return "the end"
	}
	r, _ := utf8.DecodeRuneInString(s)
	return string(r)
}
