package daemon

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Settings are flags whose values may stand elsewhere too: in a row of CONFIG_DB and in a file. Each has one name
// everywhere; the first place that has it wins.
type Settings struct {
	flags *flag.FlagSet
	from  map[string]string // where a setting comes from, by its name; none: it is the default
}

// onlyFlags are no settings: a command line alone has them.
var onlyFlags = []string{"check", "version", "config", "redis-root", "log-level"}

// NewSettings begins with what the command line has set. flags are parsed.
func NewSettings(flags *flag.FlagSet) *Settings {
	s := &Settings{flags, map[string]string{}}
	flags.Visit(func(f *flag.Flag) { s.from[f.Name] = byFlag })
	return s
}

const byFlag = "flag"

// ByFlag says that a setting stands on the command line.
func (s *Settings) ByFlag(name string) bool { return s.from[name] == byFlag }

// Row takes over a row of CONFIG_DB, whose fields have _ for -.
func (s *Settings) Row(row map[string]string, from string) error {
	values := map[string]string{}
	for field, value := range row {
		values[strings.ReplaceAll(field, "_", "-")] = value
	}
	return s.Take(values, from)
}

// File takes over a file of lines `name: value`; "" is no file.
func (s *Settings) File(path string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	values := map[string]string{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	return s.Take(values, path)
}

// Take takes over what no place before has said. An unknown name or a value that cannot be is an error that names it.
func (s *Settings) Take(values map[string]string, from string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if s.flags.Lookup(name) == nil || slices.Contains(onlyFlags, name) {
			return fmt.Errorf("%s: %s: no such setting", from, name)
		}
		if s.from[name] != "" {
			continue
		}
		if err := s.flags.Set(name, values[name]); err != nil {
			return fmt.Errorf("%s: %s: %w", from, name, err)
		}
		s.from[name] = from
	}
	return nil
}

// Print writes the settings in effect and where each comes from; of secrets only whether they are set.
func (s *Settings) Print(w io.Writer, secrets ...string) {
	s.flags.VisitAll(func(f *flag.Flag) {
		if slices.Contains(onlyFlags, f.Name) {
			return
		}
		from, value := s.from[f.Name], f.Value.String()
		if from == "" {
			from = "default"
		}
		if slices.Contains(secrets, f.Name) && value != "" {
			value = "(set)"
		}
		fmt.Fprintf(w, "%s: %q  # %s\n", f.Name, value, from)
	})
}
