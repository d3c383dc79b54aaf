package rendezvous

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"sonic-netservices/internal/n2n"
)

// Header says how the headers of a community have to come.
type Header uint8

const (
	EitherHeader    Header = iota // as the first edge has it
	ClearHeader                   // not encrypted
	EncryptedHeader               // encrypted with the community's name
)

func (h Header) String() string {
	return [...]string{"either", "clear", "encrypted"}[h]
}

// List is what a community file says: who may have a community here.
type List struct {
	Named    []Entry
	Patterns []*regexp.Regexp // of names; whole names have to match
}

// Entry is a community that the file names.
type Entry struct {
	Community n2n.Community
	Subnet    netip.Prefix // for edges that ask for an address; invalid: of the common range
	Header    Header
	Users     []User // not empty: only they may register, by password
}

// User may register in a community.
type User struct {
	Name string
	Key  n2n.PublicKey
}

// ParseList reads a community file: a line for a community, `name [subnet] [encrypted|clear]`, or for many, a regular
// expression; below a name the users who alone may join, `* user key`, with the key that ntop's n2n-keygen prints; # begins a comment. An error says which line.
//
//	office
//	lab 10.20.0.0/24 encrypted
//	branch[0-9]+
//	staff
//	* alice 6wSAUofwI7AnM5mHTK31o6Ai9sdUcBZ6-cn70v2f1dq
func ParseList(text string) (*List, error) {
	l := &List{}
	seen := map[n2n.Community]bool{}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var err error
		switch name := words[0]; {
		case name == "*":
			err = l.addUser(words[1:])
		case strings.HasPrefix(name, "*"):
			err = fmt.Errorf("community %q: names that begin with * are federations", name)
		case strings.ContainsAny(name, `^$|?*+()[]{}\`):
			err = l.addPattern(words)
		default:
			err = l.addNamed(words, seen)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return l, nil
}

func (l *List) addNamed(words []string, seen map[n2n.Community]bool) error {
	c, err := n2n.CommunityOf(words[0])
	if err != nil {
		return err
	}
	if seen[c] {
		return fmt.Errorf("community %q is there twice", words[0])
	}
	seen[c] = true
	e := Entry{Community: c}
	for _, w := range words[1:] {
		switch w {
		case "encrypted":
			e.Header = EncryptedHeader
		case "clear":
			e.Header = ClearHeader
		default:
			p, err := netip.ParsePrefix(w)
			if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 30 {
				return fmt.Errorf("%q: want encrypted, clear, or an IPv4 subnet of /8 to /30", w)
			}
			e.Subnet = p.Masked()
		}
	}
	l.Named = append(l.Named, e)
	return nil
}

func (l *List) addPattern(words []string) error {
	if len(words) > 1 {
		return fmt.Errorf("regular expression %q: nothing may follow it", words[0])
	}
	re, err := regexp.Compile("^(?:" + words[0] + ")$")
	if err != nil {
		return err
	}
	l.Patterns = append(l.Patterns, re)
	return nil
}

func (l *List) addUser(words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("user: want `* NAME KEY`")
	}
	if len(l.Named) == 0 {
		return fmt.Errorf("user %q: no community above", words[0])
	}
	e := &l.Named[len(l.Named)-1]
	if e.Header == ClearHeader {
		return fmt.Errorf("user %q: community %q has clear headers, which passwords cannot go with", words[0], e.Community)
	}
	key, err := n2n.ParsePublicKey(words[1])
	if err != nil {
		return fmt.Errorf("user %q: %w", words[0], err)
	}
	e.Header = EncryptedHeader
	e.Users = append(e.Users, User{words[0], key})
	return nil
}

// entry gives what is said of a community; false: nobody may have it.
func (l *List) entry(c n2n.Community) (Entry, bool) {
	if l == nil {
		return Entry{Community: c}, true
	}
	for _, e := range l.Named {
		if e.Community == c {
			return e, true
		}
	}
	for _, re := range l.Patterns {
		if re.MatchString(c.String()) {
			return Entry{Community: c}, true
		}
	}
	return Entry{}, false
}

// named is how many communities the list names.
func (l *List) named() int {
	if l == nil {
		return 0
	}
	return len(l.Named)
}
