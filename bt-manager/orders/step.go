package orders

import (
	"cmp"
	"encoding/json"
	"time"

	"google.golang.org/grpc/codes"
)

// Action is what an operation in flight needs next.
type Action struct {
	Ask  bool // the outcome of Step, whose answer was lost
	Rest bool // nothing: a tree lets the operation go on
	Step Step
	Node string // whose agent
}

// Next says what an operation in flight needs; ok is false when it has ended.
func (s *State) Next(id string) (a Action, ok bool) {
	op, ok := s.Ops[id]
	if !ok {
		return Action{}, false
	}
	return Action{Ask: op.Lost, Rest: op.Step.rests(), Step: op.Step, Node: op.Node}, true
}

// Answer is what came of an action.
type Answer string

const (
	Yes     Answer = "yes"     // done; to Ask: committed
	No      Answer = "no"      // tried and taken back; to Ask: aborted
	Refused Answer = "refused" // by the agent, with a code: nothing was done
	Silent  Answer = "silent"  // the agent cannot be reached, nothing was sent
	Broken  Answer = "broken"  // the order was sent, its answer did not come
	Pending Answer = "pending" // to Ask: still at work
	Stuck   Answer = "stuck"   // to Ask: pending at the same step for too long
	Unknown Answer = "unknown" // to Ask: no record of the operation
)

// Result is an answer with its details.
type Result struct {
	Answer Answer
	Error  string
	Code   codes.Code // of Refused
	GapMS  float64    // of a move that was done
	Bytes  int64

	ExpectedMS float64
	Packets    int64

	Trace json.RawMessage // of a move that ended, well or not
}

// Report says what follows from an answer to the newest action of an operation.
func (s *State) Report(at time.Time, id string, r Result) []Record {
	op := s.Ops[id]
	t := turn{state: s, at: at, op: op, r: r}
	switch {
	case op.Lost:
		t.asked()
	case op.Step == StepReach:
		t.reached()
	case r.Answer == Broken || r.Answer == Silent:
		t.lost()
	case op.Step == StepDeploy:
		t.deployed()
	case op.Step == StepRemove:
		t.removed()
	case op.Step == StepCancel:
		t.cancelled()
	default:
		t.moved()
	}
	return t.records
}

// sendings bounds how often an order is sent that never arrives.
const sendings = 3

// turn is one call of Report.
type turn struct {
	state   *State
	at      time.Time
	op      *Op
	r       Result
	records []Record
}

func (t *turn) step(to Step) {
	t.records = append(t.records, Record{Kind: Stepped, At: t.at, ID: t.op.ID, Step: to})
}

func (t *turn) lost() {
	r := Record{Kind: Lost, At: t.at, ID: t.op.ID}
	if t.op.Step != StepCancel { // there the problem is why it is cancelled
		r.Problem = t.r.Error
	}
	t.records = append(t.records, r)
}

func (t *turn) end(outcome Outcome, code codes.Code, message string) {
	end := &End{Outcome: outcome, Code: code, Error: message, Trace: t.r.Trace}
	if outcome == Committed {
		end.GapMS, end.Bytes, end.ExpectedMS, end.Packets = t.r.GapMS, t.r.Bytes, t.r.ExpectedMS, t.r.Packets
	}
	t.records = append(t.records, Record{Kind: Ended, At: t.at, ID: t.op.ID, End: end})
}

func (t *turn) committed() { t.end(Committed, codes.OK, "") }

// reached: the agent answers, or it does not and nothing was begun.
func (t *turn) reached() {
	if t.r.Answer != Yes {
		code := t.r.Code
		if t.r.Answer != Refused {
			code = codes.Unavailable
		}
		t.elsewhere(code)
		return
	}
	switch t.op.Verb {
	case Deploy:
		t.step(StepDeploy)
	case Remove, Evict:
		t.step(StepRemove)
	case Move:
		t.step(StepTransfer)
	}
}

// elsewhere goes on with the next node of a deploy, if there is one.
func (t *turn) elsewhere(code codes.Code) {
	problem := t.op.Node + ": " + t.r.Error
	if t.op.Problem != "" {
		problem = t.op.Problem + "; " + problem
	}
	for _, node := range t.op.Candidates {
		if t.state.crowded(t.op, node) {
			continue
		}
		t.records = append(t.records, Record{Kind: Stepped, At: t.at, ID: t.op.ID, Step: StepReach, Node: node, Problem: problem})
		return
	}
	t.end(Aborted, code, problem)
}

func (t *turn) deployed() {
	switch {
	case t.r.Answer == Yes:
		t.committed()
	case t.r.Answer == No:
		t.end(Aborted, codes.OK, t.op.Node+": "+t.r.Error)
	case t.r.Code == codes.InvalidArgument: // as wrong on every other node
		t.end(Aborted, t.r.Code, t.op.Node+": "+t.r.Error)
	default:
		t.elsewhere(t.r.Code)
	}
}

func (t *turn) removed() {
	switch {
	case t.r.Answer == Yes, t.r.Code == codes.NotFound: // what is not there need not be removed
		t.committed()
	default:
		t.end(Aborted, t.r.Code, t.op.Node+": "+t.r.Error)
	}
}

// moved: an answer to transfer, prewarm or cutover. Whatever fails before the commit is taken back on both sides.
func (t *turn) moved() {
	switch {
	case t.r.Answer == Yes && t.op.Step == StepTransfer && t.op.Rests:
		t.step(StepTransferred)
	case t.r.Answer == Yes && t.op.Step == StepPrewarm && t.op.Rests:
		t.step(StepReady)
	case t.r.Answer == Yes && t.op.Step == StepTransfer:
		t.step(StepPrewarm)
	case t.r.Answer == Yes && t.op.Step == StepPrewarm:
		t.step(StepCutover)
	case t.r.Answer == Yes:
		t.committed()
	case t.r.Answer == No:
		t.end(Aborted, codes.OK, t.r.Error)
	case t.op.Step == StepTransfer && t.r.Code != codes.Internal && t.op.Sent > 1: // what the first one began is over
		t.cancel(t.unheard() + "; sent again it is refused: " + t.r.Error)
	case t.op.Step == StepTransfer && t.r.Code != codes.Internal: // refused: nothing was begun
		t.end(Aborted, t.r.Code, t.r.Error)
	default:
		t.cancel(t.r.Error)
	}
}

func (t *turn) cancel(problem string) {
	t.records = append(t.records, Record{Kind: Stepped, At: t.at, ID: t.op.ID, Step: StepCancel, Problem: problem})
}

func (t *turn) cancelled() {
	if t.r.Answer == Refused { // it may be past the commit: the source knows
		t.lost()
		return
	}
	t.end(Aborted, codes.OK, t.op.Problem)
}

// again sends an order that never arrived. If it does arrive after all, the agent knows the repeat by its ID.
func (t *turn) again() {
	if t.op.Sent < sendings {
		t.step(t.op.Step)
		return
	}
	t.end(Aborted, codes.Unavailable, t.op.Node+": the order does not arrive: "+t.op.Problem)
}

// takeBack cancels a move whose answer was lost. The source refuses when the cutover is on its way after all.
func (t *turn) takeBack() {
	if t.op.Step == StepCancel {
		t.step(StepCancel)
		return
	}
	t.cancel(t.unheard())
}

// unheard is the problem of an order whose answer did not come.
func (t *turn) unheard() string {
	problem := "the answer to " + string(t.op.Step) + " was lost"
	if t.op.Problem != "" {
		problem += ": " + t.op.Problem
	}
	return problem
}

// asked: an answer about an order whose own answer was lost.
func (t *turn) asked() {
	step := t.op.Step
	switch {
	case t.r.Answer == Yes:
		t.committed()
	case t.r.Answer == No:
		t.end(Aborted, codes.OK, cmp.Or(t.r.Error, t.op.Problem, "the answer to "+string(step)+" was lost"))
	case t.r.Answer == Unknown && (step == StepDeploy || step == StepRemove || step == StepTransfer):
		t.again()
	case t.r.Answer == Unknown && step == StepCancel:
		t.end(Aborted, codes.OK, t.op.Problem)
	case t.r.Answer == Pending && t.op.Sent < sendings && step != StepDeploy && step != StepRemove:
		// The agent has the move. Whether the order of this step came to it is open: it knows a repeat, and goes on
		// telling what it does.
		t.step(step)
	case t.r.Answer == Unknown, t.r.Answer == Stuck && step != StepDeploy && step != StepRemove,
		t.r.Answer == Pending && (step == StepTransfer || step == StepPrewarm):
		t.takeBack()
	}
	// Otherwise the agent is at work or away: ask again.
}
