package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// come reads what stands at a path, as CRIU does.
func come(path string) <-chan string {
	said := make(chan string, 1)
	go func() {
		f, err := os.Open(path)
		if err != nil {
			said <- err.Error()
			return
		}
		defer f.Close()
		text, _ := io.ReadAll(f)
		said <- string(text)
	}()
	return said
}

// Whoever comes to a gate, early or late, reads the file that it was passed, or one that is none when it was closed.
func TestGate(t *testing.T) {
	for _, early := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "file")
		g, err := raiseGate(path)
		if err != nil {
			t.Fatal(err)
		}
		var said <-chan string
		if early {
			said = come(path)
			time.Sleep(20 * time.Millisecond)
		} else {
			late := make(chan string, 1)
			said = late
			time.AfterFunc(20*time.Millisecond, func() { late <- <-come(path) })
		}
		if err := g.pass(t.Context(), []byte("the file"), nil); err != nil {
			t.Fatal(err)
		}
		if got := <-said; got != "the file" {
			t.Errorf("early %v: read %q", early, got)
		}
		if exists(path) {
			t.Error("a passed gate stays")
		}

		if g, err = raiseGate(path); err != nil {
			t.Fatal(err)
		}
		if early {
			said = come(path)
			time.Sleep(20 * time.Millisecond)
			g.close()
		} else {
			g.close()
			said = come(path)
		}
		if got := <-said; got != "" && !strings.HasPrefix(got, "not wanted") {
			t.Errorf("early %v: read %q at a closed gate", early, got)
		}
		g.close() // again

		// Another process closes it, while the one that holds it lives; and raises a new one.
		if g, err = raiseGate(path); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if early {
			leaveGate(path)
		} else {
			next, err := raiseGate(path)
			if err != nil {
				t.Fatal(err)
			}
			defer next.close()
		}
		buf := make([]byte, 4096)
		if _, err := io.ReadFull(f, buf); err != nil || !strings.HasPrefix(string(buf), "not wanted") {
			t.Errorf("who waits at a gate that was left reads %.20q, %v", buf, err)
		}
		f.Close()
		g.close()
	}
}

// A CRIU that goes by without its word has done something at a time of its own: that is an error, whatever it says.
func TestGateNotPassed(t *testing.T) {
	g, err := raiseGate(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	ended := make(chan error, 1)
	ended <- nil
	if err := g.pass(t.Context(), emptyCache, ended); !errors.Is(err, errNoWait) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := g.pass(ctx, emptyCache, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
