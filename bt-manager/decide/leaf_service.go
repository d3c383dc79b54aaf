package decide

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/bt/board"
	"sonic-netservices/netmap"
)

// need is what is looked for a place for.
type need struct{ *Replica }

func (n need) String() string { return fmt.Sprintf("%s: %s", n.ID, needs(n.Demand)) }

func needs(d netmap.Demand) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(d)) {
		if k == netmap.Memory || k == netmap.Storage {
			words = append(words, fmt.Sprintf("%s %.4g MiB", k, d[k]/(1<<20)))
		} else {
			words = append(words, fmt.Sprintf("%s %.4g", k, d[k]))
		}
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

func (l *leaves) serviceOnlineRequested(c *bt.Ctx) bt.Status {
	requests := l.w.Requests()
	for _, service := range requests {
		if l.resting(service) == 0 {
			c.PutText(0, service)
			return bt.Success
		}
	}
	if len(requests) > 0 {
		c.WakeAt(c.Now().Add(l.resting(requests[0])))
		return c.Failf("%s could not be admitted; again in %v", requests[0], l.resting(requests[0]))
	}
	return bt.Failure
}

func (l *leaves) admitService(c *bt.Ctx) bt.Status {
	service := c.Text(0)
	index, err := l.w.Admit(service)
	if err != nil {
		l.failed(l.w, service)
		l.audit(l.w, "", Entry{What: "not admitted", Text: fmt.Sprintf("%s: %v", service, err), Path: c.Path()})
		return c.Failf("admit %s: %v", service, err)
	}
	l.succeeded(l.w, service)
	l.list(l.w)
	c.PutInt(1, int64(index))
	l.publish(c, index)
	l.audit(l.w, "", Entry{What: "admitted", Text: fmt.Sprintf("%s is service %d", service, index), Path: c.Path()})
	return bt.Success
}

// allServicesDeployed fails with the replica that is deployed next. Services that were removed leave the blackboard here.
func (l *leaves) allServicesDeployed(c *bt.Ctx) bt.Status {
	for index := range l.shown {
		if !l.wanted(index) { // removed
			l.publish(c, index)
			delete(l.shown, index)
		}
	}
	waits := ""
	for i := range l.all {
		r := &l.all[i]
		if r.Node != "" || r.Index == 0 { // deployed, or not admitted yet
			continue
		}
		left := l.resting(r.ID.String())
		switch {
		case r.Op != "":
			waits = fmt.Sprintf("%s: operation %s is in flight", r.ID, r.Op)
		case left > 0:
			c.WakeAt(c.Now().Add(left))
			waits = fmt.Sprintf("%s is tried again in %v", r.ID, left)
		default:
			c.PutText(0, r.ID.String())
			c.PutInt(1, int64(r.Index))
			return c.Failf("%s is to be deployed", r.ID)
		}
	}
	c.Say(waits)
	return bt.Success
}

func (l *leaves) getNeededResources(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok {
		return c.Failf("%s is not desired any more", c.Text(0))
	}
	c.PutAny(1, need{r})
	c.PutText(2, string(r.Mode))
	return bt.Success
}

// replica finds the replica a port names. It holds for the tick, and is not to be changed.
func (l *leaves) replica(c *bt.Ctx, port int) (*Replica, bool) {
	name := c.Text(port)
	if l.asked == nil || l.askedName != name { // the leaves of a tree ask for the same, one after the other
		i, ok := l.named[name]
		if !ok {
			return nil, false
		}
		l.asked, l.askedName = &l.all[i], name
	}
	return l.asked, true
}

func (l *leaves) getReplica(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok {
		return c.Failf("%s is not desired any more", c.Text(0))
	}
	c.PutInt(1, int64(r.Index))
	c.PutText(2, r.Node)
	c.PutAny(3, need{r})
	c.PutText(4, string(r.Mode))
	l.publish(c, r.Index)
	return bt.Success
}

// pickServiceToCheck is for one tree that looks after all replicas.
func (l *leaves) pickServiceToCheck(c *bt.Ctx) bt.Status {
	var here []*Replica
	for i := range l.all {
		r := &l.all[i]
		if r.Node != "" && r.Op == "" {
			here = append(here, r)
		}
	}
	if len(here) == 0 {
		return bt.Failure
	}
	l.picked = (l.picked + 1) % len(here)
	r := here[l.picked]
	c.PutText(0, r.ID.String())
	c.PutText(1, r.Node)
	c.PutAny(2, need{r})
	c.PutText(3, string(r.Mode))
	return bt.Success
}

// publish writes a service and where it runs as the paper's figure 4 shows them. v4 ports cannot compute names, so
// leaves do.
func (l *leaves) publish(c *bt.Ctx, index int) {
	if l.wanted(index) && !l.figures[index].stale {
		return
	}
	service, policy := "", ""
	if l.shown[index] = true; l.wanted(index) {
		l.figures[index].stale = false
		service, policy = l.text(l.figures[index])
	}
	for key, text := range map[string]string{fmt.Sprintf("@Service%d", index): service, fmt.Sprintf("@Policy%d", index): policy} {
		if e := c.Entry(key); e != nil && text != e.String() && (text != "" || e.Kind() != board.Unset) {
			_ = e.Put(board.OfText(text), c.Now().UnixNano()) // only texts are ever put there
		}
	}
}

func (l *leaves) operationOfOthers(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok || r.Op == "" || own(r.Op) {
		return bt.Failure
	}
	c.Say("operation " + r.Op + " is in flight")
	return bt.Success
}

// ownOperation finds an operation of the trees nobody follows: of a manager before this one, or one that took longer
// than its leaf waited.
func (l *leaves) ownOperation(c *bt.Ctx) bt.Status {
	r, ok := l.replica(c, 0)
	if !ok || !own(r.Op) {
		return bt.Failure
	}
	c.PutText(1, r.Op)
	return bt.Success
}

func (l *leaves) notDeployed(c *bt.Ctx) bt.Status {
	if c.Text(0) != "" {
		return bt.Failure
	}
	c.Say("the intake tree deploys it")
	return bt.Success
}

func (l *leaves) rested(c *bt.Ctx) bt.Status {
	if left := l.resting(c.Text(0)); left > 0 {
		c.WakeAt(c.Now().Add(left))
		return c.Failf("again in %v", left)
	}
	return bt.Success
}

func (l *leaves) backOff(c *bt.Ctx) bt.Status {
	of := c.Text(0)
	wait, tries := l.failed(l.w, of)
	c.Say(fmt.Sprintf("again in %v", wait))
	l.audit(l.w, of, Entry{What: "rests", Text: fmt.Sprintf("try %d failed; again in %v", tries, wait), Path: c.Path()})
	return bt.Success
}
