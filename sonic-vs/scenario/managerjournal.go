package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/netmap"
)

// managerFile is a file of bt-manager's folder, as this machine sees it.
func (s *stage) managerFile(name string) string {
	return filepath.Join(s.leader().Dir, netmap.ManagerDir, name)
}

// managerRecords are the records of bt-manager's journal after the first skip. It is small here: it is not rewritten
// while a scenario runs.
func (s *stage) managerRecords(skip int) (list []orders.Record, err error) {
	text, err := os.ReadFile(s.managerFile("journal"))
	if err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, line := range lines[:len(lines)-1] { // behind the last end of line is nothing, or half a record
		if i < skip {
			continue
		}
		var envelope struct{ Record json.RawMessage }
		if err := json.Unmarshal(line, &envelope); err != nil {
			return nil, fmt.Errorf("line %d of bt-manager's journal: %w", i+1, err)
		}
		r, err := orders.DecodeRecord(envelope.Record)
		if err != nil {
			return nil, fmt.Errorf("line %d of bt-manager's journal: %w", i+1, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// awaitStep returns when bt-manager has written that an operation is at a step, after the first skip records.
func (s *stage) awaitStep(ctx context.Context, w *watcher, skip int, step orders.Step) (op string, err error) {
	for {
		records, err := s.managerRecords(skip)
		if err != nil {
			return "", err
		}
		for _, r := range records {
			if r.Kind == orders.Stepped && r.Step == step {
				return r.ID, nil
			}
		}
		if err := w.next(ctx); err != nil {
			return "", err
		}
	}
}

// begun lists the operations of a verb on a replica that bt-manager's records begin, and how each ended: "" = not yet.
func begun(records []orders.Record, replica string, verb orders.Verb) (ops []orders.Op, outcomes []orders.Outcome) {
	ended := map[string]orders.Outcome{}
	for _, r := range records {
		if r.Kind == orders.Ended {
			ended[r.ID] = r.End.Outcome
		}
	}
	for _, r := range records {
		if r.Kind == orders.Begun && r.Op.Verb == verb && r.Op.Replica.String() == replica {
			ops, outcomes = append(ops, *r.Op), append(outcomes, ended[r.Op.ID])
		}
	}
	return ops, outcomes
}
