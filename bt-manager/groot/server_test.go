package groot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sonic-netservices/bt-manager/bt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve shows a tree on a socket; step ticks it once.
func serve(t *testing.T, xml string) (s *Server, w *trees) {
	t.Helper()
	w = newTrees(t, xml, nil)
	s, err := Listen("127.0.0.1:0", w, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w.m = s.Monitor
	if _, err := s.Show("", true); err != nil {
		t.Fatal(err)
	}
	return s, w
}

func client(t *testing.T, s *Server) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestListen(t *testing.T) {
	for addr, want := range map[string]string{"0.0.0.0:1667": "no loopback address", "192.0.2.1:1667": "no loopback address",
		"localhost:1667": "ParseAddr", "127.0.0.1:65535": "leaves none for PUB", "": "not an ip:port"} {
		if _, err := Listen(addr, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", addr, err, want)
		}
	}
	s, _ := serve(t, golden)
	if _, err := Listen(s.Addr(), nil, nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is taken: %v", err)
	}
}

// What the tests of other rooms do: find a node by its path, have it held, be told, let it go.
func TestClient(t *testing.T) {
	s, w := serve(t, golden)
	c := client(t, s)
	sub, err := Subscribe(t.Context(), s.PubAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	uid, err := c.UID("Sub::3/calc")
	if err != nil || uid != 4 {
		t.Fatalf("uid %d, %v", uid, err)
	}
	if _, err := c.UID("nowhere"); err == nil {
		t.Error("found a node that is not there")
	}
	if err := c.Insert(Breakpoint(uid, bt.Before)); err != nil {
		t.Fatal(err)
	}
	subscribed(t, s)
	if st := w.tick(time.Unix(1000, 0)); st != bt.Running {
		t.Errorf("the tree gives %v", st)
	}
	if got, err := sub.Next(5 * time.Second); err != nil || got != uid {
		t.Errorf("told of %d, %v", got, err)
	}
	now, _, err := c.Statuses()
	if err != nil || now[3] != bt.Running || now[4] != bt.Idle || len(now) != 5 {
		t.Errorf("statuses %v, %v", now, err)
	}
	if err := c.Unlock(Unlock{UID: uid, Desired: "SKIPPED", Remove: true}); err != nil {
		t.Fatal(err)
	}
	w.tick(time.Unix(1000, 1))
	now, before, err := c.Statuses()
	if err != nil || now[5] != bt.Running || now[4] != bt.Idle || before[4] != bt.Success {
		t.Errorf("statuses %v, before %v, %v", now, before, err)
	}
	if err := c.Remove(uid, bt.Before); err == nil || err.Error() != "Node ID not found" {
		t.Errorf("remove a hook that is gone: %v", err)
	}
	if _, err := sub.Next(time.Millisecond); err == nil {
		t.Error("told twice")
	}
	other, err := Dial(t.Context(), s.PubAddr())
	if err == nil {
		other.Close()
		t.Error("a REQ on the port of PUB")
	}
}

// subscribed waits until the server has heard of a subscription.
func subscribed(t *testing.T, s *Server) {
	t.Helper()
	for range 500 {
		s.mu.Lock()
		for sub := range s.subs {
			if len(sub.topics) > 0 {
				s.mu.Unlock()
				return
			}
		}
		s.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no subscription")
}

// raw sends bytes and gives what comes back until the connection ends.
func raw(t *testing.T, addr, text string) (string, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	got, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stays open after %.40q", text)
	}
	return string(got), err
}

var greetingOfLibzmq = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01NULL" + strings.Repeat("\x00", 16+32)

const (
	readyOfREQ = "\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ\x08Identity\x00\x00\x00\x00"
	readyOfSUB = "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
)

// Peers that break the rules lose their connection, and nobody else's.
func TestBadPeers(t *testing.T) {
	s, _ := serve(t, golden)
	c := client(t, s)
	for name, sent := range map[string]string{
		"no ZMTP":        "GET / HTTP/1.1\r\n\r\n",
		"oversize":       greetingOfLibzmq + readyOfREQ + "\x02\x00\x00\x00\x00\x7f\xff\xff\xff",
		"no envelope":    greetingOfLibzmq + readyOfREQ + "\x00\x06\x02S\x01\x02\x03\x04",
		"empty":          greetingOfLibzmq + readyOfREQ + "\x00\x00",
		"endless parts":  greetingOfLibzmq + readyOfREQ + strings.Repeat("\x01\x01x", 20),
		"another socket": greetingOfLibzmq + readyOfSUB,
	} {
		_, _ = raw(t, s.Addr(), sent) // a reset is as good as an end
		if _, err := c.Do(StatusOfAll); err != nil {
			t.Errorf("%s: another client: %v", name, err)
		}
	}
	for _, sent := range []string{"\x00\x00", "\x00\x01\x02", "\x01\x01\x01\x00\x01x", strings.Repeat("\x00\x02\x01x", maxTopic+1)} {
		_, _ = raw(t, s.PubAddr(), greetingOfLibzmq+readyOfSUB+sent)
	}
}

func TestTooManyConnections(t *testing.T) {
	s, _ := serve(t, golden)
	var all []*Client
	for range maxConns {
		all = append(all, client(t, s))
	}
	if _, err := Dial(t.Context(), s.Addr()); err == nil {
		t.Errorf("connection %d is served", maxConns+1)
	}
	all[0].Close()
	for i := 0; ; i++ {
		c, err := Dial(t.Context(), s.Addr())
		if err == nil {
			c.Close()
			break
		}
		if i == 500 {
			t.Fatal("no connection is free again")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := all[1].Do(StatusOfAll); err != nil {
		t.Error(err)
	}
}

// A subscriber that does not read is dropped; nobody waits for it, and others hear everything.
func TestSlowSubscriber(t *testing.T) {
	s, _ := serve(t, golden)
	slow, err := Subscribe(t.Context(), s.PubAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	subscribed(t, s)
	big := bytes.Repeat([]byte("x"), 1<<20)
	for range 2 * queue {
		s.publish(Header{Reached, 1}.bytes(), big)
	}
	for i := 0; ; i++ {
		s.mu.Lock()
		n := len(s.subs)
		s.mu.Unlock()
		if n == 0 {
			break
		}
		if i == 500 {
			t.Fatal("the slow subscriber is still there")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The real library on the other side: Debian's python3-zmq.
func TestLibzmq(t *testing.T) {
	python := ""
	for _, p := range []string{"/usr/bin/python3", "python3"} { // Debian's first: the package is for that one
		if exec.Command(p, "-c", "import zmq").Run() == nil {
			python = p
			break
		}
	}
	if python == "" {
		t.Skip("no python3 here has zmq: make setup installs python3-zmq")
	}
	s, w := serve(t, golden)
	w.tick(time.Unix(1000, 0))
	cmd := exec.Command(python, "testdata/client.py", s.Addr(), s.PubAddr())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if scan.Text() != "tick" {
			lines = append(lines, strings.TrimSpace(scan.Text()))
			continue
		}
		subscribed(t, s)
		w.tick(time.Unix(1001, 0)) // ends the run: the Sleep is over
		w.tick(time.Unix(1002, 0))
		fmt.Fprintln(in)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	id := fmt.Sprintf("%x", s.id)
	want := []string{
		"S 0253aabbccdd " + id + " 01000102000203000205000104000c",
		"T 3c726f6f74",
		"B 83a44d61696e82a16105a173a178a4524f4f5482a16105a173a178a65375623a3a3384a16ecac3480000a172cb3fb999999999999aa174ca3f800000a17a06",
		"t",
		"error Request not recognized",
		"error must be 2 parts message",
		"error wrong request header",
		"D []",
		"I ok",
		`D [{"desired_status": "SKIPPED", "enabled": true, "mode": 0, "once": true, "position": 0, "uid": 4}]`,
		"N 4 024e",
		"U ok",
		"dealer " + id,
		"again " + id,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("libzmq heard\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
