// Package managers finds the one that leads among the managers of an AS, for who orders (nsctl) and who obeys (mig-agent).
//
// It reads what the managers say of themselves (Manager.Managers), writes nothing, and is told by its callers where
// managers may be; one that answers tells of the others.
package managers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sonic-netservices/api"
	"sonic-netservices/internal/daemon"
	"sonic-netservices/internal/pki"
)

// At is where a manager serves.
type At struct {
	Node string // its certificate names it
	Addr string // host:port
}

// Parse reads two lists that belong together, names and addresses, each joined by commas: manager_node and manager of
// CONFIG_DB NETSERVICES|global, manager_name and manager of nsctl.yaml.
func Parse(nodes, addrs string) ([]At, error) {
	if nodes == "" && addrs == "" {
		return nil, nil
	}
	names, places := strings.Split(nodes, ","), strings.Split(addrs, ",")
	if len(names) != len(places) {
		return nil, fmt.Errorf("manager: %d names (%s) for %d addresses (%s)", len(names), nodes, len(places), addrs)
	}
	var list []At
	for i := range names {
		one := At{strings.TrimSpace(names[i]), strings.TrimSpace(places[i])}
		if one.Node == "" {
			return nil, fmt.Errorf("manager: %q has no name", one.Addr)
		}
		if _, _, err := net.SplitHostPort(one.Addr); err != nil {
			return nil, fmt.Errorf("manager: %q: want host:port", one.Addr)
		}
		list = append(list, one)
	}
	return list, nil
}

// Join writes what Parse reads.
func Join(list []At) (nodes, addrs string) {
	var names, places []string
	for _, one := range list {
		names, places = append(names, one.Node), append(places, one.Addr)
	}
	return strings.Join(names, ","), strings.Join(places, ",")
}

const (
	answerTime = 1500 * time.Millisecond // of one manager; a switch without power does not answer
	searchTime = 5 * time.Second         // while managers answer and none leads: an election takes two
	searchWait = 100 * time.Millisecond
)

// Conn is a connection to whoever leads. It implements grpc.ClientConnInterface.
type Conn struct {
	id    *pki.Identity
	known func() []At

	mu    sync.Mutex
	conns map[At]*grpc.ClientConn
	told  []At // of by managers
}

// New gives a Conn to one of the managers that known lists.
func New(id *pki.Identity, known func() []At) *Conn {
	return &Conn{id: id, known: known, conns: map[At]*grpc.ClientConn{}}
}

// Close ends all connections.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, conn := range c.conns {
		conn.Close()
		delete(c.conns, at)
	}
}

// To gives the connection to one manager, whether it leads or not.
func (c *Conn) To(at At) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn, ok := c.conns[at]; ok {
		return conn, nil
	}
	conn, err := daemon.Dial(at.Addr, c.id.Client(at.Node, pki.Manager))
	if err != nil {
		return nil, fmt.Errorf("manager %s: %w", at.Addr, err)
	}
	c.conns[at] = conn
	return conn, nil
}

// All lists every manager that is known of, those first that managers told of.
func (c *Conn) All() []At {
	c.mu.Lock()
	all := slices.Clone(c.told)
	c.mu.Unlock()
	for _, at := range c.known() {
		if !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

// Invoke implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	_, conn, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *Conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	_, conn, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

// Leader asks the managers until one says that it leads. Where none answers at all it gives up at once, with the error
// of the first.
func (c *Conn) Leader(ctx context.Context) (At, *grpc.ClientConn, error) {
	begun := time.Now()
	for {
		at, err := c.search(ctx)
		if err == nil {
			conn, err := c.To(at)
			return at, conn, err
		}
		if !errors.Is(err, errNoLeader) || time.Since(begun) > searchTime {
			return At{}, nil, err
		}
		select {
		case <-time.After(searchWait):
		case <-ctx.Done():
			return At{}, nil, err
		}
	}
}

// errNoLeader says that managers answer, and none leads now.
var errNoLeader = status.Error(codes.Unavailable, "the managers answer, and none of them leads: a majority of them must be up")

type answer struct {
	at   At
	list *api.ManagerList
	err  error
}

// search asks all managers at once, and those that they tell of.
func (c *Conn) search(ctx context.Context) (At, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answers := make(chan answer)
	asked := map[At]bool{}
	ask := func(at At) {
		if asked[at] {
			return
		}
		asked[at] = true
		go func() {
			list, err := c.Ask(ctx, at)
			select {
			case answers <- answer{at, list, err}:
			case <-ctx.Done():
			}
		}()
	}
	for _, at := range c.All() {
		ask(at)
	}
	var first error
	for n := 0; n < len(asked); n++ {
		var a answer
		select {
		case a = <-answers:
		case <-ctx.Done():
			if first == nil {
				first = status.FromContextError(ctx.Err()).Err()
			}
			return At{}, first
		}
		switch {
		case status.Code(a.err) == codes.Unimplemented: // a manager of the version before: there is no other one
			return a.at, nil
		case a.err != nil:
			if first == nil {
				first = a.err
			}
			continue
		case a.list.Self.GetLeads():
			c.learn(a.list)
			return a.at, nil
		}
		first = errNoLeader
		for _, one := range a.list.Managers {
			ask(At{one.Node, one.Addr})
		}
	}
	if first == nil {
		first = errors.New("no manager is configured")
	}
	return At{}, first
}

// Ask gives what one manager says.
func (c *Conn) Ask(ctx context.Context, at At) (*api.ManagerList, error) {
	conn, err := c.To(at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return api.NewManagerClient(conn).Managers(ctx, &api.Empty{})
}

// learn remembers where managers are.
func (c *Conn) learn(list *api.ManagerList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = Listed(list.Managers)
}

// Listed gives those of a message.
func Listed(views []*api.ManagerView) (list []At) {
	for _, one := range views {
		list = append(list, At{one.Node, one.Addr})
	}
	return list
}
