package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sonic-netservices/api"
)

// watcher shows the phases of a move as they go on: how much of a phase is done, how fast, and what freeze to expect. On
// a terminal the line of a phase is written over; elsewhere each event is a line.
type watcher struct {
	out      io.Writer
	rewrites bool
	phase    string // of the newest line
	since    int64  // ms, when the phase began
	width    int    // of the newest line, on a terminal
}

func newWatcher(out io.Writer) *watcher {
	f, ok := out.(*os.File)
	terminal := false
	if ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		terminal = err == nil
	}
	return &watcher{out: out, rewrites: terminal}
}

func (w *watcher) show(e *api.Event) {
	again := e.Phase == w.phase
	if !again {
		w.phase, w.since = e.Phase, e.AtMs
	}
	line := strings.TrimRight(fmt.Sprintf("%8d ms  %-9s %s", e.AtMs, e.Phase, w.text(e)), " ")
	if !w.rewrites {
		fmt.Fprintln(w.out, line)
		return
	}
	switch {
	case again:
		fmt.Fprintf(w.out, "\r%-*s", w.width, line)
	case w.width > 0:
		fmt.Fprintf(w.out, "\n%s", line)
	default:
		fmt.Fprint(w.out, line)
	}
	w.width = len(line)
}

// text is what an event says beside its phase.
func (w *watcher) text(e *api.Event) string {
	var parts []string
	switch {
	case e.TotalBytes > 0:
		parts = append(parts, fmt.Sprintf("%s of %s (%d %%)", size(e.Bytes), size(e.TotalBytes), 100*e.Bytes/e.TotalBytes))
	case e.Bytes > 0:
		parts = append(parts, size(e.Bytes))
	}
	if took := e.AtMs - w.since; e.Bytes > 0 && took > 0 {
		parts = append(parts, size(e.Bytes*1000/took)+"/s")
	}
	if e.ExpectedFreezeMs > 0 {
		parts = append(parts, fmt.Sprintf("freeze of %.0f ms expected", e.ExpectedFreezeMs))
	}
	return strings.Join(nonempty(e.Detail, strings.Join(parts, ", ")), "  ")
}

// end leaves the cursor on a line of its own.
func (w *watcher) end() {
	if w.rewrites && w.width > 0 {
		fmt.Fprintln(w.out)
	}
}
