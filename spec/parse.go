package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sonic-netservices/netmap"
)

// maxSize of a file, in bytes.
const maxSize = 1 << 20

// Parse reads a service. The error, if any, is of type Errors; file is only the name shown in it.
func Parse(file string, text []byte) (*Service, error) {
	r := newReader(file, "service")
	s := r.service(text)
	if len(r.errs) > 0 {
		r.errs.sort()
		return nil, r.errs
	}
	return s, nil
}

func (r *reader) service(text []byte) *Service {
	root := r.document(text)
	if root == nil {
		return nil
	}
	s := &Service{
		Replicas:   1,
		Migration:  netmap.Live,
		Strategy:   Balance,
		Traffic:    Delay,
		OnLostNode: Wait,
		WarmUp:     WarmUp{Delta: 64 << 10, Timeout: time.Minute},
	}
	r.at[""] = root
	r.object(root, "", []field{
		{"name", func(n *yaml.Node, at string) { s.Name = word(r, n, at, parseServiceName) }},
		{"image", func(n *yaml.Node, at string) { s.Image = word(r, n, at, parseImage) }},
		{"command", func(n *yaml.Node, at string) { s.Command = r.texts(n, at, anyText) }},
		{"replicas", func(n *yaml.Node, at string) { s.Replicas = word(r, n, at, parseReplicas) }},
		{"address", func(n *yaml.Node, at string) { s.Address = word(r, n, at, parseAddress) }},
		{"addresses", func(n *yaml.Node, at string) { s.Addresses = r.addresses(n, at) }},
		{"ports", func(n *yaml.Node, at string) { s.Ports = r.ports(n, at) }},
		{"demand", func(n *yaml.Node, at string) { s.Demand = r.demand(n, at) }},
		{"limits", func(n *yaml.Node, at string) { s.Limits = r.limits(n, at) }},
		{"volumes", func(n *yaml.Node, at string) { s.Volumes = r.volumes(n, at) }},
		{"environment", func(n *yaml.Node, at string) { s.Environment = r.environment(n, at) }},
		{"secrets", func(n *yaml.Node, at string) { s.Secrets = r.secrets(n, at) }},
		{"migration", func(n *yaml.Node, at string) { s.Migration = choice(r, n, at, netmap.Live, netmap.Warm, netmap.Cold) }},
		{"strategy", func(n *yaml.Node, at string) { s.Strategy = choice(r, n, at, Balance, Labels, Chain, SCN) }},
		{"traffic", func(n *yaml.Node, at string) { s.Traffic = choice(r, n, at, Delay, Bandwidth) }},
		{"latency_bound", func(n *yaml.Node, at string) { s.LatencyBound = word(r, n, at, parseDuration) }},
		{"floor", func(n *yaml.Node, at string) { s.Floor = word(r, n, at, parseDuration) }},
		{"request_size", func(n *yaml.Node, at string) { s.RequestSize = word(r, n, at, parseSize) }},
		{"load_model", func(n *yaml.Node, at string) { s.LoadModel = r.loadModel(n, at) }},
		{"probe", func(n *yaml.Node, at string) { s.Probe = r.probe(n, at) }},
		{"warm_up", func(n *yaml.Node, at string) { r.warmUp(n, at, &s.WarmUp) }},
		{"constraints", func(n *yaml.Node, at string) { s.Constraints = r.constraints(n, at) }},
		{"on_lost_node", func(n *yaml.Node, at string) { s.OnLostNode = choice(r, n, at, Wait, Redeploy) }},
	})
	if root.Kind == yaml.MappingNode {
		r.check(s)
	}
	return s
}

// document reads the only YAML document of a file.
func (r *reader) document(text []byte) *yaml.Node {
	if len(text) > maxSize {
		r.errs = append(r.errs, Error{File: r.file, Line: 1, Column: 1, Message: fmt.Sprintf("the file is larger than %s bytes", printBytes(maxSize))})
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		r.syntax(err)
		return nil
	}
	var first, second yaml.Node
	if err := loader.Load(&first); err != nil {
		r.syntax(err)
		return nil
	}
	if len(first.Content) == 0 {
		r.syntax(io.EOF)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		r.fail(&second, "", "a second document begins; a file holds one %s", r.what)
		return nil
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return nil
	}
	return first.Content[0]
}

func (r *reader) syntax(err error) {
	e := Error{File: r.file, Line: 1, Column: 1, Message: err.Error()}
	var load *yaml.LoadError
	switch {
	case errors.Is(err, io.EOF):
		e.Message = "the file is empty"
	case errors.As(err, &load):
		e.Line, e.Column, e.Message = max(1, load.Mark.Line), max(1, load.Mark.Column), load.Message
	}
	r.errs = append(r.errs, e)
}

var (
	namePattern     = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	replicaPattern  = regexp.MustCompile(`-[0-9]+$`)
	nodePattern     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)
	kindPattern     = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	imagePattern    = regexp.MustCompile(`^([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$`)
	portPattern     = regexp.MustCompile(`^:([0-9]{1,5})(/.*)?$`)
)

func parseName(text string) (string, error) {
	if len(text) > 40 || !namePattern.MatchString(text) {
		return "", fmt.Errorf("%q: want at most 40 of a-z, 0-9 and '-', a letter first, no '-' last", text)
	}
	return text, nil
}

func parseServiceName(text string) (string, error) {
	if replicaPattern.MatchString(text) {
		return "", fmt.Errorf("%q: must not end in a number as replicas do", text)
	}
	return parseName(text)
}

func parseNode(text string) (string, error) {
	if !nodePattern.MatchString(text) {
		return "", fmt.Errorf("%q is not the name of a node", text)
	}
	return text, nil
}

// parseImage adds the tag that Docker means when none is written.
func parseImage(text string) (string, error) {
	if len(text) > 255 || !imagePattern.MatchString(text) {
		return "", fmt.Errorf("%q: want name:tag", text)
	}
	if !strings.Contains(path.Base(text), ":") {
		text += ":latest"
	}
	return text, nil
}

func parseReplicas(text string) (int, error) {
	if text == "per-node" {
		return PerNode, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1000 {
		return 0, fmt.Errorf("%q: want a number from 1 to 1000, or per-node", text)
	}
	return n, nil
}

func parseAddress(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%q: want an IPv4 address with its prefix length, for example 10.20.0.10/24", text)
	}
	if !usable(p) {
		return netip.Prefix{}, fmt.Errorf("%s cannot be the address of a host", p)
	}
	return p, nil
}

// parseFurther reads an address of either family.
func parseFurther(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q: want an address with its prefix length, for example fd20::10/64", text)
	}
	if !usable(p) {
		return netip.Prefix{}, fmt.Errorf("%s cannot be the address of a host", p)
	}
	return p, nil
}

func parseSize(text string) (int64, error) {
	v, err := parseBytes(text)
	if err == nil && v == 0 {
		return 0, errors.New("must be more than 0")
	}
	return v, err
}

func parseRate(text string) (float64, error) {
	v, err := parseNumber(text)
	if err == nil && v == 0 {
		return 0, errors.New("must be more than 0")
	}
	return v, err
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q: want true or false", text)
}
