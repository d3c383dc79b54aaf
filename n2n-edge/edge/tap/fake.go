package tap

import (
	"net/netip"
	"sync"

	"sonic-netservices/n2n-edge/edge/offload"
)

// Fake is a device in memory: Send is the kernel that sends, Received what it was given.
type Fake struct {
	name     string
	frames   chan []byte // header and frame
	done     chan struct{}
	closing  sync.Once
	Received chan Frame

	mu   sync.Mutex
	addr netip.Prefix
}

// Frame is what the kernel was given.
type Frame struct {
	Header offload.Header
	Bytes  []byte
}

// NewFake makes a device that holds up to depth frames each way.
func NewFake(name string, depth int) *Fake {
	return &Fake{name: name, frames: make(chan []byte, depth), done: make(chan struct{}), Received: make(chan Frame, depth)}
}

// Send lets the kernel send a frame.
func (f *Fake) Send(h offload.Header, frame []byte) {
	b := make([]byte, offload.HeaderLen, offload.HeaderLen+len(frame))
	h.Encode(b)
	select {
	case f.frames <- append(b, frame...):
	case <-f.done:
	}
}

func (f *Fake) Read(b []byte, wait bool) (int, error) {
	select {
	case <-f.done:
		return 0, ErrClosed
	default:
	}
	if !wait {
		select {
		case frame := <-f.frames:
			return copy(b, frame), nil
		default:
			return 0, nil
		}
	}
	select {
	case frame := <-f.frames:
		return copy(b, frame), nil
	case <-f.done:
		return 0, ErrClosed
	}
}

// WriteFrame drops what nobody takes, as the kernel does.
func (f *Fake) WriteFrame(h *offload.Header, pieces [][]byte) error {
	frame := Frame{Header: *h}
	for _, p := range pieces {
		frame.Bytes = append(frame.Bytes, p...)
	}
	select {
	case f.Received <- frame:
	default:
	}
	return nil
}

func (f *Fake) SetAddress(p netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addr = p
	return nil
}

// Address is what SetAddress has set.
func (f *Fake) Address() netip.Prefix {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.addr
}

func (f *Fake) Name() string  { return f.name }
func (f *Fake) Offload() bool { return true }

func (f *Fake) Close() error {
	f.closing.Do(func() { close(f.done) })
	return nil
}
