package scenario

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/suite"
)

// traces is what the agent can leave on a switch beside its package: files, mounts, links, packet rules, cgroups,
// sysctls, containers, what dockerd is configured to. What is the package manager's or other features' is left out.
func (s *stage) traces(ctx context.Context, n *node) (map[string]string, error) {
	all := map[string]string{}
	for _, dir := range []string{"/etc", "/host", "/usr/local", "/usr/sbin", "/usr/bin"} {
		if err := traceFiles(all, n, dir); err != nil {
			return nil, err
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", n.Pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		// Docker's own come and go with its containers, which are traces themselves.
		if f := strings.Fields(line); len(f) > 4 && !strings.HasPrefix(f[4], "/var/lib/docker/") && !strings.HasPrefix(f[4], "/run/docker/") {
			all["mount "+f[4]] = f[3]
		}
	}
	for hierarchy, dir := range n.Cgroups {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, dir)
			if err == nil && e.IsDir() && !strings.HasPrefix(name, "/docker") {
				all["cgroup "+hierarchy+":"+name] = "there"
			}
			return nil // a cgroup that is just going
		})
		if err != nil {
			return nil, err
		}
	}
	for what, command := range map[string]string{
		"links":      "ip -o link | awk '$2 !~ /^veth/ {print $2}' | sort",
		"addresses":  "ip -o addr | awk '{print $2, $4}' | sort",
		"routes":     "ip route; ip -6 route | awk '!/fe80/'",
		"rules":      "nft list ruleset",
		"sysctls":    "sysctl -a 2>/dev/null | awk '/^net.(bridge|ipv4.(ip_forward|conf.(all|default)))/'",
		"dockerd":    "docker info --format '{{json .Runtimes}} {{.LiveRestoreEnabled}}'",
		"containers": "docker ps -a --format '{{.Names}} {{.State}}' | awk '!/^(" + strings.Join([]string{suite.Manager, suite.Plugin, suite.Sync}, "|") + ") /' | sort",
		"row":        "redis-cli -n 7 --raw keys 'RESOUR_AGENT|" + n.Name + "'",
	} {
		out, err := s.suite.Bed.Exec(ctx, n.Name, "sh", "-c", command).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %v: %s", n.Name, command, err, out) // not %w: its exit code is not ours
		}
		all[what] = string(out)
	}
	return all, nil
}

// traceFiles adds the files of a folder as the switch sees it, by size and content.
func traceFiles(all map[string]string, n *node, dir string) error {
	top := n.Path(dir)
	return filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := dir + strings.TrimPrefix(path, top)
		if name == "/etc/sonic" || filepath.Dir(name) == netmap.HostDir && name != netmap.AgentDir && name != netmap.VolumesDir {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		place := "file " + name
		switch info, err := e.Info(); {
		case err != nil:
			return err
		case info.Mode().IsRegular() && info.Size() < 1<<16:
			text, err := os.ReadFile(path)
			all[place] = info.Mode().String() + " " + string(text)
			return err
		case info.Mode().IsRegular():
			all[place] = fmt.Sprint(info.Mode(), info.Size())
		default:
			all[place] = info.Mode().String()
		}
		return nil
	})
}
