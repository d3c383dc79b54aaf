package serve

import (
	"context"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/internal/n2n"
	"sonic-netservices/n2n-supernode/rendezvous"
)

// overlay answers operators.
type overlay struct {
	api.UnimplementedOverlayServer
	machine *rendezvous.Machine
}

// Edges lists the edges and the other supernodes.
func (o overlay) Edges(_ context.Context, r *api.EdgesRequest) (*api.EdgeList, error) {
	now := time.Now()
	list := &api.EdgeList{}
	for _, e := range o.machine.Edges() {
		if r.Community != "" && r.Community != e.Community.String() {
			continue
		}
		v := &api.OverlayEdge{Community: e.Community.String(), Name: e.Name.String(), Mac: e.MAC.String(),
			Public: e.Public.Addr.String(), Transport: "udp", Nat: e.NAT.String(), Encrypted: e.Encrypted,
			RegisteredMs: now.Sub(e.First).Milliseconds(), HeardMs: now.Sub(e.Seen).Milliseconds(), Relayed: e.Relayed,
			RelayedMs: -1, Why: why(e)}
		if e.Public.Conn != 0 {
			v.Transport = "tcp"
		}
		if e.Address.IsValid() {
			v.Address = e.Address.String()
		}
		if e.Local.IsValid() {
			v.Local = e.Local.String()
		}
		if !e.RelayedAt.IsZero() {
			v.RelayedMs = now.Sub(e.RelayedAt).Milliseconds()
		}
		list.Edges = append(list.Edges, v)
	}
	for _, s := range o.machine.Supernodes(now) {
		v := &api.OverlaySupernode{Addr: s.Addr.String(), Alive: s.Alive}
		if !s.MAC.IsZero() {
			v.Mac = s.MAC.String()
		}
		list.Supernodes = append(list.Supernodes, v)
	}
	return list, nil
}

// why says what keeps an edge from sending straight, as far as a supernode can tell.
func why(e rendezvous.Edge) string {
	switch {
	case e.Public.Conn != 0:
		return "it is here by TCP: all it sends goes by the supernode"
	case e.NAT == n2n.NATSymmetric:
		return "symmetric NAT: by the supernode to who is behind one, too"
	}
	return ""
}
