package spec

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// reader walks the nodes of a file and collects what is wrong. It remembers where each field was written, for the checks
// between fields that follow.
type reader struct {
	file string
	errs Errors
	at   map[string]*yaml.Node // by field path
	what string                // a file holds one of
}

func newReader(file, what string) *reader {
	return &reader{file: file, at: map[string]*yaml.Node{}, what: what}
}

func (r *reader) fail(n *yaml.Node, path, format string, args ...any) {
	r.errs = append(r.errs, Error{r.file, n.Line, n.Column, path, fmt.Sprintf(format, args...)})
}

// failAt reports a field already seen, at its own place, or at the file's start when it was not written.
func (r *reader) failAt(path, format string, args ...any) {
	n, ok := r.at[path]
	if !ok {
		n = r.at[""]
	}
	r.fail(n, path, format, args...)
}

func (r *reader) has(path string) bool { return r.at[path] != nil }

// field reads the value of one known key.
type field struct {
	name string
	read func(n *yaml.Node, path string)
}

// object reads a mapping whose keys are known.
func (r *reader) object(n *yaml.Node, path string, fields []field) {
	r.entries(n, path, func(key, value *yaml.Node, at string) {
		names := make([]string, len(fields))
		for i, f := range fields {
			if f.name == key.Value {
				f.read(value, at)
				return
			}
			names[i] = f.name
		}
		if near := nearest(key.Value, names); near != "" {
			r.fail(key, at, "unknown field; did you mean %s?", near)
		} else {
			r.fail(key, at, "unknown field; known here: %s", strings.Join(names, ", "))
		}
	})
}

// entries calls each for every key of a mapping, once.
func (r *reader) entries(n *yaml.Node, path string, each func(key, value *yaml.Node, path string)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, path, "want a mapping (key: value), have %s", kindOf(n))
		return
	}
	r.at[path] = n
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.fail(key, path, "a key must be a word, have %s", kindOf(key))
			continue
		}
		at := key.Value
		if path != "" {
			at = path + "." + key.Value
		}
		if line, ok := seen[key.Value]; ok {
			r.fail(key, at, "given twice, first in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		r.at[at] = value
		each(key, value, at)
	}
}

// list calls each for every element of a sequence.
func (r *reader) list(n *yaml.Node, path string, each func(n *yaml.Node, path string)) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, path, "want a list, have %s", kindOf(n))
		return
	}
	for i, element := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.at[at] = element
		each(element, at)
	}
}

// text reads a scalar as it is written: in YAML 8080 and true are no strings, but here people mean the words.
func (r *reader) text(n *yaml.Node, path string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		r.fail(n, path, "want one value, have %s", kindOf(n))
		return "", false
	}
	if n.ShortTag() == "!!null" {
		r.fail(n, path, "no value given")
		return "", false
	}
	if strings.ContainsRune(n.Value, 0) {
		r.fail(n, path, "holds a NUL character")
		return "", false
	}
	return n.Value, true
}

// word reads a text that parse accepts.
func word[T any](r *reader, n *yaml.Node, path string, parse func(string) (T, error)) (value T) {
	text, ok := r.text(n, path)
	if !ok {
		return value
	}
	value, err := parse(text)
	if err != nil {
		r.fail(n, path, "%s", err)
	}
	return value
}

// choice reads one of a few words.
func choice[T ~string](r *reader, n *yaml.Node, path string, known ...T) T {
	return word(r, n, path, func(text string) (T, error) {
		names := make([]string, len(known))
		for i, k := range known {
			if text == string(k) {
				return k, nil
			}
			names[i] = string(k)
		}
		return "", fmt.Errorf("%q: want %s", text, strings.Join(names, ", "))
	})
}

func (r *reader) texts(n *yaml.Node, path string, parse func(string) (string, error)) []string {
	var out []string
	r.list(n, path, func(n *yaml.Node, path string) {
		out = append(out, word(r, n, path, parse))
	})
	if n.Kind == yaml.SequenceNode && len(out) == 0 {
		r.fail(n, path, "the list is empty")
	}
	return out
}

func anyText(text string) (string, error) { return text, nil }

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a duration: want for example 200ms, 5s, 1m", text)
	case d < 0:
		return 0, fmt.Errorf("%s is negative", text)
	case d == 0:
		return 0, fmt.Errorf("must be more than 0")
	}
	return d, nil
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias, which a spec cannot use"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	return fmt.Sprintf("the value %q", n.Value)
}
