package testbed

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"sonic-netservices/sonic-vs/vswitch"
)

// Status is one node as it is now.
type Status struct {
	Node     string   `json:"node"`
	Loopback string   `json:"loopback"`
	Pid      int      `json:"pid"` // 0: dead
	UptimeS  float64  `json:"uptime_s"`
	Docker   bool     `json:"docker"`  // answers
	Redis    bool     `json:"redis"`   // answers
	Running  []string `json:"running"` // containers: features and services
}

// Status asks every node how it is.
func (t *Testbed) Status(ctx context.Context) ([]Status, error) {
	var all []Status
	for _, n := range t.Nodes {
		s := Status{Node: n.Name, Loopback: n.Loopback.String(), Pid: n.Pid, Running: []string{}}
		if n.Pid != 0 {
			up, err := uptime(n.Pid)
			if err != nil {
				return nil, fmt.Errorf("uptime of %s: %w", n.Name, err)
			}
			s.UptimeS = up.Seconds()
			s.Redis = pingRedis(n) == nil
			if s.Docker = pingDocker(ctx, n) == nil; s.Docker {
				if s.Running, err = containers(ctx, n); err != nil {
					return nil, fmt.Errorf("containers of %s: %w", n.Name, err)
				}
			}
		}
		all = append(all, s)
	}
	return all, nil
}

func containers(ctx context.Context, n Node) ([]string, error) {
	docker, err := vswitch.DockerAt(n.DockerSocket())
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	list, err := docker.ContainerList(ctx, container.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, c := range list {
		names = append(names, strings.TrimPrefix(c.Names[0], "/"))
	}
	return names, nil
}

// uptime of a process: since its start, by the clock the kernel stamps starts with.
func uptime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest) // from the third field on; the start is the 22nd, in ticks of 1/100 s
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	ticks, err := strconv.ParseInt(f[19], 10, 64)
	if err != nil {
		return 0, err
	}
	machine, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(string(machine), " ")
	now, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(now*float64(time.Second)) - time.Duration(ticks)*10*time.Millisecond, nil
}
