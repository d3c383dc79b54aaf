package pages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
	"sonic-netservices/mig-agent/engine"
)

const (
	holdEvery = 5 * time.Millisecond // a process that forks has a userfaultfd more
	killTime  = 10 * time.Second
	window    = 8 << 20                // CRIU asks for up to 4 MiB at once, and a fault waits behind it
	endTime   = 100 * time.Millisecond // of a process that is a zombie already
)

// Keep is the process that sees to the memory of one lazy move at the target: it runs CRIU's daemon, carries its bytes,
// and holds its userfaultfds, so that a page that did not come is never taken for an empty one. Where the memory cannot
// come any more it ends the container. It ends with the daemon, or when the operation is forgotten.
func Keep(args []string) error {
	h, o, err := parse(args)
	if err != nil {
		return err
	}
	line := os.NewFile(childFD, "helper")
	unix.CloseOnExec(childFD)
	if err := engine.LeaveCgroups(h.Cgroups); err != nil {
		return err
	}
	lock, err := h.LockPages(o.Op)
	if err != nil {
		return err
	}
	defer lock.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	id, err := pki.Load(o.PKI, pki.Node)
	if err != nil {
		return err
	}
	conn, err := daemon.Dial(o.From, id.Client(o.Node, pki.Node),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.Connect() // while CRIU starts
	fetched := make(chan error, 1)
	go func() { fetched <- fetch(ln, api.NewPagesClient(conn), o.Op) }()

	cmd, err := startDaemon(h, o.Op, ln.Addr().(*net.TCPAddr).Port)
	if err != nil {
		return err
	}
	k := keeper{host: h, order: o, daemon: cmd.Process.Pid, ended: make(chan error, 1)}
	go func() { k.ended <- cmd.Wait() }()
	return k.keep(line, fetched)
}

// startDaemon returns when the daemon waits for the processes.
func startDaemon(h engine.Host, op string, port int) (*exec.Cmd, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd, err := h.LazyDaemon(op, port, w)
	if err == nil {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("lazy-pages daemon: %w", err)
	}
	if n, _ := r.Read(make([]byte, 1)); n == 0 {
		err := cmd.Wait()
		return nil, fmt.Errorf("lazy-pages daemon: %v: %s", err, h.LazyProblem(op))
	}
	return cmd, nil
}

// fetch carries the one connection that the daemon makes.
func fetch(ln net.Listener, from api.PagesClient, op string) error {
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := from.Fetch(ctx)
	if err == nil {
		err = s.Send(&api.PageBytes{Op: op})
	}
	if err != nil {
		conn.Close()
		return err
	}
	return carry(conn, stream{
		send: func(b []byte) error { return s.Send(&api.PageBytes{Data: b}) },
		recv: func() ([]byte, error) {
			m, err := s.Recv()
			return m.GetData(), err
		},
	})
}

type keeper struct {
	host   engine.Host
	order  Order
	daemon int // pid
	ended  chan error
	faults engine.Userfaults
}

// keep holds userfaultfds until the daemon ends, and answers the helper on its line.
func (k *keeper) keep(line *os.File, fetched <-chan error) error {
	if _, err := line.Write([]byte{0}); err != nil { // the helper died; the agent will have the move taken back
		return err
	}
	asked := make(chan struct{})
	go func() {
		for b := make([]byte, 1); ; {
			if n, _ := line.Read(b); n == 0 { // a helper that dies or has heard enough
				return
			}
			asked <- struct{}{}
		}
	}()
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	broken := ""
	for {
		answer := false
		select {
		case err := <-k.ended:
			return k.end(err, broken)
		case err := <-fetched: // the daemon notices, and ends; its words say less than ours
			if err != nil {
				broken = err.Error()
			}
			continue
		case <-asked:
			answer = true
		case <-tick.C:
		}
		if _, err := os.Stat(k.host.OpFolder(k.order.Op)); errors.Is(err, fs.ErrNotExist) {
			return k.forgotten()
		}
		err := k.faults.Hold(k.host.Proc, k.daemon)
		switch {
		case !answer:
		case err == nil:
			line.Write([]byte{0})
		default: // the move is not committed yet
			select {
			case ended := <-k.ended: // that is why
				return k.end(ended, broken)
			case <-time.After(endTime):
			}
			unix.Kill(k.daemon, unix.SIGKILL)
			<-k.ended
			return k.end(err, broken)
		}
	}
}

// forgotten: the move was taken back, and its container is gone.
func (k *keeper) forgotten() error {
	unix.Kill(k.daemon, unix.SIGKILL)
	<-k.ended
	return errors.New("the operation is over")
}

// end says how it ended. A container whose memory will not come is ended before its page faults get any answer.
func (k *keeper) end(err error, broken string) error {
	defer k.faults.Release()
	if err == nil {
		return k.host.WritePaged(k.order.Op, engine.Paged{})
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	killed := k.host.Kill(ctx, k.order.Container)
	p := engine.Paged{Error: fmt.Sprintf("lazy-pages daemon: %v", err)}
	for _, why := range []string{k.host.LazyProblem(k.order.Op), broken} {
		if why != "" {
			p.Error += "; " + why
		}
	}
	return errors.Join(killed, k.host.WritePaged(k.order.Op, p), errors.New(p.Error))
}
