package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 2 * 365 * 24 * time.Hour
	skew     = time.Hour // a switch's clock may be behind the operator's
)

// Init makes the CA of an AS in dir: ca.crt, which every node gets, and ca.key, which stays with the operator.
func Init(dir, as string) error {
	if as == "" {
		return errors.New("init: the AS has no name")
	}
	for _, name := range []string{"ca.crt", "ca.key"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("init: %s exists already; every certificate of the AS would be lost", filepath.Join(dir, name))
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	now := time.Now()
	ca := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{as}, CommonName: as + " netservices CA"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves only
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if err := writePair(dir, "ca", der, key); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// Issue makes a certificate for name with the CA in dir and writes ca.crt, <first role>.crt and <first role>.key to out.
func Issue(dir, out, name string, roles []Role) error {
	now := time.Now()
	if err := issue(dir, out, name, roles, now.Add(-skew), now.Add(leafLife)); err != nil {
		return fmt.Errorf("issue %s: %w", name, err)
	}
	return nil
}

// namePattern is what crypto/x509 accepts as a host name.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

func issue(dir, out, name string, roles []Role, from, until time.Time) error {
	if !namePattern.MatchString(name) {
		return errors.New("a name holds letters, digits, '-', '_' and single dots")
	}
	if len(roles) == 0 {
		return errors.New("no role given")
	}
	units := make([]string, 0, len(roles))
	for _, r := range roles {
		if _, err := ParseRole(string(r)); err != nil {
			return err
		}
		if slices.Contains(units, string(r)) {
			return fmt.Errorf("role %s given twice", r)
		}
		units = append(units, string(r))
	}
	ca, err := readCertificate(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return err
	}
	if err := valid(filepath.Join(dir, "ca.crt"), ca, time.Now()); err != nil {
		return err
	}
	caKey, err := readKey(filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	if !caKey.PublicKey.Equal(ca.PublicKey) {
		return fmt.Errorf("%s: ca.key belongs to another ca.crt", dir)
	}
	if until.After(ca.NotAfter) {
		until = ca.NotAfter
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		Subject:     pkix.Name{Organization: ca.Subject.Organization, OrganizationalUnit: units, CommonName: name},
		DNSNames:    []string{name},
		NotBefore:   from,
		NotAfter:    until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(out, "ca.crt"), "CERTIFICATE", ca.Raw, 0o644); err != nil {
		return err
	}
	return writePair(out, units[0], der, key)
}

// writePair writes <name>.key, then <name>.crt: a certificate without its key is never seen.
func writePair(dir, name string, der []byte, key *ecdsa.PrivateKey) error {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der, 0o644)
}

// writePEM replaces a file in one step, so that a program that starts meanwhile reads the old one or the new one.
func writePEM(file, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing left to remove
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return os.Rename(f.Name(), file)
}
