package quicconn

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The alerts sent to a refused peer (RFC 8446 §6.2): of no use to guess what exactly was wrong.
const (
	alertBadCertificate tls.AlertError = 42
	alertAccessDenied   tls.AlertError = 49
	alertInternalError  tls.AlertError = 80
)

// attempt is one handshake, in either role.
type attempt struct {
	t       *Transport
	remote  net.Addr
	from    caller      // who dialled us
	want    mesh.NodeID // zero = anyone
	claimed atomic.Bool

	mu   sync.Mutex // the TLS callbacks run on a goroutine of the handshake
	cert tls.Certificate
	own  *x509.Certificate
	self mesh.NodeID
	leaf *x509.Certificate // the peer's
	peer mesh.NodeID
	err  error // the first refusal of ours
}

// claim is true for the first caller: it decides the attempt's fate.
func (a *attempt) claim() bool { return a.claimed.CompareAndSwap(false, true) }

func (t *Transport) newAttempt(want mesh.NodeID) (*attempt, error) {
	a := &attempt{t: t, want: want}
	return a, a.takeIdentity()
}

// takeIdentity fixes the SVID of this handshake, so that what is presented and what is exported cannot differ.
func (a *attempt) takeIdentity() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cert = a.t.cfg.Identity()
	if len(a.cert.Certificate) == 0 {
		return a.fail(ErrNoIdentity, alertInternalError)
	}
	a.own = a.cert.Leaf
	var err error
	if a.own == nil {
		if a.own, err = x509.ParseCertificate(a.cert.Certificate[0]); err != nil {
			return a.fail(fmt.Errorf("%w: %w", ErrNoIdentity, err), alertInternalError)
		}
	}
	id, err := x509svid.IDFromCert(a.own)
	if err != nil {
		return a.fail(fmt.Errorf("%w: %w", ErrNoIdentity, err), alertInternalError)
	}
	a.self, err = mesh.NodeIDFromSPIFFE(id)
	if err != nil || !id.MemberOf(a.t.cfg.TrustDomain) {
		return a.fail(fmt.Errorf("%w: %s is not a node of %s", ErrNoIdentity, id, a.t.cfg.TrustDomain), alertInternalError)
	}
	return nil
}

// fail remembers err; the result carries the alert too, which crypto/tls then sends. Under a.mu.
func (a *attempt) fail(err error, alert tls.AlertError) error {
	if a.err == nil {
		a.err = err
	}
	return &refusal{err, alert}
}

type refusal struct {
	err   error
	alert tls.AlertError
}

func (r *refusal) Error() string   { return r.err.Error() }
func (r *refusal) Unwrap() []error { return []error{r.err, r.alert} }

// verify is VerifyConnection: it runs at every handshake, with the certificates that the peer has proved to own.
func (a *attempt) verify(cs tls.ConnectionState) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case cs.Version != tls.VersionTLS13 || cs.DidResume || cs.NegotiatedProtocol != alpn(a.t.cfg.Purpose):
		return a.fail(fmt.Errorf("%w: TLS %#x, resumed %t, protocol %q",
			ErrUnverified, cs.Version, cs.DidResume, cs.NegotiatedProtocol), alertAccessDenied)
	case len(cs.PeerCertificates) == 0:
		return a.fail(fmt.Errorf("%w: it has none", ErrUnverified), alertBadCertificate)
	}
	peer, err := a.t.cfg.Verify(cs.PeerCertificates)
	switch {
	case err != nil:
		return a.fail(fmt.Errorf("%w: %w", ErrUnverified, err), alertBadCertificate)
	case peer.IsZero():
		return a.fail(fmt.Errorf("%w: it names no node", ErrUnverified), alertBadCertificate)
	case peer == a.self:
		return a.fail(fmt.Errorf("%w: %w: %s", ErrUnverified, ErrSelf, peer), alertAccessDenied)
	case !a.want.IsZero() && peer != a.want:
		return a.fail(fmt.Errorf("%w: %w: %s instead of %s", ErrUnverified, ErrWrongPeer, peer, a.want), alertAccessDenied)
	}
	a.peer, a.leaf = peer, cs.PeerCertificates[0]
	return nil
}

// established describes the verified connection and exports its secret.
func (a *attempt) established(qc *quic.Conn, client bool) (Established, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaf == nil {
		return Established{}, fmt.Errorf("%w: it was not checked", ErrUnverified)
	}
	td := a.t.cfg.TrustDomain
	c, s := a.self.SPIFFEID(td), a.peer.SPIFFEID(td)
	if !client {
		c, s = s, c
	}
	tlsState := qc.ConnectionState().TLS
	secret, err := tlsState.ExportKeyingMaterial(wire.ExporterLabel, wire.ExporterContext(a.t.cfg.Purpose, c, s, 0), wire.SecretSize)
	if err != nil {
		return Established{}, fmt.Errorf("export the secret: %w", err)
	}
	notAfter := a.leaf.NotAfter
	if a.own.NotAfter.Before(notAfter) {
		notAfter = a.own.NotAfter
	}
	return Established{
		Peer:     a.peer,
		self:     a.self,
		Remote:   qc.RemoteAddr(),
		Secret:   secret,
		NotAfter: notAfter,
		LeafHash: sha256.Sum256(a.leaf.Raw),
	}, nil
}

// explain names why the handshake failed: by our own refusal if there was one, else by what QUIC reports.
func (a *attempt) explain(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil && !remoteClose(err) {
		return a.err
	}
	return classify(err)
}

func alpn(p wire.Purpose) string {
	if p == wire.PurposeLink {
		return wire.ALPNLink
	}
	return wire.ALPNE2E
}

// baseTLS holds for both roles. InsecureSkipVerify turns off the Web's checks only (host names, system roots):
// VerifyConnection has ours, and unlike VerifyPeerCertificate it also runs if a session were resumed.
func (t *Transport) baseTLS(a *attempt) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn(t.cfg.Purpose)},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, // #nosec G402 -- VerifyConnection checks the SVID
		VerifyConnection:       a.verify,
	}
}

func (t *Transport) clientTLS(a *attempt) *tls.Config {
	c := t.baseTLS(a)
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &a.cert, nil }
	return c
}

// serverTLS makes a configuration per handshake, with the SVID of that moment and the attempt of that connection.
func (t *Transport) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn(t.cfg.Purpose)},
		SessionTicketsDisabled: true,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			a, ok := hello.Context().Value(attemptKey{}).(*attempt)
			if !ok {
				return nil, errors.New("handshake without attempt")
			}
			if err := a.takeIdentity(); err != nil {
				return nil, err
			}
			c := t.baseTLS(a)
			c.ClientAuth = tls.RequireAnyClientCert
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &a.cert, nil }
			return c, nil
		},
	}
}
