package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/sonic-vs/load"
)

// rate of each of the three clients, requests a second.
const rate = 100

// room of a queue: a request leaves it within the clients' patience.
const room = 2 * rate * int(load.Patience/time.Second)

// begunFile appears when the first request is due.
const begunFile = "begun"

// play runs the three clients against a ballast until ctx ends, and writes what became of every request. Requests are
// sent by schedule, whatever the service does, and none is sent twice.
func play(ctx context.Context, host, dir string) error {
	c := &clients{raw: net.JoinHostPort(host, "9000"), web: net.JoinHostPort(host, "8080")}
	c.dialer.SetMultipathTCP(false) // CRIU does not know it
	first := time.Now().Add(load.Patience)
	raw, err := c.dial(c.raw, first)
	if err != nil {
		return err
	}
	kept, err := c.dial(c.web, first)
	if err != nil {
		return err
	}
	c.start = time.Now()
	if err := os.WriteFile(filepath.Join(dir, begunFile), nil, 0o644); err != nil {
		return err
	}
	var all sync.WaitGroup
	all.Go(func() { c.playRaw(ctx, raw) })
	all.Go(func() { c.playKept(ctx, kept) })
	all.Go(func() { c.playNew(ctx) })
	all.Wait()
	return writeRecords(dir, c.records)
}

type clients struct {
	start    time.Time
	dialer   net.Dialer
	raw, web string
	conns    atomic.Int64 // so far, their numbers

	mu      sync.Mutex
	records []record
}

// conn is a numbered connection.
type conn struct {
	net.Conn
	in *bufio.Reader
	id int
}

func (c *clients) dial(to string, deadline time.Time) (*conn, error) {
	d := c.dialer
	d.Deadline = deadline
	nc, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	return &conn{nc, bufio.NewReader(nc), int(c.conns.Add(1))}, nil
}

func (c *clients) add(r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = append(c.records, r)
}

// deadline is when the client of a request gives up.
func (c *clients) deadline(r record) time.Time { return c.start.Add(r.Due + load.Patience) }

// each calls send at every due time until ctx ends.
func (c *clients) each(ctx context.Context, send func(load.Slot)) {
	for slot := range (load.Schedule{Steps: []load.Step{{Rate: rate}}}).Slots() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(c.start.Add(slot.Due))):
			send(slot)
		}
	}
}

// playRaw sends each line when it is due; answers come in order. A client whose connection ends makes another.
func (c *clients) playRaw(ctx context.Context, first *conn) {
	var all sync.WaitGroup
	line := c.openLine(&all, first)
	c.each(ctx, func(s load.Slot) {
		if line.ended.Load() {
			close(line.due)
			line = c.openLine(&all, nil)
		}
		line.due <- record{Client: rawClient, N: s.N, Due: s.Due}
	})
	close(line.due)
	all.Wait()
}

// line is one raw connection and the requests on it.
type line struct {
	due   chan record
	ended atomic.Bool // nothing more will be answered
}

func (c *clients) openLine(all *sync.WaitGroup, conn *conn) *line {
	l := &line{due: make(chan record, room)}
	all.Go(func() {
		if conn == nil {
			var err error
			if conn, err = c.dial(c.raw, time.Now().Add(load.Patience)); err != nil {
				l.ended.Store(true)
				for r := range l.due {
					c.add(c.fail(r, err))
				}
				return
			}
		}
		sent := make(chan record, room)
		all.Go(func() { c.readLines(l, conn, sent) })
		for r := range l.due {
			r.Conn = conn.id
			sent <- r                      // before the answer can come
			fmt.Fprintf(conn, "%d\n", r.N) // a failure is the reader's to see
		}
		close(sent)
	})
	return l
}

// readLines takes the answers of one connection.
func (c *clients) readLines(l *line, conn *conn, sent <-chan record) {
	defer conn.Close()
	var ended error
	for r := range sent {
		if ended == nil {
			conn.SetReadDeadline(c.deadline(r))
			var text string
			if text, ended = conn.in.ReadString('\n'); ended == nil {
				r.Answered, r.Answer = time.Since(c.start), text
			} else {
				l.ended.Store(true)
			}
		}
		if ended != nil {
			r = c.fail(r, ended)
		}
		c.add(r)
	}
}

// playKept asks one request after the other on one connection; one that is due waits for those before it.
func (c *clients) playKept(ctx context.Context, conn *conn) {
	due := make(chan load.Slot, room)
	var asking sync.WaitGroup
	asking.Go(func() {
		for s := range due {
			r := record{Client: keptClient, N: s.N, Due: s.Due}
			if conn == nil {
				var err error
				if conn, err = c.dial(c.web, c.deadline(r)); err != nil {
					c.add(c.fail(r, err))
					continue
				}
			}
			r, ok := c.ask(conn, "keep-alive", r)
			c.add(r)
			if !ok {
				conn.Close()
				conn = nil
			}
		}
		if conn != nil {
			conn.Close()
		}
	})
	c.each(ctx, func(s load.Slot) { due <- s })
	close(due)
	asking.Wait()
}

// playNew is a new client for each request.
func (c *clients) playNew(ctx context.Context) {
	var asking sync.WaitGroup
	c.each(ctx, func(s load.Slot) {
		asking.Go(func() {
			r := record{Client: newClient, N: s.N, Due: s.Due}
			conn, err := c.dial(c.web, c.deadline(r))
			if err != nil {
				c.add(c.fail(r, err))
				return
			}
			defer conn.Close()
			r, _ = c.ask(conn, "close", r)
			c.add(r)
		})
	})
	asking.Wait()
}

// ask puts one request on a connection and fills its record. Not ok: the connection can carry no other.
func (c *clients) ask(conn *conn, connection string, r record) (_ record, ok bool) {
	r.Conn = conn.id
	conn.SetDeadline(c.deadline(r))
	_, err := fmt.Fprintf(conn, "GET /count HTTP/1.1\r\nHost: %s\r\nConnection: %s\r\n\r\n", c.web, connection)
	if err != nil {
		return c.fail(r, err), false
	}
	resp, err := http.ReadResponse(conn.in, nil)
	if err != nil {
		return c.fail(r, err), false
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	resp.Body.Close()
	if err != nil {
		return c.fail(r, err), false
	}
	if resp.StatusCode != http.StatusOK {
		r.Failed, r.Error = time.Since(c.start), resp.Status
		return r, !resp.Close
	}
	r.Answered, r.Answer = time.Since(c.start), string(body)
	return r, !resp.Close
}

// fail says what became of a request without an answer.
func (c *clients) fail(r record, err error) record {
	r.Failed, r.Error = time.Since(c.start), err.Error()
	// A connection that ended is broken; one that is silent is not, and what never came about cannot break.
	r.Broken = r.Conn != 0 && !errors.Is(err, os.ErrDeadlineExceeded)
	return r
}
