package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// signer is a certificate authority in the hands of a forger.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// stolen is the authority that a machine's state directory holds.
func stolen(t *testing.T, m *machine) signer {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(m.state(), "authority-ca.pem"), filepath.Join(m.state(), "authority-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return signer{cert, pair.PrivateKey.(*ecdsa.PrivateKey)}
}

// invented is an authority of a trust domain that nobody asked for.
func invented(t *testing.T, domain string) signer {
	t.Helper()
	key := newKey(t)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "invented"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: domain}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return signer{c, key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// identity is a certificate and its key, as x0t keeps them in svid.pem.
type identity struct{ tls.Certificate }

// leaf is what a genuine SVID of a node looks like.
func leaf(uris ...string) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Organization: []string{"x0t"}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, u := range uris {
		p, _ := url.Parse(u)
		c.URIs = append(c.URIs, p)
	}
	return c
}

// sign makes an identity of a certificate that is signed by ca, or by its own key if ca is nothing.
func sign(t *testing.T, ca signer, c *x509.Certificate) identity {
	t.Helper()
	key := newKey(t)
	if ca.key == nil {
		ca = signer{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// install puts the identity into a machine's state directory in place of the one that is there.
func (i identity) install(t *testing.T, m *machine) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(i.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate.Certificate[0]})...)
	if err := os.WriteFile(filepath.Join(m.state(), "svid.pem"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// dial opens a link connection from a machine with an identity, by QUIC alone, as an implementation would that checks
// nothing of its own.
func (i identity) dial(t *testing.T, pc *net.UDPConn, to netip.AddrPort) (*quic.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := quic.Dial(ctx, pc, net.UDPAddrFromAddrPort(to), &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"x0t-link/1"}, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{i.Certificate},
	}, &quic.Config{KeepAlivePeriod: time.Second})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	}
	return conn, err
}

// knockWith dials and returns the address that it comes from and a channel that tells how the connection ended.
func (i identity) knockWith(t *testing.T, m *machine, to netip.AddrPort) (netip.AddrPort, <-chan error) {
	t.Helper()
	pc := m.listenUDP(t, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	ended := make(chan error, 1)
	if conn, err := i.dial(t, pc, to); err != nil {
		ended <- err
	} else {
		go func() { <-conn.Context().Done(); ended <- context.Cause(conn.Context()) }()
	}
	return pc.LocalAddr().(*net.UDPAddr).AddrPort(), ended
}
