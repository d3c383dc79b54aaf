package migrate

import (
	"fmt"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// Actions of the target; Record, Reply and Again are the source's.
const (
	CreateContainer Act = "create-container" // with the source's options, in a holder that is silent about the address
	Hold            Act = "hold"             // keep back packets in both directions
	ArmStart        Act = "arm-start"        // docker start, which waits for the checkpoint
	WarmUp          Act = "warm-up"          // warm: start, and probe within the time the service may take; with volumes, as arm-start
	Forward         Act = "forward"          // warm: connections that did not begin here go on to the source's holder
	Announce        Act = "announce"         // the address is here now
	RestoreHere     Act = "restore-here"     // give the armed start its word, wait, probe over loopback
	StartHere       Act = "start-here"       // cold and warm: start what does not run, probe until it serves
	Release         Act = "release"          // let the held packets go
	Adopt           Act = "adopt"            // the replica is this node's from now on
	DropHeld        Act = "drop-held"        // held packets belong to the source's connections: never answer them
	Remove          Act = "remove"           // container, holder, volumes
	Ask             Act = "ask"              // the source, its helper, the manager: how did it end?
)

// What the target is told besides OK, Failed and Restart.
const (
	Reserved  Happened = "reserve"
	Armed     Happened = "arm"
	Switched  Happened = "switch"
	Restoring Happened = "restore"
	Committed Happened = "committed" // the source's journal says so
	Aborted   Happened = "aborted"   // the source's journal says so
	Pages     Happened = "pages"     // lazy: it serves; its memory is to follow
	Lost      Happened = "lost"      // the conversation broke, or the reservation ran out
)

// Target is the machine of the node that takes the replica.
//
//	idle --reserve--> reserved --arm--> ready --switch--> taking --restore--> restored
//	                    |                    |                 |                    |
//	                    +------- aborted or lost: ask ---------+--------------------+--committed--> serving
//	                    v
//	                 leaving --> finished
//
// A lazy move goes on from serving to paging and is finished when all memory is there, or cannot come any more.
// From `ready` on it never decides by itself: a lost conversation makes it ask until the source's journal answers.
type Target struct {
	mode  netmap.Mode
	lazy  bool // live: memory follows after the commit
	state state
	todo  []Action
	why   string // the move is taken back
	fault string // the same, when it was this node that failed
}

const (
	reserved state = "reserved"
	ready    state = "ready"
	taking   state = "taking"
	restored state = "restored"
	asking   state = "asking"
	serving  state = "serving"
	paging   state = "paging"
	leaving  state = "leaving"
)

// NewTarget begins with a reservation.
func NewTarget(mode netmap.Mode) *Target { return &Target{mode: mode, state: idle} }

// NewLazyTarget begins a live move whose memory follows after the commit.
func NewLazyTarget() *Target { return &Target{mode: netmap.Live, lazy: true, state: idle} }

// ResumeTarget takes up a move that the journal shows unfinished; the first input is Restart.
func ResumeTarget(mode netmap.Mode, recs []journal.Record) *Target {
	t := &Target{mode: mode, lazy: lazy(recs)}
	switch {
	case journal.Finished(recs):
		t.state = finished
	case journal.Last(recs) == journal.Released:
		t.state, t.todo = serving, t.adopt()
	case journal.Settled(recs) == journal.Committed:
		t.state, t.todo = serving, t.serve()[1:]
	case journal.Settled(recs) == journal.Aborted:
		t.state, t.todo = leaving, t.leave()[1:]
	default:
		t.state, t.todo = asking, acts(Ask)
	}
	return t
}

// State is the paper's state of the replica here (section 2.4, figure 6).
func (t *Target) State() netmap.State {
	switch t.state {
	case reserved:
		return netmap.Migrating
	case ready, taking, restored, asking:
		return netmap.Ready
	case serving, paging:
		return netmap.Running
	}
	return netmap.Unloaded
}

// Finished says that nothing is left to do.
func (t *Target) Finished() bool { return t.state == finished }

// Paging says that the replica serves and its memory is still to come.
func (t *Target) Paging() bool { return t.state == paging }

// Guarded says that packets are held here, so that somebody must ask for the outcome if this process dies.
func (t *Target) Guarded() bool {
	return t.holds() && (t.state == taking || t.state == restored || t.state == asking || t.state == serving)
}

// holds says that the target keeps packets back until the source has committed.
func (t *Target) holds() bool { return t.mode != netmap.Cold }

// Next takes what happened and gives the next action.
func (t *Target) Next(in Input) Action {
	switch in.What {
	case OK:
		return t.done()
	case Failed:
		return t.failed(in)
	case Restart:
		if t.state == finished {
			return Action{Act: Reply}
		}
		return t.todo[0]
	case Committed:
		if t.state == restored || t.state == asking {
			return t.begin(serving, t.serve())
		}
	case Aborted:
		switch t.state {
		case reserved, ready, taking, restored, asking:
			t.why = in.Err
			return t.begin(leaving, t.leave())
		}
	case Pages:
		if t.state == paging && len(t.todo) == 0 {
			return t.begin(paging, []Action{{Act: AwaitPages}, rec(journal.Done)})
		}
	case Gone:
		if len(t.todo) > 0 && t.todo[0].Act == AwaitPages {
			return t.begin(paging, []Action{{Act: Record, Step: journal.Done, Err: in.Err}})
		}
	case Lost:
		switch t.state {
		case reserved, ready, taking, restored:
			return t.begin(asking, acts(Ask))
		}
	case Reserved:
		if t.state == idle {
			return t.begin(reserved, []Action{rec(journal.Reserved)})
		}
	case Armed:
		if t.state == reserved {
			list := acts(CreateContainer)
			switch t.mode {
			case netmap.Live:
				list = append(list, acts(Hold, ArmStart)...)
			case netmap.Warm:
				list = append(list, acts(Hold, WarmUp)...)
			}
			return t.begin(ready, append(list, rec(journal.Prepared)))
		}
	case Switched:
		if t.state == ready {
			list := acts(Announce)
			if t.mode == netmap.Warm {
				list = acts(Forward, Announce)
			}
			return t.begin(taking, list)
		}
	case Restoring:
		if t.state == taking {
			act := RestoreHere
			if t.mode != netmap.Live {
				act = StartHere
			}
			return t.begin(restored, []Action{{Act: act}, rec(journal.Restored)})
		}
	}
	return refuse(fmt.Sprintf("%s does not follow %s", in.What, t.state))
}

func (t *Target) begin(to state, list []Action) Action {
	t.state, t.todo = to, list
	return list[0]
}

func (t *Target) serve() []Action {
	list := []Action{rec(journal.Committed)}
	if t.holds() {
		list = append(list, Action{Act: Release})
	}
	return append(append(list, rec(journal.Released)), t.adopt()...)
}

func (t *Target) adopt() []Action {
	if t.lazy { // done when the memory is there
		return acts(Adopt)
	}
	return []Action{{Act: Adopt}, rec(journal.Done)}
}

func (t *Target) leave() []Action {
	list := []Action{{Act: Record, Step: journal.Aborted, Err: t.why}}
	if t.holds() {
		list = append(list, Action{Act: DropHeld})
	}
	return append(list, Action{Act: Remove}, rec(journal.Done))
}

func (t *Target) done() Action {
	if len(t.todo) == 0 {
		return refuse("nothing was under way")
	}
	t.todo = t.todo[1:]
	if len(t.todo) > 0 {
		return t.todo[0]
	}
	switch {
	case t.state == serving && t.lazy:
		t.state = paging
	case t.state == serving, t.state == paging, t.state == leaving:
		t.state = finished
	}
	return Action{Act: Reply, Err: t.fault}
}

func (t *Target) failed(in Input) Action {
	if len(t.todo) == 0 {
		return refuse("nothing was under way")
	}
	last := t.todo[0]
	switch t.state {
	case serving, paging, leaving, asking:
		if in.Settled != "" && last.Act == Record { // the helper wrote it while we were silent
			return t.done()
		}
		return Action{Act: Again, Retry: last.Act, Err: in.Err}
	case reserved, ready: // nothing is ours yet; the source hears it and goes on serving
		t.why, t.fault = in.Err, in.Err
		return t.begin(leaving, t.leave())
	}
	// taking, restored: the source is told and decides; its outcome comes as Aborted or by asking
	t.state, t.todo = taking, nil
	return Action{Act: Reply, Err: in.Err}
}
