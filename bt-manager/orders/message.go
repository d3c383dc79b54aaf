package orders

import (
	"maps"
	"slices"

	"sonic-netservices/api"
	"sonic-netservices/netmap"
	"sonic-netservices/spec"
)

// order writes the newest step of an operation as its agent gets it.
func (s *State) order(op *Op) *api.Order {
	o := &api.Order{Op: op.ID, Epoch: s.Epoch, Cluster: s.Cluster.ID, Anew: s.Cluster.Anew}
	move := s.moveOrder(op)
	switch op.Step {
	case StepDeploy:
		o.What = &api.Order_Deploy{Deploy: &api.DeployOrder{Replica: s.replica(op.Replica)}}
	case StepRemove: // of remove and of evict
		o.What = &api.Order_Remove{Remove: &api.RemoveOrder{Service: op.Replica.Service, Replica: int32(op.Replica.Replica)}}
	case StepTransfer:
		o.What = &api.Order_Transfer{Transfer: move}
	case StepPrewarm:
		o.What = &api.Order_Prewarm{Prewarm: move}
	case StepCutover:
		o.What = &api.Order_Cutover{Cutover: move}
	case StepCancel:
		o.What = &api.Order_Cancel{Cancel: move}
	}
	return o
}

func (s *State) moveOrder(op *Op) *api.MoveOrder {
	return &api.MoveOrder{
		Service: op.Replica.Service, Replica: int32(op.Replica.Replica), Mode: modeMessage(op.Mode), Options: op.Options.message(),
		To: op.To, ToAgent: s.Members[op.To].Agent, ToHelper: s.Members[op.To].Helper,
	}
}

// replica derives from the spec what an agent needs to run one replica.
func (s *State) replica(id netmap.ReplicaID) *api.Replica {
	service := s.Services[id.Service]
	wanted := service.Spec
	address, _ := wanted.ReplicaAddress(id.Replica)
	r := &api.Replica{
		Service:     id.Service,
		Replica:     int32(id.Replica),
		ImageId:     service.ImageID,
		Image:       wanted.Image,
		Address:     address.String(),
		Command:     wanted.Command,
		CpuLimit:    wanted.Limits.CPU,
		MemoryLimit: wanted.Limits.Memory,
		PidsLimit:   wanted.Limits.PIDs,
		Secrets:     map[string]string{},
	}
	further, _ := wanted.ReplicaAddresses(id.Replica)
	for _, prefix := range further {
		r.MoreAddresses = append(r.MoreAddresses, prefix.String())
	}
	for _, p := range wanted.Ports {
		r.Ports = append(r.Ports, &api.Port{Protocol: string(p.Protocol), Node: int32(p.Node), Container: int32(p.Container)})
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Environment)) {
		r.Environment = append(r.Environment, name+"="+wanted.Environment[name])
	}
	for name, secret := range wanted.Secrets {
		r.Secrets[name] = secret.Value
	}
	for _, v := range wanted.Volumes {
		r.Volumes = append(r.Volumes, &api.Volume{Name: v.Name, Target: v.Target})
	}
	r.WarmUp = &api.WarmUp{DeltaBytes: wanted.WarmUp.Delta, TimeoutMs: wanted.WarmUp.Timeout.Milliseconds()}
	if wanted.OnLostNode == spec.Redeploy {
		r.LeaseMs = leaseTime.Milliseconds()
	}
	if p := wanted.Probe; p != nil {
		r.Probe = &api.Probe{
			Tcp: p.TCP, Http: p.HTTP, Exec: p.Exec,
			IntervalMs: p.Interval.Milliseconds(), TimeoutMs: p.Timeout.Milliseconds(), Failures: int32(p.Failures),
		}
	}
	return r
}

// instance is a replica as the manager remembers it; its agent knows better.
func (s *State) instance(id netmap.ReplicaID, at Placement, state api.State) *api.Instance {
	service := s.Services[id.Service]
	address, _ := service.Spec.ReplicaAddress(id.Replica)
	return &api.Instance{
		Service: id.Service, Replica: int32(id.Replica), Node: at.Node, NodeAddress: s.Members[at.Node].Address,
		ServiceAddress: address.Addr().String(), Container: id.String(), State: state, Op: at.Op,
		SinceUnixMs: at.Since.UnixMilli(), ImageId: service.ImageID,
	}
}

func modeMessage(m netmap.Mode) api.Mode {
	switch m {
	case netmap.Live:
		return api.Mode_LIVE
	case netmap.Warm:
		return api.Mode_WARM
	case netmap.Cold:
		return api.Mode_COLD
	}
	return api.Mode_MODE_UNSPECIFIED
}

// ParseMode reads a mode from a message; "" lets the service decide.
func ParseMode(m api.Mode) netmap.Mode {
	switch m {
	case api.Mode_LIVE:
		return netmap.Live
	case api.Mode_WARM:
		return netmap.Warm
	case api.Mode_COLD:
		return netmap.Cold
	}
	return ""
}

func memberOf(h *api.Hello) Member {
	return Member{
		Node: h.Node, Address: h.Address, Agent: h.Agent, Helper: h.Helper, Version: h.Version, API: int(h.Api),
		Modes: h.Modes, Cannot: h.Cannot,
	}
}

func (m Member) message() *api.Hello {
	return &api.Hello{
		Node: m.Node, Address: m.Address, Agent: m.Agent, Helper: m.Helper, Version: m.Version, Api: int32(m.API),
		Modes: m.Modes, Cannot: m.Cannot,
	}
}
