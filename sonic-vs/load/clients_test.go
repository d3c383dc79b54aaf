package load

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// server answers each request on each connection with what answer does to it; false ends the connection.
func server(t *testing.T, answer func(c *net.TCPConn, n int) bool) *url.URL {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for n := 0; ; n++ {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if !answer(c.(*net.TCPConn), n) {
						return
					}
				}
			}()
		}
	}()
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

func respond(c net.Conn, status, body string) bool {
	_, err := fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	return err == nil
}

func key(t *testing.T) string {
	_, answer := entry(signer, 1, bootA)
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAsk(t *testing.T) {
	good := key(t)
	for _, tt := range []struct {
		name   string
		answer func(c *net.TCPConn, n int) bool
		want   Record // only Status, Broken, Error
		keeps  bool   // the connection carries another request
	}{
		{"a key", func(c *net.TCPConn, _ int) bool { return respond(c, "200 OK", good) }, Record{Status: 200}, true},
		{"an error", func(c *net.TCPConn, _ int) bool { return respond(c, "500 No", "full") }, Record{Status: 500, Error: "status 500"}, true},
		{"no key", func(c *net.TCPConn, _ int) bool { return respond(c, "200 OK", "hello") }, Record{Status: 200, Error: "answer is not a key"}, true},
		{"EOF", func(*net.TCPConn, int) bool { return false }, Record{Broken: true, Error: "connection ended: EOF"}, false},
		{"EOF within the answer", func(c *net.TCPConn, _ int) bool {
			c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))
			return false
		}, Record{Broken: true, Error: "connection ended: EOF"}, false},
		{"reset", func(c *net.TCPConn, _ int) bool {
			c.SetLinger(0)
			return false
		}, Record{Broken: true, Error: "connection ended: connection reset by peer"}, false},
		{"no HTTP", func(c *net.TCPConn, _ int) bool {
			c.Write([]byte("hello\r\n\r\n"))
			return true
		}, Record{Error: "malformed HTTP"}, false},
		{"silence", func(*net.TCPConn, int) bool { return true }, Record{Error: "no answer within 5s"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := server(t, tt.answer)
			// The request was due long ago, so that its client gives up soon.
			cs := &clients{target: target, start: time.Now().Add(-Patience + 300*time.Millisecond)}
			r := Record{}
			c := cs.ask(nil, keyRequest(target, "test", false), &r)
			if r.Status != tt.want.Status || r.Broken != tt.want.Broken || !strings.HasPrefix(r.Error, tt.want.Error) || (r.Error == "") != (tt.want.Error == "") {
				t.Errorf("status %d, broken %v, %q", r.Status, r.Broken, r.Error)
			}
			if err := r.check(); err != nil {
				t.Errorf("record: %v", err)
			}
			if (c != nil) != tt.keeps {
				t.Errorf("the connection is kept: %v", c != nil)
			}
			if c != nil {
				c.close()
			}
		})
	}
}

func TestAskWithoutAServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	cs := &clients{target: &url.URL{Scheme: "http", Host: ln.Addr().String()}, start: time.Now()}
	r := Record{}
	if c := cs.ask(nil, nil, &r); c != nil || r.Error != "dial: connection refused" || r.Broken || r.Sent != 0 || r.Failed == 0 {
		t.Errorf("%+v", r)
	}
	cs.start = time.Now().Add(-Patience)
	r = Record{}
	if cs.ask(nil, nil, &r); r.Error != "not sent within 5s" || r.Sent != 0 {
		t.Errorf("%+v", r)
	}
}

// The service closes a connection on which nothing is open, as at its orderly end: no client is harmed.
func TestIdleEndFailsNoRequest(t *testing.T) {
	good := key(t)
	ended := make(chan bool, 1)
	target := server(t, func(c *net.TCPConn, n int) bool {
		respond(c, "200 OK", good)
		c.CloseWrite()
		ended <- true
		return true
	})
	cs := &clients{target: target, start: time.Now()}
	first, second := Record{}, Record{}
	c := cs.ask(nil, keyRequest(target, "test", false), &first)
	<-ended
	for range 1000 { // the segment is on its way
		if c.idleEnded() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c = cs.ask(c, keyRequest(target, "test", false), &second)
	<-ended
	if c != nil {
		c.close()
	}
	if second.Answered == 0 || second.Broken || second.Conn == first.Conn {
		t.Errorf("first on connection %d; second %+v", first.Conn, second)
	}
}

// While the service is silent each connection gets one request before any gets a second.
func TestLeastBusy(t *testing.T) {
	cs := newClients(&url.URL{}, Config{Kept: 5, Schedule: Schedule{Steps: []Step{{0, 10}}}}, nil)
	for n := range 12 {
		cs.leastBusy(n).waiting.Add(1)
	}
	for i, want := range []int32{3, 3, 2, 2, 2} {
		if got := cs.kept[i].waiting.Load(); got != want {
			t.Errorf("connection %d has %d waiting, want %d", i+1, got, want)
		}
	}
	cs.kept[3].waiting.Store(0)
	if k := cs.leastBusy(12); k != cs.kept[3] {
		t.Errorf("connection %d was taken, 4 is idle", k.slot)
	}
}

func TestRunRefuses(t *testing.T) {
	schedule := Schedule{Steps: []Step{{0, 10}}, Duration: time.Second}
	for name, c := range map[string]Config{
		"target":   {Target: "10.20.0.10:8080", Dir: t.TempDir(), Schedule: schedule, Kept: 1},
		"port":     {Target: "http://10.20.0.10", Dir: t.TempDir(), Schedule: schedule, Kept: 1},
		"folder":   {Target: "http://127.0.0.1:1", Schedule: schedule, Kept: 1},
		"kept":     {Target: "http://127.0.0.1:1", Dir: t.TempDir(), Schedule: schedule},
		"schedule": {Target: "http://127.0.0.1:1", Dir: t.TempDir(), Kept: 1},
		"nobody":   {Target: "http://127.0.0.1:1", Dir: t.TempDir(), Schedule: schedule, Kept: 1},
	} {
		defer goleak.VerifyNone(t)
		if err := Run(context.Background(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
