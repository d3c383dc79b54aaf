package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sonic-netservices/sonic-vs/testbed"
)

// Limits of the programs of one switch together while it is idle: it shares its processor and memory with the control
// plane. The manager runs on one switch only and stands beside.
const (
	IdleCPU = 1.0             // percent of one core
	IdlePSS = 120 * 1_000_000 // bytes
)

// Footprint is what the suite took of each switch for some time.
type Footprint struct {
	Seconds  float64         `json:"seconds"`
	LimitCPU float64         `json:"limit_cpu_percent"`
	LimitPSS int64           `json:"limit_pss_bytes"`
	Nodes    []NodeFootprint `json:"nodes"`
}

// NodeFootprint is one switch's.
type NodeFootprint struct {
	Node     string  `json:"node"`
	Programs []Taken `json:"programs"` // those every switch has; the agent and its helper are two
	Together Taken   `json:"together"`
	Manager  *Taken  `json:"manager,omitempty"` // where it runs
}

// Taken is what one program took.
type Taken struct {
	Program string  `json:"program,omitempty"`
	CPU     float64 `json:"cpu_percent"` // of one core, by its cgroup: also of processes that have ended
	PSS     int64   `json:"pss_bytes"`   // at the end; pages shared with others count in part
}

// Footprint measures for a time in which nobody should ask anything of the switches.
func (s *Suite) Footprint(ctx context.Context, long time.Duration) (*Footprint, error) {
	var all []*measured
	for _, n := range s.Bed.Nodes {
		for _, program := range append(s.features(n), helperContainer) {
			pid, err := s.ContainerPID(ctx, n, program)
			if err != nil {
				return nil, err
			}
			m, err := newMeasured(n, program, pid)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	for _, m := range all {
		if err := m.begin(); err != nil {
			return nil, err
		}
	}
	select {
	case <-time.After(long):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f := &Footprint{Seconds: long.Seconds(), LimitCPU: IdleCPU, LimitPSS: IdlePSS}
	for _, m := range all {
		took, err := m.end()
		if err != nil {
			return nil, err
		}
		f.add(m.node, took)
	}
	return f, nil
}

// add takes a program's share; a node's programs come one after the other.
func (f *Footprint) add(node string, t Taken) {
	i := slices.IndexFunc(f.Nodes, func(n NodeFootprint) bool { return n.Node == node })
	if i < 0 {
		i = len(f.Nodes)
		f.Nodes = append(f.Nodes, NodeFootprint{Node: node})
	}
	n := &f.Nodes[i]
	if t.Program == Manager {
		n.Manager = &t
		return
	}
	n.Programs = append(n.Programs, t)
	n.Together.CPU += t.CPU
	n.Together.PSS += t.PSS
}

// Faults names every limit a switch is over.
func (f *Footprint) Faults() (list []string) {
	for _, n := range f.Nodes {
		if n.Together.CPU > f.LimitCPU {
			list = append(list, fmt.Sprintf("%s: %.2f %% of one core, more than %.2f %%", n.Node, n.Together.CPU, f.LimitCPU))
		}
		if n.Together.PSS > f.LimitPSS {
			list = append(list, fmt.Sprintf("%s: %.1f MB PSS, more than %.1f MB", n.Node, mega(n.Together.PSS), mega(f.LimitPSS)))
		}
	}
	return list
}

// Print writes it as a table.
func (f *Footprint) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "node\tprogram\tCPU %%\tPSS MB\t\n")
	for _, n := range f.Nodes {
		rows := append(slices.Clone(n.Programs), Taken{"together", n.Together.CPU, n.Together.PSS})
		if n.Manager != nil {
			rows = append(rows, *n.Manager)
		}
		for _, r := range rows {
			fmt.Fprintf(t, "%s\t%s\t%.2f\t%.1f\t\n", n.Node, r.Program, r.CPU, mega(r.PSS))
		}
	}
	fmt.Fprintf(t, "limit\ttogether\t%.2f\t%.1f\t\n", f.LimitCPU, mega(f.LimitPSS))
	return t.Flush()
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

// measured is one program's container while it is measured.
type measured struct {
	node, program string
	cpu           string // file that counts its time
	unit          time.Duration
	procs         string // file that lists its processes

	since time.Time
	used  time.Duration
}

// newMeasured finds the cgroup of a container by its first process.
func newMeasured(n testbed.Node, program string, pid int) (*measured, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", n.Name, program, err)
	}
	paths := cgroupPaths(string(text))
	m := &measured{node: n.Name, program: program}
	// The node's cgroup as this machine mounts it ends with the path that the process names first.
	at := func(controller string) (string, bool) {
		path, ok1 := paths[controller]
		dir, ok2 := n.Cgroups[controller]
		top := strings.Index(dir, "/sonic-vs/")
		if !ok1 || !ok2 || top < 0 || !strings.HasPrefix(path, dir[top:]+"/") {
			return "", false
		}
		return dir[:top] + path, true
	}
	if dir, ok := at("cpuacct"); ok {
		m.cpu, m.unit, m.procs = filepath.Join(dir, "cpuacct.usage"), time.Nanosecond, filepath.Join(dir, "cgroup.procs")
		return m, nil
	}
	if dir, ok := at(""); ok {
		m.cpu, m.unit, m.procs = filepath.Join(dir, "cpu.stat"), time.Microsecond, filepath.Join(dir, "cgroup.procs")
		return m, nil
	}
	return nil, fmt.Errorf("%s: %s is in no cgroup of the node that counts time", n.Name, program)
}

// cgroupPaths reads /proc/PID/cgroup: the path by controller, "" for v2.
func cgroupPaths(text string) map[string]string {
	paths := map[string]string{}
	for line := range strings.Lines(text) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			for _, c := range strings.Split(f[1], ",") {
				paths[c] = f[2]
			}
		}
	}
	return paths
}

func (m *measured) begin() (err error) {
	m.since = time.Now()
	m.used, err = m.time()
	return err
}

func (m *measured) end() (t Taken, err error) {
	used, err := m.time()
	if err != nil {
		return t, err
	}
	t = Taken{Program: m.program, CPU: 100 * float64(used-m.used) / float64(time.Since(m.since))}
	pids, err := os.ReadFile(m.procs)
	if err != nil {
		return t, m.wrap(err)
	}
	for _, pid := range strings.Fields(string(pids)) {
		pss, err := readPSS(filepath.Join("/proc", pid, "smaps_rollup"))
		if errors.Is(err, os.ErrNotExist) { // it ended
			continue
		}
		if err != nil {
			return t, m.wrap(err)
		}
		t.PSS += pss
	}
	return t, nil
}

// time is the processor time of the cgroup: a number, or cpu.stat with usage_usec in it.
func (m *measured) time() (time.Duration, error) {
	text, err := os.ReadFile(m.cpu)
	if err != nil {
		return 0, m.wrap(err) // its container was started anew
	}
	words := strings.Fields(string(text))
	i := max(0, slices.Index(words, "usage_usec")+1)
	if len(words) <= i {
		return 0, m.wrap(fmt.Errorf("%s: no time in %q", m.cpu, text))
	}
	n, err := strconv.ParseInt(words[i], 10, 64)
	return time.Duration(n) * m.unit, m.wrap(err)
}

func (m *measured) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", m.node, m.program, err)
}

func readPSS(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return parsePSS(string(text))
}

// parsePSS reads smaps_rollup.
func parsePSS(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("smaps_rollup has no Pss")
}
