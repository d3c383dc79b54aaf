// Package migrate decides the steps of a move: two value machines, one for the node that gives a replica away and
// one for the node that takes it.
//
// A machine is told what happened (an order came, the last action is done, it failed) and answers with the one next
// action. It has no clock, socket or goroutine; package orders carries the actions out. The recorded transcripts in
// testdata are the protocol: order, done, failed -> action.
//
// The commit rule: the source's journal record `committed` is the point of no return. Before it every failure leads
// back to the source, after it every failure leads forward to the target.
package migrate

import (
	"fmt"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// Act names what the source is to do next.
type Act string

const (
	// While the service goes on.
	Reserve     Act = "reserve"      // ask the target; it refuses or changes to migrating
	SendImage   Act = "send-image"   // unless the target has it
	SendVolumes Act = "send-volumes" // in bulk
	SendMemory  Act = "send-memory"  // live: pages of the running processes, in bulk; an armed start does not wait for ever
	SendRounds  Act = "send-rounds"  // what volumes changed meanwhile, until it is little; for warm it must become little
	Arm         Act = "arm"          // the target creates the container; live and warm: packets will be held; warm without data: it runs
	SendLayer   Act = "send-layer"   // live: the writable layer as it is now
	SendPages   Act = "send-pages"   // live: what changed of memory since, until little is left
	Ready       Act = "ready"        // live: CRIU begins at both ends and waits, here for the freeze, there for the image
	CancelPeer  Act = "cancel-peer"  // the target forgets the reservation

	// Inside the cut-over.
	Yield          Act = "yield"           // answer no ARP for the address
	Switch         Act = "switch"          // the target announces the address; packets are held there
	Drain          Act = "drain"           // answers under way leave; warm: what is asked is answered
	Mute           Act = "mute"            // send nothing more: a retransmission would outdate the dump (PAWS)
	Freeze         Act = "freeze"          // live: the processes stand still; the CRIU image begins, and is on its way as it grows
	Stop           Act = "stop"            // cold, and warm with data: SIGTERM, then SIGKILL
	SendDelta      Act = "send-delta"      // what changed in volumes since the bulk, and the writable layer
	Dump           Act = "dump"            // live: the CRIU image is complete
	SendCheckpoint Act = "send-checkpoint" // live: and all of it is sent
	Restore        Act = "restore"         // live: the target restores; else it starts what does not run yet, and probes
	Commit         Act = "commit"          // tell the target; it releases the packets

	// Backward, before the commit.
	AbortPeer Act = "abort-peer" // tell the target, if it still listens; it asks otherwise
	TakeBack  Act = "take-back"  // live: thaw, unmute, announce; else start again what was stopped, announce

	// Forward, after the commit.
	AwaitRelease Act = "await-release" // ask the target until it says that it serves
	Linger       Act = "linger"        // warm: connections that began here end here, within some time
	AwaitPages   Act = "await-pages"   // lazy: the frozen processes give their memory until the target has all of it
	Discard      Act = "discard"       // kill the frozen processes, remove container, holder and volumes

	Record Act = "record" // write Step to the journal, fsynced, before the next action
	Note   Act = "note"   // write Step to the journal; losing it is harmless
	Reply  Act = "reply"  // the order is answered: Err empty is good
	Again  Act = "again"  // wait a moment, then the same action once more
)

// Action is one thing to do. Step belongs to Record and Note, Err to Record(aborted, done) and Reply, Retry to Again.
type Action struct {
	Act   Act
	Step  journal.Step
	Retry Act
	Err   string
}

func (a Action) String() string {
	s := string(a.Act)
	if a.Step != "" {
		s += " " + string(a.Step)
	}
	if a.Retry != "" {
		s += " " + string(a.Retry)
	}
	if a.Err != "" {
		s += ": " + a.Err
	}
	return s
}

// Happened is what a machine is told.
type Happened string

const (
	Transfer Happened = "transfer" // orders of the manager
	Prewarm  Happened = "prewarm"
	Cutover  Happened = "cutover"
	Cancel   Happened = "cancel"
	Restart  Happened = "restart" // the agent starts again and finds an unfinished journal
	OK       Happened = "ok"      // the last action is done
	Failed   Happened = "failed"  // it failed, with Err
	Gone     Happened = "gone"    // lazy: the memory that is not there will not come any more, with Err why
)

// Input is one thing that happened. Settled belongs to a failed Record: the journal already says committed or aborted.
type Input struct {
	What    Happened
	Err     string
	Settled journal.Step
}

// Source is the machine of the node that gives the replica away.
//
//	idle --transfer--> bulk --prewarm--> armed --cutover--> nearing --> cutting --(record committed)--> forward --> finished
//	  |                  |                 |                   |           |
//	  +---- failure -----+- cancel --------+------ failure ----+           +-- failure --> backward --------------> finished
//	                     v
//	                cancelling --------------------------------------------------------------------------------> finished
//
// Until cutting begins nothing changes that matters: the service runs, and the target alone holds something.
type Source struct {
	mode  netmap.Mode
	data  bool // it has volumes
	lazy  bool // live: memory follows after the commit
	state state
	todo  []Action // todo[0] is the action given out last
	err   string   // why the move goes backward
	lost  string   // why the memory did not follow
}

type state string

const (
	idle       state = "idle"
	bulk       state = "bulk"
	armed      state = "armed"
	nearing    state = "nearing"
	cancelling state = "cancelling"
	cutting    state = "cutting"
	forward    state = "forward"
	backward   state = "backward"
	finished   state = "finished"
)

// NewSource begins a move; data says that the replica has volumes.
func NewSource(mode netmap.Mode, data bool) *Source {
	return &Source{mode: mode, data: data, state: idle}
}

// NewLazySource begins a live move whose memory follows after the commit.
func NewLazySource(data bool) *Source {
	return &Source{mode: netmap.Live, data: data, lazy: true, state: idle}
}

// ResumeSource takes up a move that the journal shows unfinished; the first input is Restart.
func ResumeSource(mode netmap.Mode, recs []journal.Record) *Source {
	s := &Source{mode: mode, lazy: lazy(recs), state: cutting} // from here on data makes no difference
	switch {
	case journal.Finished(recs):
		s.state = finished
	case journal.Last(recs) == journal.Released:
		s.state, s.todo = forward, s.released()
	case journal.Settled(recs) == journal.Committed:
		s.state, s.todo = forward, s.forward()
	case journal.Settled(recs) == journal.Aborted:
		s.state, s.err = backward, reason(recs)
		s.todo = s.backward(TakeBack)
	}
	return s
}

// lazy says whether memory follows after the commit, as the journal has it.
func lazy(recs []journal.Record) bool {
	facts := journal.FactsOf(recs)
	return facts != nil && facts.Lazy
}

// reason for which a move was taken back, as its journal says; never empty: an answer without a reason would be a good one.
func reason(recs []journal.Record) string {
	for _, r := range recs {
		if r.Step == journal.Aborted && r.Error != "" {
			return r.Error
		}
	}
	return "taken back before the agent restarted"
}

// Busy says that an action is out; an order that comes now is refused.
func (s *Source) Busy() bool { return len(s.todo) > 0 }

// Finished says that nothing is left to do.
func (s *Source) Finished() bool { return s.state == finished }

// Cutting says that the move can still be taken back, and must be soon if it does not come to its commit.
func (s *Source) Cutting() bool { return s.state == cutting }

// Guarded says that the service would be without an owner if this process died now: the helper watches.
func (s *Source) Guarded() bool {
	return s.mode != netmap.Cold && (s.state == cutting || s.state == backward)
}

// Lost says why the memory of a lazy move did not follow; the move stays committed.
func (s *Source) Lost() string { return s.lost }

// Next takes what happened and gives the next action.
func (s *Source) Next(in Input) Action {
	switch in.What {
	case OK:
		return s.done()
	case Failed:
		return s.failed(in)
	case Restart:
		return s.restart()
	case Gone:
		return s.gone(in)
	}
	return s.order(in.What)
}

func (s *Source) order(what Happened) Action {
	if s.Busy() {
		return refuse("the step before is still under way")
	}
	switch {
	case what == Transfer && s.state == idle:
		s.todo = acts(Reserve, SendImage, SendVolumes)
		if s.mode == netmap.Live {
			s.todo = append(s.todo, Action{Act: SendMemory})
		}
	case what == Prewarm && s.state == bulk:
		s.todo = s.prewarm()
	case what == Cutover && s.state == armed && s.mode == netmap.Live:
		s.state, s.todo = nearing, s.near()
	case what == Cutover && s.state == armed:
		s.state, s.todo = cutting, s.cutover()
	case what == Cancel && (s.state == bulk || s.state == armed):
		s.state = cancelling
		s.todo = acts(CancelPeer)
	default:
		return refuse(fmt.Sprintf("%s does not follow %s", what, s.state))
	}
	return s.todo[0]
}

func (s *Source) prewarm() []Action {
	if s.data && s.mode != netmap.Live {
		return acts(SendRounds, Arm)
	}
	return acts(Arm)
}

// near brings the target of a live move as near as it gets, right before the freeze.
func (s *Source) near() []Action {
	if s.data {
		return acts(SendRounds, SendLayer, SendPages, Ready)
	}
	return acts(SendLayer, SendPages, Ready)
}

func (s *Source) cutover() []Action {
	var list []Action
	switch {
	case s.mode == netmap.Warm && !s.data: // the second instance runs and waits for its first packet
		list = []Action{rec(journal.Prepared), {Act: Yield}, {Act: Switch}, note(journal.Switched)}
	case s.mode == netmap.Warm: // the last delta is taken when nobody writes any more
		list = []Action{rec(journal.Prepared), {Act: Yield}, {Act: Switch}, note(journal.Switched),
			{Act: Drain}, rec(journal.Frozen), {Act: Stop}, {Act: SendDelta}, note(journal.Sent)}
	case s.mode == netmap.Live:
		list = []Action{rec(journal.Prepared), {Act: Yield}, {Act: Switch}, note(journal.Switched), {Act: Drain}, {Act: Mute},
			rec(journal.Frozen), {Act: Freeze}, {Act: SendDelta}, {Act: Dump}, {Act: SendCheckpoint}, note(journal.Sent)}
	default: // cold: the address moves when the source has stopped; nobody holds packets
		list = []Action{rec(journal.Prepared), rec(journal.Frozen), {Act: Stop}, {Act: Yield}, {Act: Switch},
			note(journal.Switched), {Act: SendDelta}, note(journal.Sent)}
	}
	return append(list, Action{Act: Restore}, rec(journal.Restored), rec(journal.Committed), Action{Act: Commit})
}

// forward are the actions after the commit.
func (s *Source) forward() []Action {
	list := []Action{{Act: AwaitRelease}, rec(journal.Released)}
	if s.mode == netmap.Warm {
		list = append(list, Action{Act: Linger})
	}
	return append(list, s.released()...)
}

// released are those after the target serves; an agent that restarts then lets nothing linger.
func (s *Source) released() []Action {
	list := []Action{{Act: Discard}, rec(journal.Done)}
	if s.lazy {
		list = append(acts(AwaitPages), list...)
	}
	return list
}

// gone ends a lazy move that stays committed: the target had the service, and the copy here is older than what clients
// have seen of it.
func (s *Source) gone(in Input) Action {
	if len(s.todo) == 0 || s.todo[0].Act != AwaitPages {
		return refuse("no memory was to follow")
	}
	s.lost = in.Err
	s.todo = []Action{{Act: Discard}, {Act: Record, Step: journal.Done, Err: in.Err}}
	return s.todo[0]
}

// backward are the actions of a move taken back, from one of them on.
func (s *Source) backward(from Act) []Action {
	list := []Action{{Act: Record, Step: journal.Aborted, Err: s.err}, {Act: TakeBack}, {Act: AbortPeer}, rec(journal.Done)}
	if from == TakeBack {
		return list[1:]
	}
	return list
}

func (s *Source) restart() Action {
	if s.state == finished {
		return Action{Act: Reply}
	}
	if s.state == cutting { // nothing settled: the agent died before the commit
		s.err = "the agent restarted before the commit"
		s.state, s.todo = backward, s.backward(Record)
	}
	return s.todo[0]
}

func (s *Source) done() Action {
	if len(s.todo) == 0 {
		return refuse("nothing was under way")
	}
	last := s.todo[0]
	s.todo = s.todo[1:]
	if last.Act == Record && last.Step == journal.Committed {
		s.state = forward
	}
	if last.Act == Commit { // the target said released in the same conversation
		s.todo = s.forward()[1:]
	}
	if len(s.todo) > 0 {
		return s.todo[0]
	}
	switch s.state {
	case idle:
		s.state = bulk
	case bulk:
		s.state = armed
	case nearing:
		s.state, s.todo = cutting, s.cutover()
		return s.todo[0]
	case forward, backward, cancelling:
		s.state = finished
	}
	return Action{Act: Reply, Err: s.err}
}

func (s *Source) failed(in Input) Action {
	if len(s.todo) == 0 {
		return refuse("nothing was under way")
	}
	last := s.todo[0]
	switch s.state {
	case idle, bulk, nearing: // only the target holds something; the manager cancels or orders anew
		near := s.state == nearing
		s.err, s.state = in.Err, cancelling
		s.todo = acts(CancelPeer)
		if near { // whoever asks for the outcome of the cut-over shall hear it
			s.todo = []Action{{Act: Record, Step: journal.Aborted, Err: s.err}, {Act: CancelPeer}}
		}
		if last.Act == Reserve { // nothing was reserved
			s.state, s.todo = finished, nil
			return Action{Act: Reply, Err: s.err}
		}
	case cutting:
		s.err, s.state = in.Err, backward
		s.todo = s.backward(Record)
		if in.Settled == journal.Aborted { // the helper was faster: we had fallen silent
			s.todo = s.backward(TakeBack)
		}
	case forward:
		if last.Act == Commit { // the conversation broke; the target learns the outcome by asking
			s.todo = s.forward()
			return s.todo[0]
		}
		return Action{Act: Again, Retry: last.Act, Err: in.Err}
	case cancelling: // its reservation lapses
		return s.done()
	case backward:
		if last.Act == AbortPeer || in.Settled == journal.Aborted { // it asks; the helper wrote it
			return s.done()
		}
		return Action{Act: Again, Retry: last.Act, Err: in.Err}
	}
	return s.todo[0]
}

func acts(names ...Act) []Action {
	list := make([]Action, len(names))
	for i, n := range names {
		list[i].Act = n
	}
	return list
}

func rec(step journal.Step) Action { return Action{Act: Record, Step: step} }

func note(step journal.Step) Action { return Action{Act: Note, Step: step} }

func refuse(why string) Action { return Action{Act: Reply, Err: why} }
