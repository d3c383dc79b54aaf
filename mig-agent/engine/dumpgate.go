package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A dump waits at its gate: CRIU's action script, which it runs before it looks at the process to dump, reads a FIFO.
//
//	word, from the Dumper       CRIU goes on
//	end: it is not wanted       CRIU gives up, having done nothing
//
// The container's own configuration stays as it is: CRIU takes what the environment names beside it.
const (
	criuConfigEnv = "CRIU_CONFIG_FILE"
	gateWord      = "go\n"
)

func (h Host) gateFile(op string) string { return filepath.Join(h.workFolder(op), "gate") }

// raiseGate makes the gate of a dump, and the configuration that leads CRIU to it.
func (h Host) raiseGate(op string) (gate *os.File, config string, err error) {
	fifo := h.gateFile(op)
	script, config := fifo+".sh", fifo+".conf"
	text := fmt.Sprintf("#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" != pre-dump ] || { read -r word <'%s' && [ \"$word\" = go ]; }\n", fifo)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		return nil, "", fmt.Errorf("gate: %w", err)
	}
	if err := os.WriteFile(config, []byte("action-script "+script+"\n"), 0o600); err != nil {
		return nil, "", fmt.Errorf("gate: %w", err)
	}
	if err := os.Remove(fifo); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an earlier try, with its word
		return nil, "", fmt.Errorf("gate: %w", err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		return nil, "", fmt.Errorf("gate: %w", err)
	}
	gate, err = os.OpenFile(fifo, os.O_RDWR, 0) // so that the word can be there before its reader
	if err != nil {
		return nil, "", fmt.Errorf("gate: %w", err)
	}
	return gate, config, nil
}

// leaveGate ends the waiting at a gate: of who is there, and of who is on the way.
func (h Host) leaveGate(op string) {
	f, err := os.OpenFile(h.gateFile(op), os.O_RDWR, 0) // who waits for a writer has one
	if err != nil {
		return
	}
	os.Remove(f.Name()) // who comes later finds no gate
	f.Close()
}
