// Package chunk makes an io.Writer of a stream's Send and an io.Reader of its Recv, in chunks of bounded size.
//
// It reads and writes nothing of its own; whoever owns the stream tells it how to send and receive one chunk.
package chunk

import (
	"bufio"
	"io"
)

// Size bounds one chunk in bytes: large enough that the cost of a message does not count, small enough that bounded
// queues stay small.
const Size = 256 << 10

// Writer collects what is written into chunks and sends each. Flush sends the rest.
func Writer(send func([]byte) error) *bufio.Writer {
	return bufio.NewWriterSize(sender(send), Size)
}

type sender func([]byte) error

// Write sends p in pieces, each a copy: a stream may keep the slice after Send returns, and bufio re-uses its buffer.
func (s sender) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		piece := append([]byte(nil), p[n:min(n+Size, len(p))]...)
		if err := s(piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Reader reads what recv gives, until recv gives io.EOF.
func Reader(recv func() ([]byte, error)) io.Reader { return &receiver{recv: recv} }

type receiver struct {
	recv func() ([]byte, error)
	rest []byte
}

func (r *receiver) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		data, err := r.recv()
		if err != nil {
			return 0, err
		}
		r.rest = data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
