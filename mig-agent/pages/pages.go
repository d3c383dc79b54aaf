// Package pages brings the memory of a lazily moved service from its frozen source to the target, after the commit.
//
// CRIU's page server and its lazy-pages daemon speak over TCP without any authentication, so both are on loopback, and
// their bytes go from node to node over mutual TLS (api.Pages):
//
//	source: page server -- Server, in the helper == api.Pages == Keep, a process of its own -- daemon: target
//
// Keep outlives helper and agent of the target; the source's helper must live until the last page is there. It reads the
// operation's folder, writes how it ended into it, and is told by the helper that starts it (Start), by command line.
package pages

import (
	"errors"
	"io"
	"net"

	"sonic-netservices/internal/chunk"
)

// stream is either end of api.Pages.Fetch.
type stream struct {
	send func([]byte) error
	recv func() ([]byte, error)
}

// carry copies in both directions until one has ended, and closes conn. The other end of the stream is the caller's to
// close.
func carry(conn net.Conn, s stream) error {
	out := make(chan error, 1)
	go func() {
		defer conn.Close() // wakes the reader below
		for {
			data, err := s.recv()
			if err == nil {
				_, err = conn.Write(data)
			}
			if err != nil {
				out <- err
				return
			}
		}
	}()
	buf := make([]byte, chunk.Size)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if err := s.send(append([]byte(nil), buf[:n]...)); err != nil {
				conn.Close()
				return err
			}
		}
		if err == nil {
			continue
		}
		conn.Close()
		select {
		case other := <-out: // the stream ended first
			err = other
		default:
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}
