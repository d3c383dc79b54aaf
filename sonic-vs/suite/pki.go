package suite

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/testbed"
)

// ensureAuthority makes the CA of the AS and the operator's certificate, where nsctl.yaml says they are.
func (s *Suite) ensureAuthority(ctx context.Context) error {
	if !exists(s.pki("ca.key")) {
		if _, err := s.Nsctl(ctx, "pki", "init", "--dir", s.pki(), "--as", strconv.Itoa(s.Bed.Topology.AS)); err != nil {
			return err
		}
	}
	if exists(s.pki("operator.crt")) {
		return nil
	}
	_, err := s.Nsctl(ctx, "pki", "issue", "admin", "--role", "operator", "--dir", s.pki(), "--out", s.pki())
	return err
}

// ensureIdentity gives a node its certificates. Fresh: it had none, or those of another CA.
func (s *Suite) ensureIdentity(ctx context.Context, n testbed.Node) (fresh bool, err error) {
	dir := s.Host(n, netmap.PKIDir)
	ours, err := os.ReadFile(s.pki("ca.crt"))
	if err != nil {
		return false, err
	}
	theirs, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	other := !bytes.Equal(ours, theirs)
	roles := []string{"node"}
	if n.Name == s.manager().Name {
		roles = append(roles, managerRole)
	}
	for _, role := range roles {
		if !other && exists(filepath.Join(dir, role+".crt")) {
			continue
		}
		fresh = true
		if err := s.issue(ctx, n, role); err != nil {
			return false, err
		}
	}
	return fresh, nil
}

const managerRole = "manager"

// issue makes a certificate of a node, where its programs look for it.
func (s *Suite) issue(ctx context.Context, n testbed.Node, role string) error {
	_, err := s.Nsctl(ctx, "pki", "issue", n.Name, "--role", role, "--dir", s.pki(), "--out", s.Host(n, netmap.PKIDir))
	return err
}

// pki is a path in the folder of the CA.
func (s *Suite) pki(names ...string) string {
	return filepath.Join(append([]string{s.out, "pki"}, names...)...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
