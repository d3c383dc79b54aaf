package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"sonic-netservices/examples/kms/keylog"
)

// conn is one TCP connection to the service with at most one request open on it. It is driven by hand and not by
// http.Client because that one repeats requests and hides which connection they took.
type conn struct {
	tcp  *net.TCPConn
	in   *bufio.Reader
	id   int
	port int
}

func dial(ctx context.Context, target *url.URL, id int) (*conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", target.Host)
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	return &conn{tcp, bufio.NewReaderSize(tcp, 1024), id, tcp.LocalAddr().(*net.TCPAddr).Port}, nil
}

// keyRequest asks for one key; last says that the connection ends with the answer.
func keyRequest(target *url.URL, client string, last bool) []byte {
	connection := "keep-alive"
	if last {
		connection = "close"
	}
	return fmt.Appendf(nil, "POST /key?client=%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sonic-vs-load\r\nConnection: %s\r\nContent-Length: 0\r\n\r\n",
		url.QueryEscape(client), target.Host, connection)
}

// outcome of a request that was sent.
type outcome struct {
	status int
	answer *keylog.Answer
	err    error
	broken bool // the connection ended before the answer did
	last   bool // the connection cannot carry another request
}

// exchange sends a request and reads its answer before the deadline.
func (c *conn) exchange(request []byte, deadline time.Time) outcome {
	c.tcp.SetDeadline(deadline)
	if _, err := c.tcp.Write(request); err != nil {
		return c.ended(err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return c.ended(err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	resp.Body.Close()
	if err != nil {
		return c.ended(err)
	}
	o := outcome{status: resp.StatusCode, last: resp.Close}
	if o.status != http.StatusOK {
		o.err = fmt.Errorf("status %d", o.status)
		return o
	}
	o.answer = new(keylog.Answer)
	if err := json.Unmarshal(body, o.answer); err != nil {
		o.answer, o.err = nil, errors.New("answer is not a key")
	}
	return o
}

// ended tells a connection that ended from one that gave nothing in time, and from an answer that is not HTTP.
func (c *conn) ended(err error) outcome {
	o := outcome{err: err, last: true}
	var netErr *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		o.err = errNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		o.err, o.broken = errors.New("connection ended: EOF"), true
	case errors.As(err, &netErr):
		o.err, o.broken = fmt.Errorf("connection ended: %w", errors.Unwrap(netErr)), true
		var call *os.SyscallError
		if errors.As(err, &call) {
			o.err = fmt.Errorf("connection ended: %w", call.Err)
		}
	}
	return o
}

var errNoAnswer = fmt.Errorf("no answer within %v", Patience)

// idleEnded reports whether the service has ended the connection while no request was open, as it does when it is told
// to stop. Any client would see that before it sends; a request sent all the same would be ours to blame.
func (c *conn) idleEnded() bool {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ended = err != syscall.EAGAIN && err != syscall.EINTR && n <= 0
		return true // do not wait
	})
	return ended || err != nil
}

func (c *conn) close() { c.tcp.Close() }

// fetchPublic asks the service for its public key, which is kept beside the records.
func fetchPublic(ctx context.Context, target *url.URL) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.JoinPath("pubkey").String(), nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	if _, err := keylog.ParsePublic(text); err != nil {
		return nil, err
	}
	return text, nil
}
