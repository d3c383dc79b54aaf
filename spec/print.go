package spec

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// Print writes a service in its normal form: fields in fixed order, defaults written out, maps sorted. Parse reads the
// same service from it.
func Print(s *Service) ([]byte, error) {
	root := object()
	root.text("name", s.Name)
	root.text("image", s.Image)
	root.list("command", s.Command)
	if s.Replicas == PerNode {
		root.text("replicas", "per-node")
	} else {
		root.plain("replicas", strconv.Itoa(s.Replicas))
	}
	root.text("address", s.Address.String())
	var further []string
	for _, p := range s.Addresses {
		further = append(further, p.String())
	}
	root.list("addresses", further)
	if len(s.Ports) > 0 {
		ports := &yaml.Node{Kind: yaml.SequenceNode}
		for _, p := range s.Ports {
			port := object()
			port.plain("node", strconv.Itoa(p.Node))
			port.plain("container", strconv.Itoa(p.Container))
			port.text("protocol", string(p.Protocol))
			ports.Content = append(ports.Content, port.node)
		}
		root.add("ports", ports)
	}

	demand := object()
	for _, kind := range slices.Sorted(maps.Keys(s.Demand)) {
		if v := s.Demand[kind]; inBytes(kind) {
			demand.plain(kind, printBytes(int64(v)))
		} else {
			demand.plain(kind, printNumber(v))
		}
	}
	root.object("demand", demand)

	limits := object()
	if s.Limits.CPU > 0 {
		limits.plain("cpu", printNumber(s.Limits.CPU))
	}
	limits.bytes("memory", s.Limits.Memory)
	if s.Limits.PIDs > 0 {
		limits.plain("pids", strconv.FormatInt(s.Limits.PIDs, 10))
	}
	root.object("limits", limits)

	if len(s.Volumes) > 0 {
		volumes := &yaml.Node{Kind: yaml.SequenceNode}
		for _, v := range s.Volumes {
			volume := object()
			volume.text("name", v.Name)
			volume.text("target", v.Target)
			volumes.Content = append(volumes.Content, volume.node)
		}
		root.add("volumes", volumes)
	}
	environment := object()
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		environment.text(name, s.Environment[name])
	}
	root.object("environment", environment)
	secrets := object()
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if secret := s.Secrets[name]; secret.File != "" {
			file := object()
			file.text("file", secret.File)
			secrets.object(name, file)
		} else {
			secrets.text(name, secret.Value)
		}
	}
	root.object("secrets", secrets)

	root.text("migration", string(s.Migration))
	root.text("strategy", string(s.Strategy))
	root.text("traffic", string(s.Traffic))
	if s.LatencyBound > 0 {
		root.text("latency_bound", s.LatencyBound.String())
	}
	if s.Floor > 0 {
		root.text("floor", s.Floor.String())
	}
	root.bytes("request_size", s.RequestSize)
	model := object()
	if s.LoadModel.Linear > 0 {
		model.text("linear", s.LoadModel.Linear.String())
	}
	if s.LoadModel.Queue > 0 {
		model.plain("queue", printNumber(s.LoadModel.Queue))
	}
	root.object("load_model", model)
	if p := s.Probe; p != nil {
		probe := object()
		if p.TCP != "" {
			probe.text("tcp", p.TCP)
		}
		if p.HTTP != "" {
			probe.text("http", p.HTTP)
		}
		probe.list("exec", p.Exec)
		probe.text("interval", p.Interval.String())
		probe.text("timeout", p.Timeout.String())
		probe.plain("failures", strconv.Itoa(p.Failures))
		root.object("probe", probe)
	}
	warm := object()
	warm.plain("delta", printBytes(s.WarmUp.Delta))
	warm.text("timeout", s.WarmUp.Timeout.String())
	root.object("warm_up", warm)
	constraints := object()
	constraints.list("pin", s.Constraints.Pin)
	constraints.list("avoid", s.Constraints.Avoid)
	if s.Constraints.Spread {
		constraints.plain("spread", "true")
	}
	root.object("constraints", constraints)
	root.text("on_lost_node", string(s.OnLostNode))

	text, err := yaml.Dump(root.node)
	if err != nil {
		return nil, fmt.Errorf("print service %s: %w", s.Name, err)
	}
	return text, nil
}

// printer builds one mapping. What is empty is not written.
type printer struct{ node *yaml.Node }

func object() printer { return printer{&yaml.Node{Kind: yaml.MappingNode}} }

func (p printer) add(key string, value *yaml.Node) {
	p.node.Content = append(p.node.Content, text(key), value)
}

// text writes a string, quoted where YAML would read something else.
func (p printer) text(key, value string) { p.add(key, text(value)) }

// plain writes a number or a truth value.
func (p printer) plain(key, value string) {
	p.add(key, &yaml.Node{Kind: yaml.ScalarNode, Value: value})
}

func (p printer) bytes(key string, v int64) {
	if v > 0 {
		p.plain(key, printBytes(v))
	}
}

func (p printer) list(key string, values []string) {
	if len(values) == 0 {
		return
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, v := range values {
		list.Content = append(list.Content, text(v))
	}
	p.add(key, list)
}

func (p printer) object(key string, value printer) {
	if len(value.node.Content) > 0 {
		p.add(key, value.node)
	}
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}
