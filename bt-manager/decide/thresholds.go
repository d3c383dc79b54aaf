package decide

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sonic-netservices/netmap"
)

// FormatThresholds writes the limits as the root entry Thresholds has them: "0.8/0.7 memory=0.9/0.85", first what holds
// for every kind, each as threshold/clear.
func FormatThresholds(p Params) string {
	write := func(l Limits) string {
		return strconv.FormatFloat(l.Threshold, 'g', -1, 64) + "/" + strconv.FormatFloat(l.Clear, 'g', -1, 64)
	}
	words := []string{write(p.Limits)}
	for _, k := range slices.Sorted(maps.Keys(p.Kinds)) {
		words = append(words, string(k)+"="+write(p.Kinds[k]))
	}
	return strings.Join(words, " ")
}

// ParseThresholds puts the limits a tree names into the parameters.
func ParseThresholds(text string, p Params) (Params, error) {
	p.Limits, p.Kinds = Limits{}, map[netmap.Kind]Limits{}
	for _, word := range strings.Fields(text) {
		kind, value, single := strings.Cut(word, "=")
		if !single {
			value = word
		}
		l, err := parseLimits(value)
		if err != nil {
			return p, fmt.Errorf("thresholds: %q: %w", word, err)
		}
		if single {
			p.Kinds[netmap.Kind(kind)] = l
		} else {
			p.Limits = l
		}
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("thresholds %q: %w", text, err)
	}
	return p, nil
}

func parseLimits(text string) (l Limits, err error) {
	threshold, clear, ok := strings.Cut(text, "/")
	if !ok {
		return l, fmt.Errorf("want THRESHOLD/CLEAR")
	}
	if l.Threshold, err = strconv.ParseFloat(threshold, 64); err != nil {
		return l, fmt.Errorf("%q is no number", threshold)
	}
	if l.Clear, err = strconv.ParseFloat(clear, 64); err != nil {
		return l, fmt.Errorf("%q is no number", clear)
	}
	return l, nil
}
