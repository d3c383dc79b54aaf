package xmlv4

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"sonic-netservices/bt-manager/bt"
)

// Faults are what Load found, with the text they are in.
type Faults struct {
	bt.Diags
	lines map[string][]string // by file
}

// And gives the faults of both loads of a file, those that are the same once.
func (f Faults) And(g Faults) Faults {
	both := Faults{Diags: append(f.Diags[:len(f.Diags):len(f.Diags)], g.Diags...).Sorted(), lines: map[string][]string{}}
	maps.Copy(both.lines, f.lines)
	maps.Copy(both.lines, g.lines)
	return both
}

// Line is the source line of a place, "" when there is none.
func (f Faults) Line(p bt.Pos) string {
	lines := f.lines[p.File]
	if p.Line < 1 || p.Line > len(lines) {
		return ""
	}
	return strings.TrimRight(lines[p.Line-1], "\r")
}

// String prints every fault with its line and a caret under the place.
func (f Faults) String() string {
	var b strings.Builder
	for _, d := range f.Diags {
		b.WriteString(d.String() + "\n")
		if line := f.Line(d.Pos); line != "" {
			shown, before := cut([]rune(line), d.Pos.Col-1)
			b.WriteString("    " + shown + "\n    " + blank(before) + "^\n")
		}
	}
	return b.String()
}

// Error is String, so that faults look the same where they are printed as an error.
func (f Faults) Error() string { return strings.TrimSuffix(f.String(), "\n") }

// maxShown bounds how much of a line is shown, in characters: a file may be one line.
const maxShown = 160

// cut gives of a line what is shown around a character, and what of that stands before it.
func cut(line []rune, at int) (shown string, before []rune) {
	at = min(at, len(line))
	if len(line) <= maxShown {
		return string(line), line[:at]
	}
	from := min(max(at-maxShown/2, 0), len(line)-maxShown)
	part := slices.Clone(line[from : from+maxShown])
	if from > 0 {
		part[0] = '…'
	}
	if from+maxShown < len(line) {
		part[maxShown-1] = '…'
	}
	return string(part), part[:at-from]
}

// blank is as wide on a screen as the text.
func blank(text []rune) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\t':
			b.WriteRune(r)
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case wide(r):
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// wide says whether a terminal takes two columns for the character.
func wide(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) ||
		r >= 0x3000 && r <= 0x303e || r >= 0xff01 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff
}
