package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

const factsFile = "facts.json"

// Fact is something the demo has looked at, beside what the clients saw.
type Fact struct {
	When  string `json:"when"`
	What  string `json:"what"` // often the command that shows it
	Want  string `json:"want"`
	Got   string `json:"got"`
	Holds bool   `json:"holds"`
}

// facts are kept on disk as they are found.
type facts struct {
	path string
	all  []Fact
}

// equal notes whether what was found is what must be.
func (f *facts) equal(when, what string, want, got any) error {
	w, g := fmt.Sprint(want), fmt.Sprint(got)
	return f.add(Fact{when, what, w, g, w == g})
}

// atLeast notes whether a count is high enough.
func (f *facts) atLeast(when, what string, want, got int) error {
	return f.add(Fact{when, what, fmt.Sprintf("at least %d", want), fmt.Sprint(got), got >= want})
}

func (f *facts) add(fact Fact) error {
	f.all = append(f.all, fact)
	got := fact.Got
	if got == "" {
		got = "nothing"
	}
	if fact.Holds {
		step("    %s: %s", fact.What, got)
	} else {
		step("  ! %s: %s, want %s", fact.What, got, fact.Want)
	}
	return f.write()
}

func (f *facts) write() error {
	text, err := json.MarshalIndent(append([]Fact{}, f.all...), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.path, append(text, '\n'), 0o644)
}

// broken says which facts do not hold; nil: all do.
func (f *facts) broken() error {
	var lines []string
	for _, fact := range f.all {
		if !fact.Holds {
			lines = append(lines, fmt.Sprintf("%s: %s: got %q, want %q", fact.When, fact.What, fact.Got, fact.Want))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d facts do not hold:\n%s", len(lines), len(f.all), strings.Join(lines, "\n"))
}
