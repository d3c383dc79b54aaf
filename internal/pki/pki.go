// Package pki is the identity of every program: one certificate authority (CA) per AS, certificates that name a holder
// and its roles, mutual TLS 1.3, and the rule which role may call which method.
//
// It reads ca.crt, <role>.crt and <role>.key in a folder (/host/netservices/pki on a switch), writes them when an
// operator runs `nsctl pki init` or `nsctl pki issue`, and is told by nobody: a certificate is loaded once, at start.
//
// A certificate holds the holder's name as DNS SAN and its roles as subject OU. There are no IP SANs: a client knows
// the node name it wants to reach and checks it, so a switch may change its address and keep its certificate.
package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Role says what a certificate's holder may call.
type Role string

const (
	Node     Role = "node"     // mig-agent and its helper on one switch
	Manager  Role = "manager"  // bt-manager
	Operator Role = "operator" // a person who may change things
	Viewer   Role = "viewer"   // a person or program that may look
)

// ParseRole reads a role as people write it.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case Node, Manager, Operator, Viewer:
		return r, nil
	}
	return "", fmt.Errorf("role %q: want node, manager, operator or viewer", s)
}

// Identity is one loaded certificate with its key and the CA it trusts.
type Identity struct {
	Name  string
	Roles []Role

	file string // of the certificate, for errors
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	ca   *x509.CertPool
}

// Load reads the identity a program has under a role and checks that it can be used now.
func Load(dir string, role Role) (*Identity, error) {
	ca, err := readCertificate(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, string(role)+".crt")
	cert, err := readCertificate(file)
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, string(role)+".key"))
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s: the key in %s.key belongs to another certificate", file, role)
	}
	if err := valid(file, cert, time.Now()); err != nil {
		return nil, err
	}
	id := &Identity{Roles: rolesOf(cert), file: file, cert: cert, key: key, ca: x509.NewCertPool()}
	id.ca.AddCert(ca)
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: id.ca, KeyUsages: usages}); err != nil {
		return nil, fmt.Errorf("%s: not signed by ca.crt beside it: %w", file, err)
	}
	if len(cert.DNSNames) != 1 {
		return nil, fmt.Errorf("%s: has %d names, want one", file, len(cert.DNSNames))
	}
	id.Name = cert.DNSNames[0]
	if !slices.Contains(id.Roles, role) {
		return nil, fmt.Errorf("%s: certificate of %s has role %s, want %s", file, id.Name, join(id.Roles), role)
	}
	return id, nil
}

// valid checks the dates of a certificate.
func valid(file string, cert *x509.Certificate, now time.Time) error {
	if now.After(cert.NotAfter) {
		return fmt.Errorf("%s: expired on %s", file, cert.NotAfter.Format(time.RFC3339))
	}
	if now.Before(cert.NotBefore) {
		return fmt.Errorf("%s: not valid before %s", file, cert.NotBefore.Format(time.RFC3339))
	}
	return nil
}

func rolesOf(cert *x509.Certificate) []Role {
	roles := make([]Role, 0, len(cert.Subject.OrganizationalUnit))
	for _, ou := range cert.Subject.OrganizationalUnit {
		roles = append(roles, Role(ou))
	}
	slices.Sort(roles) // a subject does not keep the order in which it was written
	return roles
}

// join writes roles as an error message needs them: "node", "manager or operator".
func join(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " or ")
}

func readPEM(file, kind string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", kind, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no PEM block of type %s", file, kind)
	}
	return block.Bytes, nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	der, err := readPEM(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert, nil
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(file, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: %w", file, errors.New("not an ECDSA key"))
	}
	return key, nil
}
