package orders

import (
	"context"
	"fmt"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/address"
	"sonic-netservices/netmap"
)

// At every moment one instance has an address. The protocol of a move sees to it; here it is watched, for a container
// that was started by hand, a restored backup or a fault nobody thought of knows no protocol.
//
// The helper hears who else claims an address of a replica that runs here. Who is right nobody guesses: the manager says
// with every renewal what it believes to be on this node. A replica with a rival that it does not believe to be here
// falls silent, container and data untouched, until the manager removes it or places it here again. Without the
// manager's word both serve, and both say so.

// rival is another owner of an address that a replica here serves.
type rival struct {
	address string
	mac     string
	node    string // "" = no node of this AS
	last    time.Time
}

// A rival that is not heard of for rivalGone is one no more: it is asked for every 2 s. A renewal may have been on its
// way for renewalAge; one from before the replica came here does not know of it.
const (
	rivalGone  = 7 * time.Second
	renewalAge = 3 * time.Second
)

// followRivals hears the helper until ctx ends.
func (a *Agent) followRivals(ctx context.Context) {
	for ctx.Err() == nil {
		if err := a.hearRivals(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("rivals are not heard of", "err", err)
		}
		pause(ctx, time.Second)
	}
}

func (a *Agent) hearRivals(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.helper.Rivals(ctx, &api.Empty{})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		a.meet(r)
	}
}

// meet notes a rival of a replica that runs here. In a move another node claims the address on purpose.
func (a *Agent) meet(r *api.Rival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.locals {
		if int32(l.holder.PID) != r.Pid || l.state != netmap.Running || l.quiet || l.rescuing {
			continue
		}
		fresh := l.rival == nil || l.rival.mac != r.Mac
		l.rival = &rival{address: r.Address, mac: r.Mac, last: time.Now()}
		for _, m := range a.members {
			if address.MAC(m.Node, l.id.String()).String() == r.Mac {
				l.rival.node = m.Node
			}
		}
		if fresh {
			a.log.Error("the address has a second owner", "service", l.id.Service, "replica", l.id.Replica,
				"addr", r.Address, "mac", r.Mac, "peer", l.rival.node)
			a.rows.put(a.row(l))
			time.AfterFunc(rivalGone, func() { a.forgetRival(l) })
		}
	}
}

// forgetRival looks from time to time whether the rival is gone.
func (a *Agent) forgetRival(l *local) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.rival == nil || l.quiet {
		return
	}
	if left := rivalGone - time.Since(l.rival.last); left > 0 {
		time.AfterFunc(left, func() { a.forgetRival(l) })
		return
	}
	a.log.Info("the address has one owner again", "service", l.id.Service, "replica", l.id.Replica, "addr", l.rival.address)
	l.rival = nil
	if a.locals[l.id] == l {
		a.rows.put(a.row(l))
	}
}

// problem is what people are told of a replica's rival, or of its memory. The caller holds mu.
func (a *Agent) problem(l *local) string {
	r := l.rival
	if r == nil {
		return l.lost
	}
	who := r.node
	if who == "" {
		who = r.mac + ", no node of this AS,"
	}
	if l.quiet {
		return fmt.Sprintf("%s is silent on %s: %s serves %s, and the manager has it elsewhere", l.id, a.cfg.Node, who, r.address)
	}
	return fmt.Sprintf("%s of %s on %s is claimed by %s too", r.address, l.id, a.cfg.Node, who)
}

// compare follows what the manager believes by its newest word.
func (a *Agent) compare(ctx context.Context) {
	a.mu.Lock()
	var silence, speak []*local
	for _, l := range a.locals {
		if l.rival == nil || l.state != netmap.Running || time.Since(l.since) < renewalAge {
			continue
		}
		switch believed := a.placed[l.id]; {
		case !believed && !l.quiet:
			silence = append(silence, l)
		case believed && l.quiet:
			speak = append(speak, l)
		}
	}
	a.mu.Unlock()
	for _, l := range silence {
		if err := a.setQuiet(ctx, l, true); err != nil {
			a.log.Error("silence a second owner", "service", l.id.Service, "replica", l.id.Replica, "err", err)
		}
	}
	for _, l := range speak {
		if err := a.setQuiet(ctx, l, false); err != nil {
			a.log.Error("serve again", "service", l.id.Service, "replica", l.id.Replica, "err", err)
		}
	}
}

// setQuiet makes a replica silent, or serve again.
func (a *Agent) setQuiet(ctx context.Context, l *local, quiet bool) error {
	err := a.change(l, quiet, func() (err error) {
		if quiet {
			_, err = a.helper.Silence(ctx, traffic(l))
		} else {
			_, err = a.helper.TakeBack(ctx, &api.TakeBackRequest{Traffic: traffic(l)})
		}
		return err
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	if !quiet {
		l.rival = nil
	}
	row := a.row(l)
	a.mu.Unlock()
	a.rows.put(row)
	a.log.Warn("second owner", "service", l.id.Service, "replica", l.id.Replica, "op", l.spec.Op, "epoch", l.spec.Epoch, "silent", quiet)
	return a.applySegment(ctx)
}
