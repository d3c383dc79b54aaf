package bench

import (
	"fmt"
	"time"

	"sonic-netservices/examples/ballast/proof"
	"sonic-netservices/sonic-vs/load"
)

// seen is what the clients saw of one run.
type seen struct {
	Requests int
	Failed   int           // without a verified answer in time
	Broken   int           // connections
	Gap      time.Duration // the longest in which a request was due and nobody had an answer
	GapAt    time.Duration // since the load began
	Boots    int           // processes that answered: more than one means that memory was lost
	Repeated int           // answers that came twice
	Lost     int           // serials of a process that no client has
	First    string        // failure, for people
}

// look computes it from the records alone.
func look(records []record) seen {
	s := seen{Requests: len(records)}
	var judged []load.Record
	var end time.Duration
	type answer struct{ boot, serial uint64 }
	known := map[answer]bool{}
	type serials struct{ low, high, count uint64 }
	boots := map[uint64]*serials{}
	broken := map[int]bool{}
	for _, r := range records {
		p, err := verify(r)
		if r.Broken {
			broken[r.Conn] = true
		}
		j := load.Record{Due: r.Due, Answered: r.Answered, Latency: r.Answered - r.Due}
		if err != nil {
			s.Failed++
			if s.First == "" {
				s.First = fmt.Sprintf("%s %d: %v", r.Client, r.N, err)
			}
			j = load.Record{Due: r.Due, Failed: max(r.Failed, r.Answered)}
		}
		judged = append(judged, j)
		end = max(end, r.Due, r.Answered, r.Failed)
		if p.Serial == 0 {
			continue
		}
		if a := (answer{p.Boot, p.Serial}); known[a] {
			s.Repeated++
		} else {
			known[a] = true
			b := boots[p.Boot]
			if b == nil {
				b = &serials{low: p.Serial}
				boots[p.Boot] = b
			}
			b.low, b.high, b.count = min(b.low, p.Serial), max(b.high, p.Serial), b.count+1
		}
	}
	for _, b := range boots {
		s.Lost += int(b.high - b.low + 1 - b.count)
	}
	s.Broken, s.Boots = len(broken), len(boots)
	from, to := load.LongestGap(judged, end)
	s.Gap, s.GapAt = to-from, from
	return s
}

// verify says why an answer does not count, nil when it does. The proof is zero where there is none.
func verify(r record) (proof.Proof, error) {
	if r.Error != "" {
		return proof.Proof{}, fmt.Errorf("%s", r.Error)
	}
	p, err := proof.Parse(r.Answer)
	switch {
	case err != nil:
		return proof.Proof{}, err
	case !p.Holds():
		return p, fmt.Errorf("page %d holds something else", p.Page)
	case r.Answered-r.Due > load.Patience:
		return p, fmt.Errorf("answered after %v", r.Answered-r.Due)
	}
	return p, nil
}
