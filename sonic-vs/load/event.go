package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Event is one move as the one who ordered it saw it: events.jsonl.
type Event struct {
	Kind   string    `json:"kind"` // live, warm, cold
	Move   int       `json:"move"` // 1, 2, ... within the load
	From   string    `json:"from"` // node
	To     string    `json:"to"`
	Begin  time.Time `json:"begin"` // the order was sent
	End    time.Time `json:"end"`   // it was answered
	Phases []Phase   `json:"phases,omitempty"`
}

// Phase is one step of a move as the agents report it.
type Phase struct {
	Name    string  `json:"name"`
	StartMS float64 `json:"start_ms"` // since the operation began
	TookMS  float64 `json:"took_ms"`
}

// AppendEvent writes a move beside the records of the load it happened in.
func AppendEvent(dir string, e Event) error {
	if err := e.check(); err != nil {
		return err
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, eventFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// ParseEvent reads one line of the event file.
func ParseEvent(line []byte) (Event, error) {
	var e Event
	if err := parseStrict(line, &e); err != nil {
		return e, err
	}
	return e, e.check()
}

func (e Event) check() error {
	if e.Kind == "" || e.Begin.IsZero() || e.End.Before(e.Begin) {
		return fmt.Errorf("move %d: no kind, or it ends before it begins", e.Move)
	}
	return nil
}
