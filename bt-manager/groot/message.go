package groot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"sonic-netservices/bt-manager/bt"
)

// Kind of a request, and of the reply to it.
type Kind byte

const (
	FullTree        Kind = 'T' // XML of the tree
	StatusOfAll     Kind = 'S' // {u16 uid, u8 status} of every node; IDLE as 10 + the status before, 0 before the first
	Blackboards     Kind = 'B' // body "sub1;sub2": MessagePack map of blackboards
	InsertHook      Kind = 'I' // body: JSON of a Hook, or of a list of them
	RemoveHook      Kind = 'R' // body: JSON uid, position
	UnlockHook      Kind = 'U' // body: JSON of an Unlock
	RemoveAllHooks  Kind = 'A'
	DisableAllHooks Kind = 'X'
	DumpHooks       Kind = 'D' // JSON of all hooks
	Record          Kind = 'r' // body "start" (answered with the time in us since 1970) or "stop"
	Transitions     Kind = 't' // {u48 us since the start, u16 uid, u8 status} of the last 1,000 recorded, each given once
	Reached         Kind = 'N' // on the PUB socket: a hook was reached; second part: its uid in decimal
)

const (
	protocol   = 2
	headerSize = 6
	idSize     = 16
)

// Header begins every request.
type Header struct {
	Kind Kind
	ID   uint32 // the reply has the same
}

func (h Header) bytes() []byte {
	return binary.LittleEndian.AppendUint32([]byte{protocol, byte(h.Kind)}, h.ID)
}

func parseHeader(b []byte) (Header, error) {
	if len(b) != headerSize {
		return Header{}, errors.New("wrong request header") // in the words of BehaviorTree.CPP
	}
	return Header{Kind(b[1]), binary.LittleEndian.Uint32(b[2:])}, nil
}

// TreeID changes whenever another tree is shown: another replica's, or a new one after a reload.
type TreeID [idSize]byte

// Mode of a hook.
type Mode int

const (
	Break   Mode = 0 // hold the tree until the hook is unlocked
	Replace Mode = 1 // answer Desired at once
)

// Hook is a breakpoint, or an answer in place of a node's. Desired counts if it is SUCCESS or FAILURE; otherwise the node
// gives its own answer. JSON names in the order in which BehaviorTree.CPP writes them.
type Hook struct {
	Desired  string `json:"desired_status"`
	Enabled  bool   `json:"enabled"`
	Mode     Mode   `json:"mode"`
	Once     bool   `json:"once"`     // it goes when it has been passed
	Position int    `json:"position"` // bt.Place
	UID      uint16 `json:"uid"`
}

// Unlock lets a held node go on.
type Unlock struct {
	Desired  string `json:"desired_status"`
	Position int    `json:"position"`
	Remove   bool   `json:"remove_when_done"`
	UID      uint16 `json:"uid"`
}

// parseHooks reads one hook or a list of them. Every field must be there, as BehaviorTree.CPP wants it.
func parseHooks(body []byte) ([]Hook, error) {
	type wire struct {
		Desired  *string `json:"desired_status"`
		Enabled  *bool   `json:"enabled"`
		Mode     *Mode   `json:"mode"`
		Once     *bool   `json:"once"`
		Position *int    `json:"position"`
		UID      *uint16 `json:"uid"`
	}
	var list []wire
	if body = bytes.TrimSpace(body); !bytes.HasPrefix(body, []byte("[")) {
		list = make([]wire, 1)
		if err := json.Unmarshal(body, &list[0]); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	hooks := make([]Hook, len(list))
	for i, w := range list {
		for _, f := range []struct {
			name    string
			missing bool
		}{{"desired_status", w.Desired == nil}, {"enabled", w.Enabled == nil}, {"mode", w.Mode == nil}, {"once", w.Once == nil},
			{"position", w.Position == nil}, {"uid", w.UID == nil}} {
			if f.missing {
				return nil, fmt.Errorf("hook %d: %s is missing", i+1, f.name)
			}
		}
		h := Hook{*w.Desired, *w.Enabled, *w.Mode, *w.Once, *w.Position, *w.UID}
		if err := h.check(); err != nil {
			return nil, fmt.Errorf("hook %d: %w", i+1, err)
		}
		hooks[i] = h
	}
	return hooks, nil
}

func (h Hook) check() error {
	if h.Mode != Break && h.Mode != Replace {
		return fmt.Errorf("mode %d: want 0 (break) or 1 (replace)", h.Mode)
	}
	if _, err := bt.ParseStatus(h.Desired); err != nil {
		return fmt.Errorf("desired_status: %w", err)
	}
	return checkPosition(h.Position)
}

func checkPosition(p int) error {
	if p != int(bt.Before) && p != int(bt.After) {
		return fmt.Errorf("position %d: want 0 (before) or 1 (after)", p)
	}
	return nil
}

// parseUnlock reads what lets a node go, or with place only, which hook is meant.
func parseUnlock(body []byte, place bool) (Unlock, error) {
	var w struct {
		Desired  *string `json:"desired_status"`
		Position *int    `json:"position"`
		Remove   *bool   `json:"remove_when_done"`
		UID      *uint16 `json:"uid"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return Unlock{}, err
	}
	switch {
	case w.UID == nil:
		return Unlock{}, errors.New("uid is missing")
	case w.Position == nil:
		return Unlock{}, errors.New("position is missing")
	case place:
		return Unlock{Position: *w.Position, UID: *w.UID}, checkPosition(*w.Position)
	case w.Desired == nil:
		return Unlock{}, errors.New("desired_status is missing")
	case w.Remove == nil:
		return Unlock{}, errors.New("remove_when_done is missing")
	}
	return Unlock{*w.Desired, *w.Position, *w.Remove, *w.UID}, checkPosition(*w.Position)
}
