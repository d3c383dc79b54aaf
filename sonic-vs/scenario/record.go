package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/sonic-vs/load"
)

// kill is one case of agent-kill: a line of kills.jsonl.
type kill struct {
	Case      string       `json:"case"`
	Victim    string       `json:"victim"`
	Node      string       `json:"node"` // of the victim
	Step      journal.Step `json:"step"`
	PID       int          `json:"pid"` // as this machine counts
	Op        string       `json:"op"`
	KilledAt  time.Time    `json:"killed_at"`
	SettledMS int64        `json:"settled_ms"` // from the kill
	Owner     string       `json:"owner"`
	Outcome   string       `json:"outcome"` // committed, aborted
	Failed    int          `json:"failed_requests"`
	Broken    int          `json:"broken_connections"`
	GapMS     float64      `json:"gap_ms"`
	Faults    []string     `json:"faults"`
}

// judge takes over what the clients saw, and what must not be in it.
func (s *stage) judge(report load.Report, cases []kill) {
	for _, m := range report.Moves {
		k := &cases[m.Move-1]
		k.Failed, k.Broken, k.GapMS = m.Failed, m.Broken, m.GapMS.Milliseconds()
	}
	for _, p := range report.Problems {
		s.fault("load: %s", p)
	}
	for _, p := range report.Parts {
		switch {
		case p.Lost == nil || p.Duplicate == nil:
			s.fault("load: no copy of the volume")
		case *p.Lost != 0 || *p.Duplicate != 0:
			s.fault("load: %d lost keys, %d keys answered twice", *p.Lost, *p.Duplicate)
		}
		if len(p.BootIDs) != 1 {
			s.fault("load: %d boot ids: the service was started anew", len(p.BootIDs))
		}
		s.say("load: %d requests, %d failed, %d broken connections, serials %d to %d",
			p.Requests, p.Failed, p.Broken, p.Serials[0], p.Serials[1])
	}
}

// table prints all cases.
func (s *stage) table(cases []kill) {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KILLED\tAT\tPID\tOUTCOME\tOWNER\tSETTLED-MS\tGAP-MS\tFAILED\tBROKEN\tFAULTS")
	for _, k := range cases {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%.0f\t%d\t%d\t%d\n",
			k.Victim, k.Step, k.PID, k.Outcome, k.Owner, k.SettledMS, k.GapMS, k.Failed, k.Broken, len(k.Faults))
	}
	w.Flush() // into memory: cannot fail
	s.say("%s", strings.TrimRight(text.String(), "\n"))
}

func writeKills(dir string, cases []kill) error {
	f, err := os.Create(filepath.Join(dir, "kills.jsonl"))
	if err != nil {
		return err
	}
	e := json.NewEncoder(f)
	for _, k := range cases {
		err = errors.Join(err, e.Encode(k))
	}
	return errors.Join(err, f.Close())
}
