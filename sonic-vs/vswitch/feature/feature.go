// Package feature decides when a feature's container is started, as featured and systemd do on a switch.
//
// It reads nothing and writes nothing: inputs are wishes, exits and the time, output is the next action.
// It is told by the switch, which does what it says to Docker.
package feature

import (
	"slices"
	"time"
)

// Rule is the restart rule of a systemd unit.
type Rule struct {
	RestartSec time.Duration // pause before a restart; SONiC: 30 s
	Burst      int           // starts that are allowed ...
	Window     time.Duration // ... within this time; SONiC: 3 in 1200 s
}

// State of a feature.
type State string

const (
	Stopped  State = "stopped"
	Starting State = "starting" // Start was said, its result is not known
	Running  State = "running"
	Waiting  State = "waiting" // for RestartSec
	Failed   State = "failed"  // too many starts, or ended without auto_restart
	Stopping State = "stopping"
)

// Action is what the switch has to do now.
type Action string

const (
	Nothing Action = ""
	Start   Action = "start"
	Stop    Action = "stop"
)

// Machine is one feature:
//
//	          enabled               Started              Ended
//	Stopped ----------> Starting ----------> Running -------------> Waiting --RestartSec--> Starting
//	   ^                   | Ended              |                      |
//	   |                   +-----> Waiting      | auto_restart off:    | limit reached:
//	   |                                        +-----> Failed         +-----> Failed
//	   +---- Ended ---- Stopping <---- disabled, from Starting and Running
//	   +------------------------------ disabled, from Waiting and Failed
//
// A feature that is disabled and enabled again begins with a fresh count of starts, as after `systemctl reset-failed`.
type Machine struct {
	Rule Rule

	state       State
	enabled     bool
	autoRestart bool
	starts      []time.Time // within Window
	due         time.Time   // while Waiting
}

// New gives a stopped, disabled feature.
func New(rule Rule) *Machine { return &Machine{Rule: rule, state: Stopped} }

// State tells where the feature is.
func (m *Machine) State() State { return m.state }

// Want takes the operator's wish.
func (m *Machine) Want(enabled, autoRestart bool) {
	if enabled && !m.enabled {
		m.starts = nil
	}
	m.enabled, m.autoRestart = enabled, autoRestart
}

// Started tells that the start worked.
func (m *Machine) Started() {
	if m.state == Starting {
		m.state = Running
	}
}

// Ended tells that the container is not running any more, or that its start failed.
func (m *Machine) Ended(now time.Time) {
	switch m.state {
	case Stopping:
		m.state = Stopped
	case Starting, Running:
		if m.enabled && m.autoRestart {
			m.state, m.due = Waiting, now.Add(m.Rule.RestartSec)
		} else {
			m.state = Failed
		}
	}
}

// Next gives the action of now; it is said once. Wake is when to ask again although nothing happened, zero = never.
func (m *Machine) Next(now time.Time) (act Action, wake time.Time) {
	if !m.enabled {
		switch m.state {
		case Starting, Running:
			m.state = Stopping
			return Stop, time.Time{}
		case Waiting, Failed:
			m.state = Stopped
		}
		return Nothing, time.Time{}
	}
	switch m.state {
	case Stopped:
		return m.start(now), time.Time{}
	case Waiting:
		if now.Before(m.due) {
			return Nothing, m.due
		}
		return m.start(now), time.Time{}
	}
	return Nothing, time.Time{}
}

// start counts a start against the limit.
func (m *Machine) start(now time.Time) Action {
	m.starts = slices.DeleteFunc(m.starts, func(t time.Time) bool { return now.Sub(t) >= m.Rule.Window })
	if len(m.starts) >= m.Rule.Burst {
		m.state = Failed
		return Nothing
	}
	m.starts = append(m.starts, now)
	m.state = Starting
	return Start
}
