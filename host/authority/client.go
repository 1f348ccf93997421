package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// dialTimeout is how long one address may take to answer at all.
const dialTimeout = 5 * time.Second

// client is one exchange with an authority, to join or to renew.
type client struct {
	purpose   trust.Purpose
	authority mesh.NodeID
	node      mesh.NodeID
	key       *ecdsa.PrivateKey // that the new SVID is for
	secret    []byte            // to join
	current   *Source           // to renew
	trusted   func(*trust.Log) error
	clock     Clock
}

// answer is what a successful exchange brings.
type answer struct {
	svid       *SVID
	log        *trust.Log
	neighbours []string
	skew       time.Duration
}

// run speaks over raw and closes it. The order is the point: the authority proves itself by a log that trusted
// accepts and an SVID that the log's roots accept, then and only then is anything asked of it.
func (c *client) run(ctx context.Context, raw net.Conn) (answer, error) {
	defer func() { _ = raw.Close() }()
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	_ = raw.SetDeadline(time.Now().Add(maxExchange))
	if _, err := raw.Write(trust.Preamble{Purpose: c.purpose, Authority: c.authority}.Append(nil)); err != nil {
		return answer{}, err
	}
	status := &statusConn{Conn: raw}
	conn := tls.Client(&boundedConn{status, maxDown}, c.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		// Who refuses closes at once, and then our writing may fail before we have read why.
		if why := status.status(); status.seen && why != nil {
			err = why
		}
		return answer{}, fmt.Errorf("TLS with %s at %s: %w", c.authority, raw.RemoteAddr(), err)
	}
	binding, err := exporter(conn)
	if err != nil {
		return answer{}, err
	}
	a, err := c.greeted(conn)
	if err != nil {
		return answer{}, err
	}
	return a, c.ask(conn, binding, &a)
}

func (c *client) tlsConfig() *tls.Config {
	cfg := tlsConfig()
	cfg.InsecureSkipVerify = true // #nosec G402 -- greeted verifies, as SVIDs name no hosts and the roots come with the greeting
	if c.current != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert := c.current.Certificate()
			return &cert, nil
		}
	}
	return cfg
}

// greeted reads the greeting and believes it or not.
func (c *client) greeted(conn *tls.Conn) (answer, error) {
	body, err := readMessage(conn, trust.MaxAnswer)
	if err != nil {
		return answer{}, fmt.Errorf("read the greeting of %s: %w", c.authority, err)
	}
	g, err := trust.ParseGreeting(body)
	if err != nil {
		return answer{}, err
	}
	log, err := trust.ParseLog(g.Log)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrImpostor, err)
	}
	if err := c.trusted(log); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrImpostor, err)
	}
	if _, active := log.Authority(c.authority); !active {
		return answer{}, fmt.Errorf("%w: the authority log does not list %s (any more)", ErrImpostor, c.authority)
	}
	now := c.clock.now()
	skew := g.Time.Sub(now).Round(time.Millisecond)
	who, err := trust.VerifySVID(conn.ConnectionState().PeerCertificates, log.Roots(), now, trust.VerifyOptions{})
	switch {
	case errors.Is(err, trust.ErrNotYetValid) || errors.Is(err, trust.ErrExpired) || errors.Is(err, trust.ErrAuthorityExpired):
		return answer{}, fmt.Errorf("%w: %w; its clock is %s ahead of ours", ErrImpostor, err, skew)
	case err != nil:
		return answer{}, fmt.Errorf("%w: %w", ErrImpostor, err)
	case who != c.authority:
		return answer{}, fmt.Errorf("%w: it is %s and not %s", ErrImpostor, who, c.authority)
	}
	return answer{log: log, skew: skew}, nil
}

// ask sends the request and reads the reply into a.
func (c *client) ask(conn *tls.Conn, binding []byte, a *answer) error {
	csr, err := makeCSR(c.key)
	if err != nil {
		return err
	}
	q := trust.Request{Node: c.node, CSR: csr}
	if c.purpose == trust.PurposeJoin {
		q.JoinProof(c.secret, binding)
	}
	if err := writeMessage(conn, q.Append(nil)); err != nil {
		return err
	}
	body, err := readMessage(conn, trust.MaxAnswer)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.authority, err)
	}
	p, err := trust.ParseReply(body)
	if err != nil {
		return err
	}
	if p.Code != trust.CodeDone {
		return refusalOf(p)
	}
	a.neighbours = p.Neighbours
	return c.accept(p.Chain, a)
}

// accept verifies the SVID that came: for the own name and key, by the authorities of the log.
func (c *client) accept(raw [][]byte, a *answer) error {
	chain, err := trust.ParseChain(raw)
	if err != nil {
		return err
	}
	node, err := trust.VerifySVID(chain, a.log.Roots(), c.clock.now(), trust.VerifyOptions{})
	if err != nil {
		return fmt.Errorf("the SVID from %s does not verify here: %w; its clock is %s ahead of ours", c.authority, err, a.skew)
	}
	if pub, ok := chain[0].PublicKey.(*ecdsa.PublicKey); node != c.node || !ok || !c.key.PublicKey.Equal(pub) {
		return fmt.Errorf("%w: %s sent an SVID of %s that is not for the key asked for", trust.ErrMessage, c.authority, node)
	}
	a.svid, err = NewSVID(raw, c.key)
	return err
}

// issuerOf returns which of the log's authorities signed leaf.
func issuerOf(l *trust.Log, leaf *x509.Certificate) (mesh.NodeID, bool) {
	for _, a := range l.Authorities() {
		if leaf.CheckSignatureFrom(a.CA) == nil {
			return a.Node, true
		}
	}
	return mesh.NodeID{}, false
}
