package orders

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
)

// Join keeps an agent among those that are here until ctx ends, and sends the members now and whenever they change.
// caller is the name in the agent's certificate.
func (m *Manager) Join(ctx context.Context, hello *api.Hello, caller string, send func(*api.Members) error) error {
	if hello.Node != caller {
		return status.Errorf(codes.PermissionDenied, "node: certificate of %s cannot join as %s", caller, hello.Node)
	}
	for field, address := range map[string]string{"agent": hello.Agent, "helper": hello.Helper} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return status.Errorf(codes.InvalidArgument, "%s: %q: want host:port", field, address)
		}
	}
	number, err := m.enter(memberOf(hello))
	if err != nil {
		return err
	}
	defer m.leave(hello.Node, number)
	reign, _, err := m.Lead()
	if err != nil {
		return err
	}

	var sent *api.Members
	for {
		members, changed := m.members()
		if !proto.Equal(sent, members) {
			if err := send(members); err != nil {
				return err
			}
			sent = members
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-reign.Done():
			return m.NotLeading()
		}
	}
}

// enter notes that an agent is here. A second node with the name of one that is here is refused.
func (m *Manager) enter(member Member) (number int, err error) {
	err = m.decide(func() (records []Record, err error) {
		open, ok := m.here[member.Node]
		if ok && open.address != member.Address {
			return nil, status.Errorf(codes.AlreadyExists, "node %s is here already, at %s", member.Node, open.address)
		}
		if !reflect.DeepEqual(m.state.Members[member.Node], member) {
			records = []Record{{Kind: Joined, At: time.Now(), Member: &member}}
		}
		return records, nil
	}, func([]Record) {
		m.joins++
		number = m.joins
		m.here[member.Node] = session{number, member.Address}
		delete(m.gone, member.Node)
		m.tell()
	})
	return number, err
}

func (m *Manager) leave(node string, number int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.here[node].number == number {
		delete(m.here, node)
		m.gone[node] = true
	}
}

func (m *Manager) members() (*api.Members, <-chan struct{}) {
	managers := m.managers()
	m.mu.Lock()
	defer m.mu.Unlock()
	members := &api.Members{Epoch: m.state.Epoch, Cluster: m.state.Cluster.ID, Anew: m.state.Cluster.Anew, Managers: managers}
	for _, node := range slices.Sorted(maps.Keys(m.state.Members)) {
		members.Members = append(members.Members, m.state.Members[node].message())
	}
	return members, m.changed
}

// managers lists them as messages do.
func (m *Manager) managers() (list []*api.ManagerView) {
	s := m.log.Status()
	for _, one := range s.Members {
		list = append(list, &api.ManagerView{Node: one.Node, Addr: one.Serves, Journal: one.Addr, Voter: one.Voter, Leads: one.Node == s.Leader})
	}
	slices.SortFunc(list, func(a, b *api.ManagerView) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// serviceLimit bounds how long Services waits for an agent.
const serviceLimit = 2 * time.Second

// Services lists what is desired and what the agents say about it.
func (m *Manager) Services(ctx context.Context) *api.ServiceList {
	told := m.inventories(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	list := &api.ServiceList{Epoch: m.state.Epoch}
	for _, name := range slices.Sorted(maps.Keys(m.state.Services)) {
		service := m.state.Services[name]
		status := &api.ServiceStatus{Name: name, Image: service.Spec.Image, Migration: modeMessage(service.Spec.Migration)}
		for n := range service.Spec.Replicas {
			instances, problem := m.state.look(netmap.ReplicaID{Service: name, Replica: n}, told)
			status.Instances = append(status.Instances, instances...)
			if problem != "" && status.Problem == "" {
				status.Problem = problem
			}
		}
		list.Services = append(list.Services, status)
	}
	return list
}

// look puts together what is known about one replica: its instances, and what is wrong: none runs, or an agent sees a
// problem.
func (s *State) look(id netmap.ReplicaID, told map[string][]*api.Instance) (instances []*api.Instance, problem string) {
	runs := false
	for _, node := range slices.Sorted(maps.Keys(told)) {
		for _, i := range told[node] {
			if i.Service == id.Service && int(i.Replica) == id.Replica && i.State != api.State_UNLOADED {
				instances = append(instances, i)
				runs = runs || i.State == api.State_RUNNING || node == s.source(id)
				if problem == "" || node == s.at(id) { // that of the node it belongs to says most
					problem = cmp.Or(i.Problem, problem)
				}
			}
		}
	}
	if runs {
		return instances, problem
	}
	at, placed := s.placement(id)
	op, busy := s.InFlight(id)
	switch {
	case placed && told[at.Node] == nil:
		instances = append(instances, s.instance(id, at, api.State_RUNNING)) // the newest that is known
		problem = fmt.Sprintf("%s: node %s does not answer", id, at.Node)
	case busy:
		problem = fmt.Sprintf("%s: operation %s (%s) is in flight, at step %s", id, op.ID, op.Verb, op.Step)
	case placed:
		problem = fmt.Sprintf("%s: does not run on %s", id, at.Node)
	default:
		problem = fmt.Sprintf("%s: is not placed", id)
	}
	return instances, problem
}

// source gives the node that a replica is moving away from, where it serves until the commit.
func (s *State) source(id netmap.ReplicaID) string {
	if op, ok := s.InFlight(id); ok && op.Verb == Move {
		return op.Node
	}
	return ""
}

// at is the node a replica is placed on, "" when it is not.
func (s *State) at(id netmap.ReplicaID) string {
	at, _ := s.placement(id)
	return at.Node
}

func (s *State) placement(id netmap.ReplicaID) (Placement, bool) {
	service, ok := s.Services[id.Service]
	if !ok {
		return Placement{}, false
	}
	at, ok := service.Replicas[id.Replica]
	return at, ok
}

// inventories asks all agents that are here at once. A node that does not answer has no entry.
func (m *Manager) inventories(ctx context.Context) map[string][]*api.Instance {
	m.mu.Lock()
	var members []Member
	for node := range m.here {
		members = append(members, m.state.Members[node])
	}
	m.mu.Unlock()

	var mu sync.Mutex
	told := map[string][]*api.Instance{}
	var asked sync.WaitGroup
	for _, member := range members {
		asked.Go(func() {
			reply, err := m.agents.inventory(ctx, member, serviceLimit)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told[member.Node] = append([]*api.Instance{}, reply.Instances...)
		})
	}
	asked.Wait()
	return told
}
