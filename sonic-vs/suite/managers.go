package suite

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"sonic-netservices/internal/managers"
	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
)

// One manager comes with every test bed; further ones come and go, as an operator would have them.

// ManagerView is a manager in `nsctl manager status --json`.
type ManagerView struct {
	Node    string `json:"node"`
	Voter   bool   `json:"voter"`
	Leads   bool   `json:"leads"`
	Lag     uint64 `json:"lag"`
	Lost    bool   `json:"lost"`    // its disk was, and with it its vote
	Problem string `json:"problem"` // it does not answer
}

// Managers is the answer of `nsctl manager status --json`.
type Managers struct {
	Cluster  string        `json:"cluster"`
	Leader   string        `json:"leader"` // "": nobody leads
	Epoch    uint64        `json:"epoch"`
	Managers []ManagerView `json:"managers"`
}

// Managers lists those that vote, and whether each answers.
func (s *Suite) Managers(ctx context.Context) (Managers, error) {
	var m Managers
	err := s.ask(ctx, &m, "manager", "status")
	return m, err
}

// AddManager installs bt-manager on a further switch and returns when it votes.
func (s *Suite) AddManager(ctx context.Context, n testbed.Node) error {
	now, err := s.Managers(ctx)
	if err != nil {
		return err
	}
	if !exists(s.Host(n, filepath.Join(netmap.PKIDir, managerRole+".crt"))) {
		if err := s.issue(ctx, n, managerRole); err != nil {
			return fmt.Errorf("%s: certificate: %w", n.Name, err)
		}
	}
	if err := s.tellManagers(ctx, append(now.names(), n.Name)); err != nil {
		return err
	}
	// It must not found a cluster of its own.
	if err := s.global(ctx, n, map[string]string{"manager_join": "true"}); err != nil {
		return err
	}
	err = images.With(ctx, s.manager(), func(sw images.Switch) error {
		tarball, err := images.Build(ctx, sw.Docker, s.repo, Manager)
		if err != nil {
			return err
		}
		return ensure(ctx, n, Manager, tarball, false)
	})
	if err != nil {
		return fmt.Errorf("%s: install %s: %w", n.Name, Manager, err)
	}
	limit, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	for {
		_, err := s.Nsctl(limit, "manager", "join", n.Name)
		if err == nil {
			return nil
		}
		if pause(limit) != nil {
			return fmt.Errorf("%s does not join: %w; the log of %s ends:\n%s", n.Name, err, Manager, tail(n, Manager))
		}
	}
}

// RemoveManager takes a manager out again, with all it kept on its switch. It must not lead.
func (s *Suite) RemoveManager(ctx context.Context, n testbed.Node) error {
	if _, err := s.Nsctl(ctx, "manager", "remove", n.Name); err != nil {
		return err
	}
	now, err := s.Managers(ctx)
	if err != nil {
		return err
	}
	if err := s.tellManagers(ctx, now.names()); err != nil {
		return err
	}
	if err := images.With(ctx, n, func(sw images.Switch) error { return uninstall(ctx, sw, Manager) }); err != nil {
		return fmt.Errorf("%s: remove %s: %w", n.Name, Manager, err)
	}
	if err := s.global(ctx, n, map[string]string{"manager_join": "false"}); err != nil {
		return err
	}
	all := os.RemoveAll(s.Host(n, netmap.ManagerDir))
	for _, name := range []string{managerRole + ".crt", managerRole + ".key"} {
		all = errors.Join(all, os.Remove(s.Host(n, filepath.Join(netmap.PKIDir, name))))
	}
	return all
}

func (m Managers) names() (names []string) {
	for _, one := range m.Managers {
		names = append(names, one.Node)
	}
	return names
}

// tellManagers writes to every switch and to nsctl.yaml where managers are.
func (s *Suite) tellManagers(ctx context.Context, names []string) error {
	slices.Sort(names)
	var all []managers.At
	for _, name := range slices.Compact(names) {
		n, err := s.Bed.Node(name)
		if err != nil {
			return err
		}
		all = append(all, managers.At{Node: name, Addr: netip.AddrPortFrom(n.Loopback, netmap.ManagerPort).String()})
	}
	nodes, addrs := managers.Join(all)
	err := s.each(func(n testbed.Node) error {
		return s.global(ctx, n, map[string]string{"manager": addrs, "manager_node": nodes})
	})
	if err != nil {
		return err
	}
	return s.Bed.WriteNsctl(filepath.Join(s.out, "nsctl.yaml"), all)
}

// global sets fields of NETSERVICES|global on a switch; programs read them when they start.
func (s *Suite) global(ctx context.Context, n testbed.Node, fields map[string]string) error {
	return images.With(ctx, n, func(sw images.Switch) error {
		return sw.Config.HSet(ctx, sw.Config.Key("NETSERVICES", "global"), fields)
	})
}
