package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sonic-netservices/bt-manager/orders"
	"sonic-netservices/netmap"
)

// managerFile is a file of bt-manager's folder on a node, as this machine sees it.
func (n *node) managerFile(name string) string { return filepath.Join(n.Dir, netmap.ManagerDir, name) }

// managerRecords are the records of bt-manager's journal after the first skip.
func (s *stage) managerRecords(skip int) ([]orders.Record, error) {
	return s.leader().managerRecords(skip)
}

func (n *node) managerRecords(skip int) ([]orders.Record, error) {
	list, err := journalRecords(n.managerFile("journal"))
	return list[min(skip, len(list)):], err
}

// journalRecords reads a manager's journal beside the process that has it open: entries stand in the segments of its log
// as text. It is small here, and not summed up while a scenario runs.
func journalRecords(dir string) (list []orders.Record, err error) {
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
	if err != nil {
		return nil, err
	}
	slices.Sort(segments) // by the index of their first entry
	for _, segment := range segments {
		text, err := os.ReadFile(segment)
		if err != nil {
			return nil, err
		}
		for {
			begin := bytes.Index(text, []byte(`{"format":`))
			if begin < 0 {
				break
			}
			text = text[begin:]
			var entry struct{ Records []json.RawMessage }
			read := json.NewDecoder(bytes.NewReader(text))
			if err := read.Decode(&entry); err != nil { // the newest, which is being written
				break
			}
			text = text[read.InputOffset():]
			for _, record := range entry.Records {
				r, err := orders.DecodeRecord(record)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", segment, err)
				}
				list = append(list, r)
			}
		}
	}
	return list, nil
}

// awaitStep returns when the bt-manager of a node has written that an operation is at a step, after the first skip
// records.
func (n *node) awaitStep(ctx context.Context, w *watcher, skip int, step orders.Step) (op string, err error) {
	for {
		records, err := n.managerRecords(skip)
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
