package lane

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sonic-netservices/internal/pki"
)

// as is an AS with a CA, where nodes take lanes.
type as struct {
	t  testing.TB
	ca string
}

func (a as) member(name string, role pki.Role) *pki.Identity {
	a.t.Helper()
	dir := filepath.Join(a.t.TempDir(), name)
	if err := pki.Issue(a.ca, dir, name, []pki.Role{role}); err != nil {
		a.t.Fatal(err)
	}
	id, err := pki.Load(dir, role)
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

func newAS(t testing.TB) as {
	a := as{t, filepath.Join(t.TempDir(), "ca")}
	if err := pki.Init(a.ca, "65000"); err != nil {
		t.Fatal(err)
	}
	return a
}

// serve takes lanes until the test ends and gives the address.
func (a as) serve(id *pki.Identity, take func(string, Hello, *Conn)) string {
	a.t.Helper()
	ln, err := Listen(a.t.Context(), "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	go Serve(a.t.Context(), ln, id.Server(), take)
	return ln.Addr().String()
}

func TestLane(t *testing.T) {
	a := newAS(t)
	leaf1, leaf2 := a.member("leaf1", pki.Node), a.member("leaf2", pki.Node)
	addr := a.serve(leaf2, func(peer string, h Hello, c *Conn) {
		defer c.Close()
		if peer != "leaf1" || h != (Hello{"op1", Memory}) {
			c.Tell(0, errors.New(peer+" is not expected"))
			return
		}
		c.Tell(0, nil)
		b := make([]byte, 1<<20)
		n, err := io.ReadFull(c.In, b)
		if err == nil && !bytes.Equal(b, bytes.Repeat([]byte("x"), len(b))) {
			err = errors.New("other bytes")
		}
		c.Tell(int64(n), err)
	})
	c, err := Dial(t.Context(), addr, "leaf2", leaf1.Client("leaf2", pki.Node), Hello{"op1", Memory})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := (&Pacer{}).Writer(t.Context(), c).Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Answer(); err != nil || r.Bytes != 1<<20 {
		t.Errorf("answer %+v, %v", r, err)
	}
	if _, err := Dial(t.Context(), addr, "leaf2", leaf1.Client("leaf2", pki.Node), Hello{"op2", Memory}); !errors.Is(err, ErrRefused) {
		t.Errorf("an operation that nobody knows: %v", err)
	}
	if _, err := Dial(t.Context(), addr, "leaf3", leaf1.Client("leaf3", pki.Node), Hello{"op1", Memory}); err == nil {
		t.Error("leaf2 was taken for leaf3")
	}
}

// BenchmarkStreams says what parallel lanes are worth (docs/decisions/0034): the same bytes over one, two and four.
func BenchmarkStreams(b *testing.B) {
	const total = 256 << 20
	page := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for _, lanes := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(lanes), func(b *testing.B) {
			a := newAS(b)
			leaf1, leaf2 := a.member("leaf1", pki.Node), a.member("leaf2", pki.Node)
			addr := a.serve(leaf2, func(_ string, _ Hello, c *Conn) {
				defer c.Close()
				c.Tell(0, nil)
				n, err := io.CopyN(io.Discard, c.In, total/int64(lanes))
				c.Tell(n, err)
			})
			send := func() error {
				c, err := Dial(b.Context(), addr, "leaf2", leaf1.Client("leaf2", pki.Node), Hello{"op1", Memory})
				if err != nil {
					return err
				}
				defer c.Close()
				for range total / lanes / len(page) {
					if _, err := c.Write(page); err != nil {
						return err
					}
				}
				_, err = c.Answer()
				return err
			}
			b.SetBytes(total)
			for b.Loop() {
				errs := make(chan error, lanes)
				for range lanes {
					go func() { errs <- send() }()
				}
				for range lanes {
					if err := <-errs; err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// Only a node of this AS gets to say its first line.
func TestStrangers(t *testing.T) {
	a := newAS(t)
	taken := make(chan string, 10)
	addr := a.serve(a.member("leaf2", pki.Node), func(peer string, _ Hello, c *Conn) { taken <- peer; c.Close() })
	operator := a.member("anna", pki.Operator)
	stranger := newAS(t).member("leaf1", pki.Node)
	for name, id := range map[string]*pki.Identity{"an operator": operator, "another AS": stranger} {
		if c, err := Dial(t.Context(), addr, "leaf2", id.Client("leaf2", pki.Node), Hello{"op1", Memory}); err == nil {
			c.Close()
			t.Errorf("%s got a lane", name)
		}
	}
	select {
	case peer := <-taken:
		t.Errorf("the lane of %q was taken", peer)
	default:
	}
}

// First lines that are none end the connection; the next one is taken.
func TestFirstLine(t *testing.T) {
	a := newAS(t)
	leaf1 := a.member("leaf1", pki.Node)
	addr := a.serve(a.member("leaf2", pki.Node), func(_ string, _ Hello, c *Conn) { c.Tell(0, nil); c.Close() })
	for _, line := range []string{"garbage\n", strings.Repeat("x", 2*maxLine) + "\n", "{}"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := speak(ctx, addr, leaf1, line)
		cancel()
		if err == nil {
			t.Errorf("%.20q was taken", line)
		}
	}
	c, err := Dial(t.Context(), addr, "leaf2", leaf1.Client("leaf2", pki.Node), Hello{"op1", Memory})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// speak says a first line as it is and waits for an answer.
func speak(ctx context.Context, addr string, id *pki.Identity, line string) error {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil
	}
	defer raw.Close()
	conn, _, err := id.Client("leaf2", pki.Node).ClientHandshake(ctx, "leaf2", raw)
	if err != nil {
		return nil
	}
	conn.Write([]byte(line))
	raw.(*net.TCPConn).CloseWrite()
	raw.SetReadDeadline(time.Now().Add(greeting))
	_, err = conn.Read(make([]byte, 1))
	return err
}
