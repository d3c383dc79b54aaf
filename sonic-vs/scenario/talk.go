package scenario

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Requests of a talk: open loop by schedule, never sent again. Two connections are kept; each tenth request comes on a
// connection of its own, or all of them do.
const (
	talkRate     = 100 // a second
	talkKept     = 2
	talkPatience = 5 * time.Second
)

// exchange is one request and its answer: a line of <server>.jsonl. Times are since the talk began.
type exchange struct {
	N        int           `json:"n"`
	Conn     int           `json:"conn"` // 1.. the kept ones; 0: one of its own
	Due      time.Duration `json:"due_ns"`
	Answered time.Duration `json:"answered_ns,omitempty"`
	Value    string        `json:"value,omitempty"`
	Error    string        `json:"error,omitempty"`
	Broken   bool          `json:"broken,omitempty"` // the connection ended
}

// talk is a load on a server that runs.
type talk struct {
	stage  *stage
	server server
	begun  time.Time
	stop   chan struct{}
	ended  sync.WaitGroup
	once   sync.Once

	mu  sync.Mutex
	all []exchange
}

// talk begins when the server has answered the first word.
func (s *stage) talk(ctx context.Context, v server) (*talk, error) {
	t := &talk{stage: s, server: v, stop: make(chan struct{})}
	var kept []net.Conn
	for n := range t.kept() {
		conn, err := s.dialTCP(ctx, v.address)
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		conn.SetDeadline(time.Now().Add(talkPatience))
		if v.first != "" && n == 0 {
			if _, err := io.WriteString(conn, v.first); err != nil {
				return nil, err
			}
			if _, err := readLine(conn); err != nil {
				return nil, fmt.Errorf("first word: %w", err)
			}
		}
		kept = append(kept, conn)
	}
	t.begun = time.Now()
	for n, conn := range kept {
		t.ended.Go(func() { t.keep(conn, n+1) })
	}
	t.ended.Go(func() { t.come(ctx) })
	return t, nil
}

// kept is how many connections are.
func (t *talk) kept() int {
	if t.server.fresh {
		return 0
	}
	return talkKept
}

// readLine reads no byte more than the line.
func readLine(conn net.Conn) (string, error) {
	var line strings.Builder
	for b := make([]byte, 1); ; {
		if _, err := conn.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return line.String(), nil
		}
		line.WriteByte(b[0])
	}
}

// due is when request n is.
func (t *talk) due(n int) time.Duration { return time.Duration(n) * time.Second / talkRate }

// wait until request n is due; false: the talk is over.
func (t *talk) wait(n int) bool {
	select {
	case <-t.stop:
		return false
	case <-time.After(time.Until(t.begun.Add(t.due(n)))):
		select {
		case <-t.stop:
			return false
		default:
			return true
		}
	}
}

// keep sends its share of the requests on one connection, one after the other.
func (t *talk) keep(conn net.Conn, id int) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		if n%10 == 0 || n%talkKept != id-1 {
			continue
		}
		if !t.wait(n) {
			return
		}
		if e := t.exchange(conn, in, n, id); e.Broken {
			return
		}
	}
}

// come sends each tenth request, or each one, on a connection of its own.
func (t *talk) come(ctx context.Context) {
	every := 10
	if t.server.fresh {
		every = 1
	}
	for n := 0; t.wait(n); n += every {
		t.ended.Go(func() {
			limit, cancel := context.WithDeadline(ctx, t.begun.Add(t.due(n)+talkPatience))
			defer cancel()
			conn, err := t.stage.dialTCP(limit, t.server.address)
			if err != nil {
				t.note(exchange{N: n, Due: t.due(n), Error: err.Error()})
				return
			}
			defer conn.Close()
			t.exchange(conn, bufio.NewReader(conn), n, 0)
		})
	}
}

func (t *talk) exchange(conn net.Conn, in *bufio.Reader, n, id int) exchange {
	e := exchange{N: n, Conn: id, Due: t.due(n)}
	conn.SetDeadline(t.begun.Add(e.Due + talkPatience))
	_, err := io.WriteString(conn, t.server.ask(n))
	if err == nil {
		e.Value, err = t.server.answer(in, n)
	}
	if err != nil {
		e.Error, e.Broken = err.Error(), !errors.Is(err, os.ErrDeadlineExceeded)
	} else {
		e.Answered = time.Since(t.begun)
	}
	t.note(e)
	return e
}

func (t *talk) note(e exchange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, e)
}

// pause lets the load go on for a while.
func (t *talk) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// end stops the load, waits for open requests, and gives all of them in order.
func (t *talk) end() []exchange {
	t.once.Do(func() { close(t.stop) })
	t.ended.Wait()
	slices.SortFunc(t.all, func(a, b exchange) int { return cmp.Compare(a.N, b.N) })
	return t.all
}

// summary computes what the clients saw: the gap is the longest time without any answer.
func summary(all []exchange) (failed, broken int, gap time.Duration) {
	var answers []time.Duration
	for _, e := range all {
		if e.Error != "" || e.Answered-e.Due > talkPatience {
			failed++
		}
		if e.Broken {
			broken++
		}
		if e.Error == "" {
			answers = append(answers, e.Answered)
		}
	}
	slices.Sort(answers)
	for i := 1; i < len(answers); i++ {
		gap = max(gap, answers[i]-answers[i-1])
	}
	return failed, broken, gap
}

func writeTalk(path string, all []exchange) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	e := json.NewEncoder(f)
	for _, x := range all {
		err = errors.Join(err, e.Encode(x))
	}
	return errors.Join(err, f.Close())
}

// httpBody reads one HTTP answer.
func httpBody(in *bufio.Reader) (string, error) {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(body), err
}

// increments counts the INCR commands in Redis's append-only files.
func increments(files []string) (n int, err error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		n += strings.Count(strings.ToUpper(string(text)), "\r\nINCR\r\n")
	}
	return n, nil
}
