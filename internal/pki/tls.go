package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
)

// Server gives the credentials of a listener: every client must show a certificate of this CA.
func (id *Identity) Server() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      id.ca,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.present() },
	})
}

// Client gives the credentials of a connection to one server: its certificate must be of this CA, name server as its
// holder, and hold role.
func (id *Identity) Client(server string, role Role) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    id.ca,
		ServerName: server,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.present()
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			return holds(state.PeerCertificates[0], role)
		},
	})
}

// present checks the dates again: a daemon runs longer than its certificate lives.
func (id *Identity) present() (*tls.Certificate, error) {
	if err := valid(id.file, id.cert, time.Now()); err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{id.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}, nil
}

// holds is called with a certificate whose chain and name are already verified.
func holds(cert *x509.Certificate, role Role) error {
	if roles := rolesOf(cert); !slices.Contains(roles, role) {
		return fmt.Errorf("certificate of %s has role %s; the server must have role %s", cert.Subject.CommonName, join(roles), role)
	}
	return nil
}
