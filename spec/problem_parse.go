package spec

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// ParseProblem reads a problem. The error, if any, is of type Errors.
func ParseProblem(file string, text []byte) (*Problem, error) {
	r := newReader(file, "problem")
	p := r.problem(text)
	if len(r.errs) > 0 {
		r.errs.sort()
		return nil, r.errs
	}
	return p, nil
}

// ParseTopology reads a file that holds a network alone. The error, if any, is of type Errors.
func ParseTopology(file string, text []byte) (*Network, error) {
	r := newReader(file, "network")
	var network Network
	if root := r.document(text); root != nil {
		r.at[""] = root
		network = r.network(root, "")
		if root.Kind == yaml.MappingNode {
			r.checkNetwork(network, "")
		}
	}
	if len(r.errs) > 0 {
		r.errs.sort()
		return nil, r.errs
	}
	return &network, nil
}

func (r *reader) problem(text []byte) *Problem {
	root := r.document(text)
	if root == nil {
		return nil
	}
	p := &Problem{Hops: 4, Class: Delay}
	r.at[""] = root
	r.object(root, "", []field{
		{"network", func(n *yaml.Node, at string) { p.Network = r.network(n, at) }},
		{"functions", func(n *yaml.Node, at string) { p.Functions = r.functions(n, at) }},
		{"chains", func(n *yaml.Node, at string) { p.Chains = r.chains(n, at) }},
		{"requests", func(n *yaml.Node, at string) { p.Requests = r.requests(n, at) }},
		{"hops", func(n *yaml.Node, at string) { p.Hops = word(r, n, at, parseCount) }},
		{"services", func(n *yaml.Node, at string) { p.Services = r.labelServices(n, at) }},
		{"cloud", func(n *yaml.Node, at string) { p.Cloud = r.cloud(n, at) }},
		{"pairs", func(n *yaml.Node, at string) { p.Pairs = r.pairs(n, at) }},
		{"class", func(n *yaml.Node, at string) { p.Class = choice(r, n, at, Delay, Bandwidth) }},
		{"move", func(n *yaml.Node, at string) { p.Move = r.move(n, at) }},
	})
	if root.Kind == yaml.MappingNode {
		r.checkProblem(p)
	}
	return p
}

// network is a name, or nodes and links.
func (r *reader) network(n *yaml.Node, at string) (net Network) {
	if n.Kind == yaml.ScalarNode {
		net.Name = word(r, n, at, parseNode)
		return net
	}
	r.object(n, at, []field{
		{"name", func(n *yaml.Node, at string) { net.Name = word(r, n, at, anyText) }},
		{"source", func(n *yaml.Node, at string) { net.Source = word(r, n, at, anyText) }},
		{"nodes", func(n *yaml.Node, at string) { net.Nodes = r.networkNodes(n, at) }},
		{"links", func(n *yaml.Node, at string) { net.Links = r.networkLinks(n, at) }},
	})
	return net
}

func (r *reader) networkNodes(n *yaml.Node, at string) []NetworkNode {
	return items(r, n, at, []string{"name"}, func(node *NetworkNode) []field {
		return []field{
			{"name", func(n *yaml.Node, at string) { node.Name = word(r, n, at, parseNode) }},
			{"tier", func(n *yaml.Node, at string) { node.Tier = choice(r, n, at, "core", "edge", "access", "cloud") }},
			{"x", func(n *yaml.Node, at string) { node.X = word(r, n, at, parseCoordinate) }},
			{"y", func(n *yaml.Node, at string) { node.Y = word(r, n, at, parseCoordinate) }},
			{"capacity", func(n *yaml.Node, at string) { node.Capacity = r.demand(n, at) }},
			{"used", func(n *yaml.Node, at string) { node.Used = r.demand(n, at) }},
			{"unit_cost", func(n *yaml.Node, at string) { node.UnitCost = word(r, n, at, parseNumber) }},
			{"processing", func(n *yaml.Node, at string) { node.Processing = word(r, n, at, parseDelay) }},
			{"capabilities", func(n *yaml.Node, at string) { node.Capabilities = r.texts(n, at, parseName) }},
		}
	})
}

func (r *reader) networkLinks(n *yaml.Node, at string) []NetworkLink {
	return items(r, n, at, []string{"a", "b"}, func(l *NetworkLink) []field {
		return []field{
			{"a", func(n *yaml.Node, at string) { l.A = word(r, n, at, parseNode) }},
			{"b", func(n *yaml.Node, at string) { l.B = word(r, n, at, parseNode) }},
			{"bandwidth", func(n *yaml.Node, at string) { l.Bandwidth = word(r, n, at, parseNumber) }},
			{"delay", func(n *yaml.Node, at string) { l.Delay = word(r, n, at, parseDelay) }},
			{"unit_cost", func(n *yaml.Node, at string) { l.UnitCost = word(r, n, at, parseNumber) }},
		}
	})
}

func (r *reader) functions(n *yaml.Node, at string) []Function {
	list := items(r, n, at, []string{"name"}, func(f *Function) []field {
		f.Ratio, f.Where = 1, AnyTier
		return []field{
			{"name", func(n *yaml.Node, at string) { f.Name = word(r, n, at, parseName) }},
			{"ratio", func(n *yaml.Node, at string) { f.Ratio = word(r, n, at, parseRate) }},
			{"compute_per_mbps", func(n *yaml.Node, at string) { f.ComputePerMbps = word(r, n, at, parseNumber) }},
			{"instance", func(n *yaml.Node, at string) { f.Instance = word(r, n, at, parseNumber) }},
			{"where", func(n *yaml.Node, at string) { f.Where = choice(r, n, at, AnyTier, EdgeTier, CoreTier) }},
		}
	})
	r.distinct(at, len(list), func(i int) string { return list[i].Name })
	return list
}

func (r *reader) chains(n *yaml.Node, at string) []ChainType {
	list := items(r, n, at, []string{"name", "functions"}, func(c *ChainType) []field {
		return []field{
			{"name", func(n *yaml.Node, at string) { c.Name = word(r, n, at, parseName) }},
			{"functions", func(n *yaml.Node, at string) { c.Functions = r.texts(n, at, parseName) }},
		}
	})
	r.distinct(at, len(list), func(i int) string { return list[i].Name })
	return list
}

func (r *reader) requests(n *yaml.Node, at string) []Request {
	list := items(r, n, at, []string{"name", "from", "to"}, func(q *Request) []field {
		return []field{
			{"name", func(n *yaml.Node, at string) { q.Name = word(r, n, at, parseName) }},
			{"from", func(n *yaml.Node, at string) { q.From = word(r, n, at, parseNode) }},
			{"to", func(n *yaml.Node, at string) { q.To = word(r, n, at, parseNode) }},
			{"chain", func(n *yaml.Node, at string) { q.Chain = word(r, n, at, parseName) }},
			{"steps", func(n *yaml.Node, at string) { q.Steps = r.steps(n, at) }},
			{"rate", func(n *yaml.Node, at string) { q.Rate = word(r, n, at, parseNumber) }},
			{"rates", func(n *yaml.Node, at string) { q.Rates = r.numbers(n, at) }},
			{"deadline", func(n *yaml.Node, at string) { q.Deadline = word(r, n, at, parseDuration) }},
		}
	})
	r.distinct(at, len(list), func(i int) string { return list[i].Name })
	return list
}

func (r *reader) steps(n *yaml.Node, at string) []RequestStep {
	return items(r, n, at, []string{"capability"}, func(s *RequestStep) []field {
		return []field{
			{"capability", func(n *yaml.Node, at string) { s.Capability = word(r, n, at, parseName) }},
			{"compute", func(n *yaml.Node, at string) { s.Compute = word(r, n, at, parseNumber) }},
		}
	})
}

func (r *reader) labelServices(n *yaml.Node, at string) []LabelService {
	list := items(r, n, at, []string{"name", "latency_bound", "load_model", "load"}, func(s *LabelService) []field {
		return []field{
			{"name", func(n *yaml.Node, at string) { s.Name = word(r, n, at, parseServiceName) }},
			{"latency_bound", func(n *yaml.Node, at string) { s.LatencyBound = word(r, n, at, parseDuration) }},
			{"floor", func(n *yaml.Node, at string) { s.Floor = word(r, n, at, parseDuration) }},
			{"request_size", func(n *yaml.Node, at string) { s.RequestSize = word(r, n, at, parseSize) }},
			{"load_model", func(n *yaml.Node, at string) { s.LoadModel = r.loadModel(n, at) }},
			{"memory", func(n *yaml.Node, at string) { s.Memory = word(r, n, at, parseBytes) }},
			{"load", func(n *yaml.Node, at string) { s.Load = r.slotLoads(n, at) }},
		}
	})
	r.distinct(at, len(list), func(i int) string { return list[i].Name })
	return list
}

func (r *reader) slotLoads(n *yaml.Node, at string) []SlotLoad {
	list := items(r, n, at, []string{"node", "slots"}, func(l *SlotLoad) []field {
		return []field{
			{"node", func(n *yaml.Node, at string) { l.Node = word(r, n, at, parseNode) }},
			{"slots", func(n *yaml.Node, at string) { l.Slots = r.numbers(n, at) }},
		}
	})
	nodes := map[string]int{}
	for i, l := range list {
		r.unique(nodes, l.Node, fmt.Sprintf("%s[%d].node", at, i))
	}
	return list
}

func (r *reader) cloud(n *yaml.Node, at string) (c CloudPath) {
	r.object(n, at, []field{
		{"bandwidth", func(n *yaml.Node, at string) { c.Bandwidth = word(r, n, at, parseRate) }},
		{"rtt", func(n *yaml.Node, at string) { c.RTT = word(r, n, at, parseDelay) }},
	})
	if n.Kind == yaml.MappingNode {
		r.required(at, "bandwidth", "rtt")
	}
	return c
}

func (r *reader) pairs(n *yaml.Node, at string) []PairQuality {
	return items(r, n, at, []string{"from", "to", "rtt"}, func(p *PairQuality) []field {
		return []field{
			{"from", func(n *yaml.Node, at string) { p.From = word(r, n, at, parseNode) }},
			{"to", func(n *yaml.Node, at string) { p.To = word(r, n, at, parseNode) }},
			{"rtt", func(n *yaml.Node, at string) { p.RTT = word(r, n, at, parseDuration) }},
			{"jitter", func(n *yaml.Node, at string) { p.Jitter = word(r, n, at, parseDelay) }},
			{"loss", func(n *yaml.Node, at string) { p.Loss = word(r, n, at, parseShare) }},
			{"bandwidth", func(n *yaml.Node, at string) { p.Bandwidth = word(r, n, at, parseNumber) }},
		}
	})
}

func (r *reader) move(n *yaml.Node, at string) *Move {
	m := &Move{}
	r.object(n, at, []field{
		{"replica", func(n *yaml.Node, at string) { m.Replica = word(r, n, at, parseReplica) }},
		{"from", func(n *yaml.Node, at string) { m.From = word(r, n, at, parseNode) }},
		{"demand", func(n *yaml.Node, at string) { m.Demand = r.demand(n, at) }},
		{"data", func(n *yaml.Node, at string) { m.Data = word(r, n, at, parseBytes) }},
	})
	if n.Kind == yaml.MappingNode {
		r.required(at, "replica", "demand")
	}
	return m
}

// items reads a list of mappings; fields fills one item in.
func items[T any](r *reader, n *yaml.Node, at string, required []string, fields func(*T) []field) []T {
	var list []T
	r.list(n, at, func(n *yaml.Node, at string) {
		var item T
		r.object(n, at, fields(&item))
		if n.Kind == yaml.MappingNode {
			r.required(at, required...)
		}
		list = append(list, item) // in its place, even if it is wrong: checks find fields by number
	})
	return list
}

// distinct reports names that are given twice.
func (r *reader) distinct(at string, n int, name func(i int) string) {
	seen := map[string]int{}
	for i := range n {
		r.unique(seen, name(i), fmt.Sprintf("%s[%d].name", at, i))
	}
}

func (r *reader) numbers(n *yaml.Node, at string) []float64 {
	var list []float64
	r.list(n, at, func(n *yaml.Node, at string) { list = append(list, word(r, n, at, parseNumber)) })
	return list
}

// parseDelay is a duration that may be 0.
func parseDelay(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	return parseDuration(text)
}

func parseShare(text string) (float64, error) {
	v, err := parseNumber(text)
	if err == nil && v > 1 {
		return 0, fmt.Errorf("%s: want a share from 0 to 1", text)
	}
	return v, err
}

func parseCoordinate(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= -most && v <= most) {
		return 0, fmt.Errorf("%q is not a place", text)
	}
	return v, nil
}

func parseReplica(text string) (string, error) {
	if !replicaPattern.MatchString(text) || len(text) > 60 {
		return "", errors.New("want SERVICE-NUMBER, for example kms-0")
	}
	return text, nil
}
