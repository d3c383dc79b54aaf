package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sonic-netservices/internal/managers"
	"sonic-netservices/netmap"
)

// writeNsctl tells nsctl on this machine how to reach the instance's manager: from inside the first client's namespace.
func writeNsctl(instance string, topo *Topology, path string) error {
	if path == "" || len(topo.Clients) == 0 {
		return nil
	}
	m := topo.manager()
	at := managers.At{Node: m.Name, Addr: fmt.Sprintf("%s:%d", m.Loopback, netmap.ManagerPort)}
	return nsctlFile(instance, topo, path, []managers.At{at})
}

// WriteNsctl tells nsctl of several managers. One that is alive suffices.
func (t *Testbed) WriteNsctl(path string, all []managers.At) error {
	if len(t.Clients) == 0 {
		return nil
	}
	return nsctlFile(t.Instance, t.Topology, path, all)
}

func nsctlFile(instance string, topo *Topology, path string, all []managers.At) error {
	names, addrs := managers.Join(all)
	hub := topo.manager() // where a supernode of the overlay is to be, if there is one
	text := fmt.Sprintf("# Left by sonic-vs up; removed by down.\nmanager: %s\nmanager_name: %s\nsupernode: %s:%d\nsupernode_name: %s\nnetns: %s\npki: %s\n",
		addrs, names, hub.Loopback, netmap.OverlayPort, hub.Name, netnsPath(instance, topo.Clients[0].Name), filepath.Join(filepath.Dir(path), "pki"))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// removeNsctl removes the file unless another instance has written it since.
func removeNsctl(instance, path string) {
	if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "netns: "+netnsPath(instance, "")) {
		os.Remove(path)
	}
}
