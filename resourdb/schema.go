package resourdb

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sonic-netservices/netmap"
)

// Tables. Each has one writer; rows are hashes of strings, key parts are joined with "|".
// resources.go has the others; testdata/schema.golden shows one row of each as redis-cli prints it.
const (
	AgentTable     = "RESOUR_AGENT"     // |node                   mig-agent
	InstanceTable  = "RESOUR_INSTANCE"  // |service|replica|node   mig-agent
	ServiceTable   = "RESOUR_SERVICE"   // |service                bt-manager
	PolicyTable    = "RESOUR_POLICY"    // |service|replica        bt-manager
	MigrationTable = "RESOUR_MIGRATION" // |id                     bt-manager, the last MigrationsKept
	ManagerTable   = "RESOUR_MANAGER"   // |leader                 bt-manager
)

// MigrationsKept bounds RESOUR_MIGRATION: SNMP's agent walks all keys of this database every 5 s.
const MigrationsKept = 1000

// Row is one row of resour_DB. Times are RFC 3339 with milliseconds in UTC, sizes bytes, lists joined by commas.
type Row interface {
	Table() string
	Parts() []string // of the key, after the table
	Row() map[string]string
}

// Agent says what one node's mig-agent can do.
type Agent struct {
	Node    string
	Addr    string                 // host:port of its gRPC services
	CRIU    string                 // version, "" when there is none
	From    string                 // criu_from: host, or bundle: brought along by the agent's image
	Runtime string                 // OCI runtime that live uses
	Modes   []netmap.Mode          // it can do
	Cannot  map[netmap.Mode]string // why not: cannot_<mode>
}

func (Agent) Table() string     { return AgentTable }
func (a Agent) Parts() []string { return []string{a.Node} }

func (a Agent) Row() map[string]string {
	modes := make([]string, len(a.Modes))
	for i, m := range a.Modes {
		modes[i] = string(m)
	}
	row := map[string]string{"addr": a.Addr, "criu": a.CRIU, "criu_from": a.From, "runtime": a.Runtime, "modes": strings.Join(modes, ",")}
	for mode, why := range a.Cannot {
		row["cannot_"+string(mode)] = why
	}
	return row
}

// ParseAgent reads what Row wrote.
func ParseAgent(key string, row map[string]string) (Agent, error) {
	p := parse(AgentTable, key, 1, row)
	a := Agent{Node: p.part(0), Addr: p.text("addr"), CRIU: p.text("criu"), From: p.text("criu_from"), Runtime: p.text("runtime")}
	for _, s := range p.list("modes") {
		a.Modes = append(a.Modes, into(p, "modes", s, netmap.ParseMode))
	}
	for f, why := range row {
		if s, ok := strings.CutPrefix(f, "cannot_"); ok {
			if a.Cannot == nil {
				a.Cannot = map[netmap.Mode]string{}
			}
			a.Cannot[into(p, f, s, netmap.ParseMode)] = why
		}
	}
	return a, p.err
}

// Instance is one replica on one node as that node's agent sees it.
type Instance struct {
	ID        netmap.ReplicaID
	Node      string
	State     netmap.State
	Container string
	Address   string    // in the service segment, prefix
	Since     time.Time // it is in this state
	Op        string    // operation that led to this state
	Problem   string    // what its agent sees wrong with it: a second owner of its address; "" = nothing, and no field
}

func (Instance) Table() string { return InstanceTable }
func (i Instance) Parts() []string {
	return []string{i.ID.Service, strconv.Itoa(i.ID.Replica), i.Node}
}

func (i Instance) Row() map[string]string {
	row := map[string]string{"state": string(i.State), "container": i.Container, "address": i.Address,
		"since": stamp(i.Since), "op": i.Op}
	if i.Problem != "" {
		row["problem"] = i.Problem
	}
	return row
}

// ParseInstance reads what Row wrote.
func ParseInstance(key string, row map[string]string) (Instance, error) {
	p := parse(InstanceTable, key, 3, row)
	i := Instance{
		ID: p.replica(), Node: p.part(2),
		State:     into(p, "state", p.text("state"), netmap.ParseState),
		Container: p.text("container"), Address: p.text("address"), Since: p.time("since"), Op: p.text("op"),
		Problem: row["problem"],
	}
	return i, p.err
}

// Service is what an operator asked for: the spec, without secrets and environment.
type Service struct {
	Name      string
	Image     string // name:tag, for people
	ImageID   string // sha256:...
	Replicas  int
	Address   string             // in the service segment, prefix, of replica 0
	Migration netmap.Mode        // how it moves unless the order says otherwise
	Probe     string             // "http :8080/healthz", "tcp :8080" or "exec COMMAND"; "" = none
	ProbeEach time.Duration      // probe_interval in ms; 0 = 1 s
	ProbeTime time.Duration      // probe_timeout in ms; 0 = 1 s
	Failures  int                // probe_failures in a row that make it unhealthy; 0 = 3
	Volumes   []string           // name:/path
	Demand    map[string]float64 // by resource kind, in its unit: demand_<kind>
}

func (Service) Table() string     { return ServiceTable }
func (s Service) Parts() []string { return []string{s.Name} }

func (s Service) Row() map[string]string {
	row := map[string]string{"image": s.Image, "image_id": s.ImageID, "replicas": strconv.Itoa(s.Replicas),
		"address": s.Address, "migration": string(s.Migration), "probe": s.Probe, "volumes": strings.Join(s.Volumes, ",")}
	if s.ProbeEach != 0 {
		row["probe_interval"] = millis(s.ProbeEach)
	}
	if s.ProbeTime != 0 {
		row["probe_timeout"] = millis(s.ProbeTime)
	}
	if s.Failures != 0 {
		row["probe_failures"] = strconv.Itoa(s.Failures)
	}
	for kind, amount := range s.Demand {
		row["demand_"+kind] = number(amount)
	}
	return row
}

// ParseService reads what Row wrote.
func ParseService(key string, row map[string]string) (Service, error) {
	p := parse(ServiceTable, key, 1, row)
	s := Service{
		Name: p.part(0), Image: p.text("image"), ImageID: p.text("image_id"), Replicas: int(p.integer("replicas")),
		Address: p.text("address"), Migration: into(p, "migration", p.text("migration"), netmap.ParseMode),
		Probe: p.text("probe"), Volumes: p.list("volumes"),
		ProbeEach: p.millis("probe_interval"), ProbeTime: p.millis("probe_timeout"), Failures: int(p.number32("probe_failures")),
	}
	for f := range row {
		if kind, ok := strings.CutPrefix(f, "demand_"); ok {
			if s.Demand == nil {
				s.Demand = map[string]float64{}
			}
			s.Demand[kind] = p.amount(f)
		}
	}
	return s, p.err
}

// Policy says where a replica runs and why.
type Policy struct {
	ID      netmap.ReplicaID
	Node    string
	Reason  string
	Gain    float64 // of the decision over staying; 0 when there was no choice
	Epoch   uint64
	Decided time.Time
}

func (Policy) Table() string     { return PolicyTable }
func (p Policy) Parts() []string { return []string{p.ID.Service, strconv.Itoa(p.ID.Replica)} }

func (p Policy) Row() map[string]string {
	return map[string]string{"node": p.Node, "reason": p.Reason, "gain": number(p.Gain),
		"epoch": strconv.FormatUint(p.Epoch, 10), "decided": stamp(p.Decided)}
}

// ParsePolicy reads what Row wrote.
func ParsePolicy(key string, row map[string]string) (Policy, error) {
	p := parse(PolicyTable, key, 2, row)
	policy := Policy{ID: p.replica(), Node: p.text("node"), Reason: p.text("reason"), Gain: p.float("gain"),
		Epoch: p.epoch(), Decided: p.time("decided")}
	return policy, p.err
}

// Migration is one move of one replica.
type Migration struct {
	Op      string // operation id
	ID      netmap.ReplicaID
	From    string
	To      string
	Mode    netmap.Mode
	Phase   string  // newest phase
	Outcome string  // pending, committed, aborted
	GapMS   float64 // traffic held for this long
	Bytes   int64   // moved altogether
	Started time.Time
	Ended   time.Time // zero while it goes on

	ExpectedMS float64 // traffic was expected to be held, as told before the freeze
	Packets    int64   // held
	Reason     string  // it was begun
	Trace      string  // api.Move as JSON: phases, rounds, CRIU's statistics, notes; "" of older moves
}

func (Migration) Table() string     { return MigrationTable }
func (m Migration) Parts() []string { return []string{m.Op} }

func (m Migration) Row() map[string]string {
	return map[string]string{"service": m.ID.Service, "replica": strconv.Itoa(m.ID.Replica), "from": m.From, "to": m.To,
		"mode": string(m.Mode), "phase": m.Phase, "outcome": m.Outcome, "gap_ms": number(m.GapMS),
		"bytes": strconv.FormatInt(m.Bytes, 10), "started": stamp(m.Started), "ended": stamp(m.Ended),
		"expected_ms": number(m.ExpectedMS), "packets_held": strconv.FormatInt(m.Packets, 10), "reason": m.Reason, "trace": m.Trace}
}

// ParseMigration reads what Row wrote.
func ParseMigration(key string, row map[string]string) (Migration, error) {
	p := parse(MigrationTable, key, 1, row)
	m := Migration{
		Op: p.part(0), ID: netmap.ReplicaID{Service: p.text("service"), Replica: int(p.integer("replica"))},
		From: p.text("from"), To: p.text("to"), Mode: into(p, "mode", p.text("mode"), netmap.ParseMode),
		Phase: p.text("phase"), Outcome: p.outcome(), GapMS: p.float("gap_ms"), Bytes: p.integer("bytes"),
		Started: p.time("started"), Ended: p.time("ended"), Reason: p.text("reason"), Trace: p.text("trace"),
		ExpectedMS: p.float("expected_ms"), Packets: p.integer("packets_held"),
	}
	return m, p.err
}

func (p *parser) outcome() string {
	s := p.text("outcome")
	switch s {
	case "pending", "committed", "aborted":
	default:
		p.fail("outcome", fmt.Errorf("%q: want pending, committed or aborted", s))
	}
	return s
}

// Manager says who leads the AS.
type Manager struct {
	Node    string
	Addr    string // host:port
	Epoch   uint64 // of its newest start; agents refuse an older one
	Cluster string // it leads; a manager of another one is not to begin beside it
}

func (Manager) Table() string   { return ManagerTable }
func (Manager) Parts() []string { return []string{"leader"} }

func (m Manager) Row() map[string]string {
	return map[string]string{"node": m.Node, "addr": m.Addr, "epoch": strconv.FormatUint(m.Epoch, 10), "cluster": m.Cluster}
}

// ParseManager reads what Row wrote.
func ParseManager(key string, row map[string]string) (Manager, error) {
	p := parse(ManagerTable, key, 1, row)
	m := Manager{Node: p.text("node"), Addr: p.text("addr"), Epoch: p.epoch(), Cluster: p.text("cluster")}
	return m, p.err
}
