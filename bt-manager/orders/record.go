package orders

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"sonic-netservices/bt-manager/bt"
	"sonic-netservices/bt-manager/decide"
	"sonic-netservices/bt-manager/trees"
	"sonic-netservices/netmap"
)

// Kind of a journal record. The comment says which fields of Record it has besides At.
type Kind string

const (
	Founded   Kind = "founded"   // Cluster: the first record of all
	Started   Kind = "started"   // Epoch: a manager began to lead
	Joined    Kind = "joined"    // Member: an agent announced itself, or something else than before
	Loaded    Kind = "loaded"    // Image: a name stands for an image
	Desired   Kind = "desired"   // Desire: an operator wants a service
	Begun     Kind = "begun"     // Op: an operation on one replica begins
	Stepped   Kind = "stepped"   // ID, Step, Node, Problem: the operation goes on with a step
	Lost      Kind = "lost"      // ID, Problem: no answer came to an order; what follows is Ask
	Ended     Kind = "ended"     // ID, End
	Admitted  Kind = "admitted"  // ID (of a service), Index: the trees look after it from now on
	Forgotten Kind = "forgotten" // ID (of a service): it is not wanted any more, and was nowhere
	Drained   Kind = "drained"   // Node, Drain: services are to stay away from a node, or may come again
	Rested    Kind = "rested"    // ID (of a replica or service), Rest: not tried again until then; none: it is over
	Ran       Kind = "ran"       // ID (of a tree: a replica, "" = intake), Run: what changed in its run; none: it has ended
	Planted   Kind = "planted"   // File: trees that runs are made with
	Told      Kind = "told"      // ID (of a tree), Hold: what operators have told it
	Summed    Kind = "summed"    // Sum: what all records before it say
)

// Record is one line of the journal. Whatever bt-manager knows follows from its records.
type Record struct {
	Kind    Kind         `json:"kind"`
	At      time.Time    `json:"at"`
	Epoch   uint64       `json:"epoch,omitempty"`
	Cluster *Cluster     `json:"cluster,omitempty"`
	Member  *Member      `json:"member,omitempty"`
	Image   *Image       `json:"image,omitempty"`
	Desire  *Desire      `json:"desire,omitempty"`
	Op      *Op          `json:"op,omitempty"`
	ID      string       `json:"id,omitempty"`
	Step    Step         `json:"step,omitempty"`
	Node    string       `json:"node,omitempty"`
	Problem string       `json:"problem,omitempty"`
	Index   int          `json:"index,omitempty"`
	Drain   bool         `json:"drain,omitempty"`
	End     *End         `json:"end,omitempty"`
	Rest    *decide.Rest `json:"rest,omitempty"`
	Run     *bt.Snapshot `json:"run,omitempty"`
	File    *trees.File  `json:"file,omitempty"`
	Hold    *decide.Hold `json:"hold,omitempty"`
	Sum     *Sum         `json:"sum,omitempty"`
}

// Encode writes a record as the journal stores it.
func (r Record) Encode() ([]byte, error) { return json.Marshal(r) }

// DecodeRecord reads what Encode wrote.
func DecodeRecord(text []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("record: %w", err)
	}
	has := map[Kind]bool{
		Founded: r.Cluster != nil, Started: true, Joined: r.Member != nil, Loaded: r.Image != nil, Desired: r.Desire != nil, Begun: r.Op != nil,
		Stepped: r.Step != "", Lost: true, Ended: r.End != nil, Summed: r.Sum != nil,
		Admitted: r.Index > 0, Forgotten: r.ID != "", Drained: r.Node != "",
		Rested: r.ID != "", Ran: true, Planted: r.File != nil, Told: r.Hold != nil,
	}
	if complete, known := has[r.Kind]; !known {
		return Record{}, fmt.Errorf("record kind %q is unknown to this version", r.Kind)
	} else if !complete {
		return Record{}, fmt.Errorf("record %s lacks what it tells", r.Kind)
	}
	return r, nil
}

// Cluster is the managers of one AS, as told apart from any others. Agents obey one.
type Cluster struct {
	ID   string `json:"id"` // random
	AS   string `json:"as,omitempty"`
	Anew bool   `json:"anew,omitempty"` // it takes the place of one that an operator has given up
}

// Member is one agent as it announced itself.
type Member struct {
	Node    string            `json:"node"`
	Address string            `json:"address"` // Loopback0
	Agent   string            `json:"agent"`   // host:port
	Helper  string            `json:"helper"`  // host:port
	Version string            `json:"version"`
	API     int               `json:"api"`
	Modes   []string          `json:"modes"`
	Cannot  map[string]string `json:"cannot,omitempty"` // mode -> why not
}

// Image is one name for one image; an image may have several names.
type Image struct {
	Name  string `json:"name"` // name:tag
	ID    string `json:"id"`   // sha256:...
	Bytes int64  `json:"bytes"`
}

// Desire is a service as an operator wants it. The image stays the one that had the name when the service was deployed.
type Desire struct {
	Spec    string `json:"spec"` // YAML in normal form, with secrets
	ImageID string `json:"image_id"`
	Lasts   bool   `json:"lasts,omitempty"` // placed by the trees, which try again until it is removed
}

// Verb is what an operation does to a replica.
type Verb string

const (
	Deploy Verb = "deploy"
	Remove Verb = "remove"
	Move   Verb = "move"
	Evict  Verb = "evict" // removes what a node still has of a replica that was placed again while it was lost
)

// Step of an operation. Each but Reach is an order to one agent.
//
//	deploy:  reach -> deploy            a node that refuses or is away: reach the next one
//	remove:  reach -> remove
//	evict:   reach -> remove
//	move:    reach -> transfer -> prewarm -> cutover
//	                     |           |
//	                     +-----------+---> cancel      until cutover a move can be taken back
//
// A move that a tree orders rests after transfer (transferred) and after prewarm (ready) until the tree lets it go on.
// Reach changes nothing: it sees whether the agent answers, and brings it the image of a deploy.
type Step string

const (
	StepReach    Step = "reach"
	StepDeploy   Step = "deploy"
	StepRemove   Step = "remove"
	StepTransfer Step = "transfer"
	StepPrewarm  Step = "prewarm"
	StepCutover  Step = "cutover"
	StepCancel   Step = "cancel"

	StepTransferred Step = "transferred" // rests
	StepReady       Step = "ready"       // rests
)

// rests says that nothing is under way at a step.
func (s Step) rests() bool { return s == StepTransferred || s == StepReady }

// Op is one operation on one replica. At most one per replica is in flight.
type Op struct {
	ID         string           `json:"id"`
	Verb       Verb             `json:"verb"`
	Replica    netmap.ReplicaID `json:"replica"`
	Node       string           `json:"node"`                 // deploy: the one tried now; remove: where it runs; move: the source
	To         string           `json:"to,omitempty"`         // move: the target
	Mode       netmap.Mode      `json:"mode,omitempty"`       // move
	Options    Options          `json:"options,omitzero"`     // move
	Candidates []string         `json:"candidates,omitempty"` // deploy: nodes not tried yet, best first
	Reason     string           `json:"reason"`               // of the choice of the node
	Gain       float64          `json:"gain,omitempty"`       // of the choice, when a tree made it
	Rests      bool             `json:"rests,omitempty"`      // move: a tree decides each step
	Step       Step             `json:"step"`
	Sent       int              `json:"sent,omitempty"`    // times that the order of Step went out
	Lost       bool             `json:"lost,omitempty"`    // an order was sent and its answer did not come
	Problem    string           `json:"problem,omitempty"` // what went wrong so far
	Started    time.Time        `json:"started"`
}

// Outcome of an operation that ended.
type Outcome string

const (
	Committed Outcome = "committed"
	Aborted   Outcome = "aborted" // nothing changed
)

// End is how an operation ended.
type End struct {
	Outcome Outcome    `json:"outcome"`
	Error   string     `json:"error,omitempty"`
	Code    codes.Code `json:"code,omitempty"`   // of a refusal or an absence; 0: it was tried
	GapMS   float64    `json:"gap_ms,omitempty"` // moves: traffic was held this long
	Bytes   int64      `json:"bytes,omitempty"`  // moves

	ExpectedMS float64 `json:"expected_ms,omitempty"` // moves: as told before the freeze
	Packets    int64   `json:"packets,omitempty"`     // moves: held

	Trace json.RawMessage `json:"trace,omitempty"` // moves: api.Move as JSON
}
