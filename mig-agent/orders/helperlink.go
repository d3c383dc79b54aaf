package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"sonic-netservices/api"
	"sonic-netservices/internal/managers"
	"sonic-netservices/mig-agent/engine"
	"sonic-netservices/mig-agent/helper"
	"sonic-netservices/mig-agent/journal"
	"sonic-netservices/netmap"
)

// HelperContainer is the name of the standing helper.
const HelperContainer = "mig-agent-helper"

// beatEvery is a sixth of the default silence: one late beat is no death.
const beatEvery = 50 * time.Millisecond

// idleBeat is the pace while nothing is guarded: the helper then settles nothing, and a switch has better things to do.
const idleBeat = time.Second

// helperLink keeps the helper's container alive and the life line to it.
type helperLink struct {
	api.HelperClient
	conn   *grpc.ClientConn
	docker *engine.Docker
	log    *slog.Logger
	again  func(context.Context) // tells a new helper what the one before knew

	mu      sync.Mutex
	guarded map[string]journal.Role // by op
	beat    chan chan error         // asks for a beat now; hears whether it was answered
}

// startHelper makes the helper run and returns when it answers.
func startHelper(ctx context.Context, a *Agent) (*helperLink, error) {
	conn, err := grpc.NewClient("unix://"+helper.Socket(a.cfg.Dir),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket only root can open
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second, Backoff: backoff.Config{
			BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 50 * time.Millisecond}}))
	if err != nil {
		return nil, fmt.Errorf("helper: %w", err)
	}
	h := &helperLink{HelperClient: api.NewHelperClient(conn), conn: conn, docker: a.docker, log: a.log, again: a.informHelper,
		guarded: map[string]journal.Role{}, beat: make(chan chan error)}
	self, err := a.docker.Container(ctx, a.cfg.Container)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("helper: our own container: %w", err)
	}
	names, addrs := managers.Join(a.cfg.Managers)
	args := []string{"helper", "--dir", a.cfg.Dir, "--pki", a.cfg.PKI,
		"--listen", fmt.Sprintf("%s:%d", a.cfg.Address, netmap.HelperPort),
		"--manager", addrs, "--manager-name", names, "--silence", a.cfg.Silence.String(),
		"--criu", string(a.cfg.CRIU), fmt.Sprintf("--live-restore=%t", a.cfg.LiveRestore)}
	if err := h.ensure(ctx, self.Image, args); err != nil {
		conn.Close()
		return nil, err
	}
	go h.keep(ctx, self.Image, args)
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := h.Facts(ctx, &api.Empty{}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("helper does not answer: %w", err)
	}
	return h, nil
}

func (h *helperLink) close() { h.conn.Close() }

// keep holds the life line and starts a dead helper again at once; SONiC would take 30 s. Docker may call a helper
// running whose connection has broken already, so a helper that does not answer is looked at again and again.
func (h *helperLink) keep(ctx context.Context, image string, args []string) {
	for ctx.Err() == nil {
		go h.again(ctx)
		err := h.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errNoAnswer) {
			h.log.Warn("helper is gone", "err", err)
		}
		if err := h.ensure(ctx, image, args); err != nil {
			h.log.Error("start helper", "err", err)
			pause(ctx, 100*time.Millisecond)
		}
	}
}

// errNoAnswer says that a helper has not opened the life line within answerTime.
var errNoAnswer = errors.New("helper does not answer")

// answerTime is long for a helper that runs, short for packets that wait for one that does not.
const answerTime = 100 * time.Millisecond

// ensure makes a helper of this image run. One of another image is replaced, it is a leftover of another version; so is
// one with other arguments, of another configuration.
func (h *helperLink) ensure(ctx context.Context, image string, args []string) error {
	c, err := h.docker.Container(ctx, HelperContainer)
	if err == nil && (c.Image != image || !slices.Equal(c.Args, args)) {
		if err := h.docker.Remove(ctx, c.ID); err != nil {
			return err
		}
		err = engine.ErrNotFound
	}
	if errors.Is(err, engine.ErrNotFound) {
		c, err = h.docker.CreateHelper(ctx, HelperContainer, image, args, netmap.HostDir)
	}
	if err != nil {
		return err
	}
	if c.Running {
		return nil
	}
	return h.docker.Start(ctx, c.ID)
}

// watch beats until the stream breaks.
func (h *helperLink) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(answerTime, cancel)
	stream, err := h.Watch(ctx)
	if !late.Stop() {
		return errNoAnswer
	}
	if err != nil {
		return err
	}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		var asked chan error
		select {
		case <-ctx.Done():
			stream.CloseSend()
			return ctx.Err()
		case <-next.C:
		case asked = <-h.beat:
		}
		beat := h.current()
		pace := idleBeat
		if len(beat.Guarded) > 0 {
			pace = beatEvery
		}
		next.Reset(pace)
		err := stream.Send(beat)
		if err == nil {
			_, err = stream.Recv()
		}
		if asked != nil {
			asked <- err
		}
		if err != nil {
			return err
		}
	}
}

func (h *helperLink) current() *api.Beat {
	h.mu.Lock()
	defer h.mu.Unlock()
	beat := &api.Beat{}
	for op, role := range h.guarded {
		beat.Guarded = append(beat.Guarded, &api.Guarded{Op: op, Role: string(role)})
	}
	return beat
}

// guard returns when the helper knows that it must settle the operation should we die. A helper that dies over the
// question is asked again when it is back.
func (h *helperLink) guard(ctx context.Context, op string, role journal.Role) error {
	h.mu.Lock()
	_, known := h.guarded[op]
	h.guarded[op] = role
	h.mu.Unlock()
	for !known {
		answer := make(chan error, 1)
		select {
		case h.beat <- answer:
		case <-ctx.Done():
		}
		select {
		case err := <-answer:
			known = err == nil
		case <-ctx.Done():
			h.unguard(op)
			return fmt.Errorf("guard by helper: %w", ctx.Err())
		}
	}
	return nil
}

func (h *helperLink) unguard(op string) {
	h.mu.Lock()
	delete(h.guarded, op)
	h.mu.Unlock()
}
