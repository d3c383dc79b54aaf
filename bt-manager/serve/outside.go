package serve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/groot"
	"sonic-netservices/bt-manager/record"
	"sonic-netservices/bt-manager/run"
)

// off is the value of a Config field that turns something off.
const off = "off"

// outside is what is attached to the trees from outside: the recorder, and the socket of Groot2 while an operator wants it.
type outside struct {
	runner   *run.Runner
	node     string
	addr     string           // of the socket; off: never
	recorder *record.Recorder // nil: nothing is recorded

	mu     sync.Mutex
	socket *groot.Server // nil while it is closed
}

func newOutside(c Config, runner *run.Runner) (*outside, error) {
	o := &outside{runner: runner, node: c.Node, addr: c.Groot}
	if c.Record == off {
		return o, nil
	}
	var err error
	if o.recorder, err = record.New(record.Config{Dir: filepath.Join(c.Dir, "log")}, slog.Default()); err != nil {
		return nil, err
	}
	runner.Watch(o.recorder)
	return o, nil
}

// monitor opens the socket for a tree, or closes it. by is who wants it.
func (o *outside) monitor(by, replica string, write, end bool) (*api.MonitorReply, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	reply := &api.MonitorReply{Node: o.node}
	switch {
	case end:
		if o.socket != nil {
			slog.Info("groot: the socket is closed", "by", by)
		}
		o.closeSocket()
		return reply, nil
	case o.addr == off:
		return nil, status.Errorf(codes.FailedPrecondition, "the manager on %s has its monitor socket turned off", o.node)
	}
	fresh := o.socket == nil
	if fresh {
		s, err := groot.Listen(o.addr, o.runner, slog.Default())
		if err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
		o.socket = s
		o.runner.Watch(s)
	}
	if _, err := o.socket.Show(replica, write); err != nil {
		if fresh {
			o.closeSocket()
		}
		return nil, status.Error(codes.NotFound, err.Error())
	}
	reply.Name, reply.Rep, reply.Pub, reply.Write = record.Name(replica), o.socket.Addr(), o.socket.PubAddr(), write
	slog.Info("groot: a tree is shown", "tree", reply.Name, "addr", reply.Rep, "write", write, "by", by)
	return reply, nil
}

// closeSocket ends it where it is open. The caller holds mu.
func (o *outside) closeSocket() {
	if o.socket != nil {
		o.runner.Unwatch(o.socket)
		o.socket.Close()
		o.socket = nil
	}
}

func (o *outside) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closeSocket()
}

// recording opens a log.
func (o *outside) recording(replica string, ago int) (io.ReadCloser, error) {
	if o.recorder == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "the manager on %s records nothing", o.node)
	}
	f, err := o.recorder.Open(replica, ago)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		which := "log"
		if ago > 0 {
			which = fmt.Sprintf("log %d before the newest", ago)
		}
		return nil, status.Errorf(codes.NotFound, "no %s of %s", which, record.Name(replica))
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return f, nil
}
