// Package dbtest starts a real redis-server laid out as on a switch, for tests.
//
// It writes a folder that looks like a switch's root, to be given to sonicdb.Open, and is told by nobody.
package dbtest

import (
	_ "embed"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Layout is the database_config.json of the test switch.
//
//go:embed database_config.json
var Layout []byte

// Switch is the root of a switch with its redis-server.
type Switch struct {
	Root   string
	socket string
	events string
	server *exec.Cmd
}

// Start makes a switch whose server sends all keyspace events. It is removed at the end of the test.
func Start(t *testing.T) *Switch { return StartEvents(t, "AKE") }

// StartEvents is Start with another value of notify-keyspace-events.
func StartEvents(t *testing.T, events string) *Switch {
	t.Helper()
	root, err := os.MkdirTemp("", "db") // not t.TempDir: a socket path holds 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &Switch{Root: root, socket: filepath.Join(root, "run/redis/redis.sock"), events: events}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(root)
	})
	dir := filepath.Join(root, "run/redis/sonic-db")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "database_config.json"), Layout, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	return s
}

// Restart starts the server, empty as after a power cycle.
func (s *Switch) Restart(t *testing.T) {
	t.Helper()
	s.Stop()
	s.server = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--databases", "100",
		"--notify-keyspace-events", s.events, "--save", "", "--appendonly", "no", "--dir", s.Root)
	if err := s.server.Start(); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if c, err := net.Dial("unix", s.socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("redis-server does not listen")
}

// Stop kills the server.
func (s *Switch) Stop() {
	if s.server != nil {
		_ = s.server.Process.Kill()
		_ = s.server.Wait()
		s.server = nil
	}
}

// Redis runs redis-cli against database db and returns what it prints.
func (s *Switch) Redis(t *testing.T, db string, args ...string) string {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-s", s.socket, "-n", db, "--no-raw"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
	}
	return string(out)
}
