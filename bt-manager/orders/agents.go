package orders

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"sonic-netservices/api"
	"sonic-netservices/bt-manager/images"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
)

const (
	reachLimit     = 5 * time.Second
	preflightLimit = 20 * time.Second        // both ends run CRIU's own check
	askLimit       = 1500 * time.Millisecond // for agent and helper together; a target that asks us waits 2 s
	pushLimit      = 10 * time.Minute        // an image over a slow link
	chunk          = 256 << 10
)

// agents holds one connection per agent and helper; each is made when it is first needed and repairs itself.
type agents struct {
	id *pki.Identity

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by node and address
}

func newAgents(id *pki.Identity) *agents {
	return &agents{id: id, conns: map[string]*grpc.ClientConn{}}
}

func (a *agents) dial(node, address string) (*grpc.ClientConn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := node + " " + address
	if conn, ok := a.conns[key]; ok {
		return conn, nil
	}
	conn, err := daemon.Dial(address, a.id.Client(node, pki.Node),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", node, err)
	}
	a.conns[key] = conn
	return conn, nil
}

func (a *agents) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, conn := range a.conns {
		conn.Close()
		delete(a.conns, key)
	}
}

func (a *agents) agent(m Member) (api.AgentClient, error) {
	conn, err := a.dial(m.Node, m.Agent)
	if err != nil {
		return nil, err
	}
	return api.NewAgentClient(conn), nil
}

// inventory waits for the connection, within its limit: an agent may have been restarted a moment ago.
func (a *agents) inventory(ctx context.Context, m Member, limit time.Duration) (*api.InventoryReply, error) {
	agent, err := a.agent(m)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return agent.Inventory(ctx, &api.Empty{}, grpc.WaitForReady(true))
}

// ask gives the outcome of an operation from the agent, or from the journal on its disk, which the helper reads. That
// the journal does not know it means nothing while the agent, which may be about to write it, is silent.
func (a *agents) ask(ctx context.Context, m Member, id string) (*api.OutcomeReply, error) {
	agent, err := a.agent(m)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	half, cancelHalf := context.WithTimeout(ctx, askLimit/2)
	defer cancelHalf()
	reply, silence := agent.Ask(half, &api.OpRef{Op: id})
	if silence == nil {
		return reply, nil
	}
	conn, err := a.dial(m.Node, m.Helper)
	if err != nil {
		return nil, err
	}
	reply, err = api.NewWitnessClient(conn).Outcome(ctx, &api.OpRef{Op: id})
	if err != nil || reply.Outcome == api.Outcome_UNKNOWN {
		return nil, silence
	}
	return reply, nil
}

// push brings an image to an agent.
func (a *agents) push(ctx context.Context, m Member, store *images.Store, id string) (int64, error) {
	agent, err := a.agent(m)
	if err != nil {
		return 0, err
	}
	tar, err := store.Open(id)
	if err != nil {
		return 0, err
	}
	defer tar.Close()
	ctx, cancel := context.WithTimeout(ctx, pushLimit)
	defer cancel()
	stream, err := agent.PushImage(ctx)
	if err != nil {
		return 0, err
	}
	var sent int64
	buffer := make([]byte, chunk)
	for {
		n, err := io.ReadFull(tar, buffer)
		if n > 0 {
			if stream.Send(&api.Chunk{Data: buffer[:n]}) != nil {
				break // CloseAndRecv tells why
			}
			sent += int64(n)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return sent, fmt.Errorf("push image: %w", err)
		}
	}
	image, err := stream.CloseAndRecv()
	if err != nil {
		return sent, err
	}
	if image.Id != id {
		return sent, fmt.Errorf("push image: %s loaded it as %s, want %s", m.Node, image.Id, id)
	}
	return sent, nil
}
