package spec

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sonic-netservices/netmap"
)

func (r *reader) demand(n *yaml.Node, at string) map[string]float64 {
	demand := map[string]float64{}
	r.entries(n, at, func(key, value *yaml.Node, at string) {
		if !kindPattern.MatchString(key.Value) {
			r.fail(key, at, "%q is not a kind of resource: want a-z, 0-9, '_' and '-', a letter first", key.Value)
			return
		}
		if inBytes(key.Value) {
			demand[key.Value] = float64(word(r, value, at, parseBytes))
		} else {
			demand[key.Value] = word(r, value, at, parseNumber)
		}
	})
	return demand
}

func (r *reader) limits(n *yaml.Node, at string) (l Limits) {
	r.object(n, at, []field{
		{"cpu", func(n *yaml.Node, at string) { l.CPU = word(r, n, at, parseRate) }},
		{"memory", func(n *yaml.Node, at string) { l.Memory = word(r, n, at, parseMemory) }},
		{"pids", func(n *yaml.Node, at string) { l.PIDs = int64(word(r, n, at, parseCount)) }},
	})
	return l
}

func (r *reader) volumes(n *yaml.Node, at string) []Volume {
	var volumes []Volume
	names, targets := map[string]int{}, map[string]int{}
	r.list(n, at, func(n *yaml.Node, at string) {
		var v Volume
		r.object(n, at, []field{
			{"name", func(n *yaml.Node, at string) { v.Name = word(r, n, at, parseName) }},
			{"target", func(n *yaml.Node, at string) { v.Target = word(r, n, at, parseTarget) }},
		})
		if n.Kind != yaml.MappingNode {
			return
		}
		r.required(at, "name", "target")
		r.unique(names, v.Name, at+".name")
		r.unique(targets, v.Target, at+".target")
		volumes = append(volumes, v)
	})
	return volumes
}

func (r *reader) addresses(n *yaml.Node, at string) []netip.Prefix {
	var addresses []netip.Prefix
	r.list(n, at, func(n *yaml.Node, at string) {
		addresses = append(addresses, word(r, n, at, parseFurther))
	})
	return addresses
}

func (r *reader) ports(n *yaml.Node, at string) []Port {
	var ports []Port
	seen := map[string]int{}
	r.list(n, at, func(n *yaml.Node, at string) {
		p := Port{Protocol: TCP}
		r.object(n, at, []field{
			{"node", func(n *yaml.Node, at string) { p.Node = word(r, n, at, parseNodePort) }},
			{"container", func(n *yaml.Node, at string) { p.Container = word(r, n, at, parsePort) }},
			{"protocol", func(n *yaml.Node, at string) { p.Protocol = choice(r, n, at, TCP, UDP) }},
		})
		if n.Kind != yaml.MappingNode {
			return
		}
		r.required(at, "node", "container")
		if p.Node > 0 {
			r.unique(seen, fmt.Sprintf("%d/%s", p.Node, p.Protocol), at+".node")
		}
		ports = append(ports, p)
	})
	return ports
}

// unique reports a value that an earlier field has too; seen holds the lines of the values so far.
func (r *reader) unique(seen map[string]int, value, at string) {
	if value == "" {
		return // reported already
	}
	if line, ok := seen[value]; ok {
		r.failAt(at, "%s is given twice, first in line %d", value, line)
		return
	}
	seen[value] = r.at[at].Line
}

func (r *reader) environment(n *yaml.Node, at string) map[string]string {
	environment := map[string]string{}
	r.entries(n, at, func(key, value *yaml.Node, at string) {
		if r.variable(key, at) {
			environment[key.Value] = word(r, value, at, anyText)
		}
	})
	return environment
}

func (r *reader) secrets(n *yaml.Node, at string) map[string]Secret {
	secrets := map[string]Secret{}
	r.entries(n, at, func(key, value *yaml.Node, at string) {
		if !r.variable(key, at) {
			return
		}
		var secret Secret
		if value.Kind == yaml.MappingNode {
			r.object(value, at, []field{
				{"file", func(n *yaml.Node, at string) { secret.File = word(r, n, at, parseFile) }},
			})
			r.required(at, "file")
		} else {
			secret.Value = word(r, value, at, anyText)
		}
		secrets[key.Value] = secret
	})
	return secrets
}

func (r *reader) variable(key *yaml.Node, at string) bool {
	if !variablePattern.MatchString(key.Value) {
		r.fail(key, at, "%q cannot name an environment variable", key.Value)
		return false
	}
	return true
}

func (r *reader) loadModel(n *yaml.Node, at string) (m LoadModel) {
	r.object(n, at, []field{
		{"linear", func(n *yaml.Node, at string) { m.Linear = word(r, n, at, parseDuration) }},
		{"queue", func(n *yaml.Node, at string) { m.Queue = word(r, n, at, parseRate) }},
	})
	r.exactlyOne(n, at, "linear", "queue")
	return m
}

func (r *reader) probe(n *yaml.Node, at string) *Probe {
	p := &Probe{Interval: time.Second, Timeout: time.Second, Failures: 3}
	r.object(n, at, []field{
		{"tcp", func(n *yaml.Node, at string) { p.TCP = word(r, n, at, parseTCP) }},
		{"http", func(n *yaml.Node, at string) { p.HTTP = word(r, n, at, parseHTTP) }},
		{"exec", func(n *yaml.Node, at string) { p.Exec = r.texts(n, at, anyText) }},
		{"interval", func(n *yaml.Node, at string) { p.Interval = word(r, n, at, parseDuration) }},
		{"timeout", func(n *yaml.Node, at string) { p.Timeout = word(r, n, at, parseDuration) }},
		{"failures", func(n *yaml.Node, at string) { p.Failures = word(r, n, at, parseCount) }},
	})
	r.exactlyOne(n, at, "tcp", "http", "exec")
	return p
}

func (r *reader) warmUp(n *yaml.Node, at string, w *WarmUp) {
	r.object(n, at, []field{
		{"delta", func(n *yaml.Node, at string) { w.Delta = word(r, n, at, parseBytes) }},
		{"timeout", func(n *yaml.Node, at string) { w.Timeout = word(r, n, at, parseDuration) }},
	})
}

func (r *reader) constraints(n *yaml.Node, at string) (c Constraints) {
	r.object(n, at, []field{
		{"pin", func(n *yaml.Node, at string) { c.Pin = r.nodes(n, at) }},
		{"avoid", func(n *yaml.Node, at string) { c.Avoid = r.nodes(n, at) }},
		{"spread", func(n *yaml.Node, at string) { c.Spread = word(r, n, at, parseBool) }},
	})
	return c
}

// nodes reads one node or a list of nodes.
func (r *reader) nodes(n *yaml.Node, at string) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{word(r, n, at, parseNode)}
	}
	return r.texts(n, at, parseNode)
}

// required reports the keys a mapping lacks.
func (r *reader) required(at string, keys ...string) {
	for _, key := range keys {
		if !r.has(at + "." + key) {
			r.fail(r.at[at], at, "%s is missing", key)
		}
	}
}

func (r *reader) exactlyOne(n *yaml.Node, at string, keys ...string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	var given []string
	for _, key := range keys {
		if r.has(at + "." + key) {
			given = append(given, key)
		}
	}
	if len(given) != 1 {
		r.fail(n, at, "want exactly one of %s, have %d", strings.Join(keys, ", "), len(given))
	}
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1<<22 { // the kernel's greatest pid_max
		return 0, fmt.Errorf("%q: want a whole number from 1 to %d", text, 1<<22)
	}
	return n, nil
}

func parsePort(text string) (int, error) {
	if !isPort(text) {
		return 0, fmt.Errorf("%q: want a port from 1 to 65535", text)
	}
	return strconv.Atoi(text)
}

// parseNodePort keeps a service from the ports the switch itself is reached at.
func parseNodePort(text string) (int, error) {
	port, err := parsePort(text)
	if err != nil {
		return 0, err
	}
	if who, taken := switchPorts[port]; taken {
		return 0, fmt.Errorf("port %d of the node belongs to %s", port, who)
	}
	return port, nil
}

var switchPorts = map[int]string{
	22: "ssh", 179: "BGP",
	netmap.ManagerPort: "bt-manager", netmap.AgentPort: "mig-agent", netmap.HelperPort: "mig-agent's helper",
	netmap.SyncPort: "resource-sync", netmap.LanePort: "mig-agent", netmap.VXLANPort: "the service segment",
}

// parseMemory knows Docker's least memory limit.
func parseMemory(text string) (int64, error) {
	v, err := parseBytes(text)
	if err == nil && v < 6<<20 {
		return 0, fmt.Errorf("%s is less than 6Mi, in which no container starts", text)
	}
	return v, err
}

func parseTarget(text string) (string, error) {
	if !path.IsAbs(text) || path.Clean(text) != text || text == "/" {
		return "", fmt.Errorf("%q: want an absolute path without '..' or a '/' at its end", text)
	}
	for _, kernel := range []string{"/proc", "/sys", "/dev"} {
		if text == kernel || strings.HasPrefix(text, kernel+"/") {
			return "", fmt.Errorf("%s belongs to the kernel", text)
		}
	}
	return text, nil
}

func parseFile(text string) (string, error) {
	if text == "" {
		return "", fmt.Errorf("no file named")
	}
	return text, nil
}

func parseTCP(text string) (string, error) {
	m := portPattern.FindStringSubmatch(text)
	if m == nil || m[2] != "" || !isPort(m[1]) {
		return "", fmt.Errorf("%q: want a port, for example \":8080\"", text)
	}
	return text, nil
}

func parseHTTP(text string) (string, error) {
	m := portPattern.FindStringSubmatch(text)
	if m == nil || m[2] == "" || !isPort(m[1]) || strings.ContainsAny(text, " \t\r\n") {
		return "", fmt.Errorf("%q: want a port and a path, for example \":8080/healthz\"", text)
	}
	return text, nil
}

func isPort(text string) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port >= 1 && port <= 65535
}
