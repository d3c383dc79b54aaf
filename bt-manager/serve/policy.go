package serve

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/netmap"
)

// policyOf reads CONFIG_DB NETSERVICES|policy: when a node counts as overloaded, for the whole AS.
//
//	threshold, clear              utilisation, 0..1: above is overloaded, below is relieved
//	threshold_KIND, clear_KIND    the same for one kind of resource
//	samples, period_ms            n samples of that period confirm an overload
//	majority                      true: half of them must be over the threshold as well as their mean
//	cool_down, gap                periods: a moved replica stays; a silence that disarms
//
// A field that is missing has its default; one that is unknown or wrong ends the start with its name.
func policyOf(row map[string]string) (decide.Params, error) {
	p := decide.Defaults()
	p.Kinds = map[netmap.Kind]decide.Limits{}
	for _, field := range slices.Sorted(maps.Keys(row)) {
		if err := setPolicy(&p, field, row[field]); err != nil {
			return p, fmt.Errorf("NETSERVICES|policy %s=%q: %w", field, row[field], err)
		}
	}
	if err := p.Check(); err != nil {
		return p, fmt.Errorf("NETSERVICES|policy: %w", err)
	}
	return p, nil
}

func setPolicy(p *decide.Params, field, value string) (err error) {
	whole := func(to *int) { *to, err = strconv.Atoi(value) }
	share := func(to *float64) { *to, err = strconv.ParseFloat(value, 64) }
	switch field {
	case "threshold":
		share(&p.Threshold)
	case "clear":
		share(&p.Clear)
	case "samples":
		whole(&p.Samples)
	case "cool_down":
		whole(&p.CoolDown)
	case "gap":
		whole(&p.Gap)
	case "majority":
		p.Majority, err = strconv.ParseBool(value)
	case "period_ms":
		var ms int
		whole(&ms)
		p.Period = time.Duration(ms) * time.Millisecond
	default:
		what, kind, ok := strings.Cut(field, "_")
		if !ok || kind == "" || what != "threshold" && what != "clear" {
			return fmt.Errorf("no such field")
		}
		limits, known := p.Kinds[netmap.Kind(kind)]
		if !known {
			limits = p.Limits
		}
		if what == "threshold" {
			share(&limits.Threshold)
		} else {
			share(&limits.Clear)
		}
		p.Kinds[netmap.Kind(kind)] = limits
	}
	return err
}
