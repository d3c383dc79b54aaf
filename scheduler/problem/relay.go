package problem

import (
	"errors"

	"sonic-netservices/plan/relay"
	"sonic-netservices/spec"
)

// Relay is the question to strategy relay: the measured pairs of a problem.
func Relay(p *spec.Problem) (relay.Problem, error) {
	q := relay.Problem{Class: relay.Class(p.Class), Params: relay.Defaults()}
	if len(p.Pairs) == 0 {
		return q, errors.New("pairs: missing")
	}
	for _, pair := range p.Pairs {
		q.Pairs = append(q.Pairs, relay.Pair{From: pair.From, To: pair.To, Quality: relay.Quality{RTT: milliseconds(pair.RTT),
			Jitter: milliseconds(pair.Jitter), Loss: pair.Loss, Bandwidth: pair.Bandwidth}})
	}
	return q, nil
}
