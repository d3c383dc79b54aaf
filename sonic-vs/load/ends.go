package load

import "time"

// ending is a connection that did not live as long as its client wanted.
type ending struct {
	when span // the end lies within
	open bool // with a request open
}

// endings finds the broken connections: those that ended with a request open, and kept ones that their client had to
// leave between two requests. A client that keeps a connection loses it either way; when its requests are answered
// within a few milliseconds, luck alone decides whether one is open at the moment.
func endings(records []Record) []ending {
	type kept struct {
		conn int
		used time.Duration
	}
	var all []ending
	places := map[int]kept{}
	for _, r := range records { // in order of their numbers: each place works off its queue in this order
		done := max(r.Answered, r.Failed)
		if k := places[r.Slot]; r.Slot > 0 && k.conn != 0 && r.Conn != k.conn {
			noticed := done // its client dials before it sends
			if r.Sent != 0 {
				noticed = r.Sent
			}
			all = append(all, ending{span{k.used, noticed}, false})
		}
		next := kept{r.Conn, done}
		if r.Broken {
			all = append(all, ending{span{r.Due, done}, true})
			next.conn = 0
		}
		if r.Slot > 0 {
			places[r.Slot] = next
		}
	}
	return all
}
