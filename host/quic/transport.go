// Package quicconn carries the control messages of the mesh between two nodes that have proved who they are: QUIC
// (RFC 9000) with a full mutual TLS 1.3 handshake (RFC 9001) between two X.509-SVIDs, over any net.PacketConn. Once
// per connection it exports the secret from which the keys of frames or data are derived (RFC 8446 §7.5).
//
// On the connection there is one bidirectional stream, opened by the dialler, and on it each side writes
//
//	0 … 3   u32 length of what follows, 1 to 256 KiB, big endian
//	4       u8 message type
//	5 …     body
//
// as package wire defines. A stream becomes known to the other side by its first byte, so the dialler speaks first.
// There is no 0-RTT, no ticket, no resumption and no server name in clear.
//
// What happens to a connection, in this order: the dialler's Dial ends in one Failed or one Established; the
// acceptor has Established, or Refused where its check or the peer's failed. After Established come any number of
// Message and exactly one Closed. In TLS 1.3 the dialler is done before the acceptor has seen its certificate: a
// dialler that the acceptor refuses usually has Established first, and then Closed with an error that wraps
// ErrRefused. Only the peer's first message confirms that it agreed.
package quicconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Identity returns the SVID to present: chain and key. It is asked at every handshake, so rotation is returning
// another. A certificate without chain means that there is none now.
type Identity func() tls.Certificate

// Verify checks a peer's chain, leaf first, against the trust domain's bundle, SPIFFE rules and time, and returns
// who it is. Its error reaches Failed or Refused, wrapped.
type Verify func(chain []*x509.Certificate) (mesh.NodeID, error)

// Callbacks tell what happened. They come from several goroutines, but those of one connection one after another. A
// callback that waits holds up its connection only; it must not wait for whoever calls Transport.Close, nor call it.
type Callbacks struct {
	// Established: the handshake is complete and the peer verified.
	Established func(Established)
	// Failed: a Dial came to nothing.
	Failed func(dial uint64, remote net.Addr, err error)
	// Refused: an incoming handshake was ended by a certificate that one of the two sides did not accept. nil = not told.
	Refused func(remote net.Addr, err error)
	// Message: the peer sent m.
	Message func(mesh.ConnID, wire.Message)
	// Closed: the connection is over and its handle dead. The error is never nil and wraps one of this package's.
	Closed func(mesh.ConnID, error)
	// State: the peer opened the stream of the shared state. The stream is closed when it returns, which it must when reads
	// fail, and Closed waits for it. nil = this transport has no such streams.
	State func(mesh.ConnID, mesh.NodeID, *StateStream)
}

// Established describes a new connection.
type Established struct {
	Conn     mesh.ConnID
	Dial     uint64 // the number given to Dial; 0 = the peer dialled
	Peer     mesh.NodeID
	Remote   net.Addr
	Secret   []byte    // 32 bytes from the TLS exporter, equal at both ends; the receiver owns it
	NotAfter time.Time // the earlier end of the two leaves
	LeafHash [32]byte  // SHA-256 of the peer's leaf (DER)

	self mesh.NodeID // what we showed
}

// Transport keeps the connections over one packet connection. Its methods may be called from any goroutine.
type Transport struct {
	cfg    Config
	qt     *quic.Transport
	ln     *quic.Listener
	gate   gate
	pacers pacers
	count  counters
	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	conns  map[mesh.ConnID]*conn
	wg     sync.WaitGroup // every goroutine of ours; grows under mu while not closed
}

// New starts to accept connections on pc, which must carry nothing but QUIC. Close ends that and leaves pc open.
func New(pc net.PacketConn, cfg Config) (*Transport, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	t := &Transport{cfg: cfg, conns: make(map[mesh.ConnID]*conn)}
	t.gate = gate{rate: cfg.RetryAbove, maxHalfOpen: cfg.MaxHalfOpen, maxConns: cfg.MaxConns, perNetwork: cfg.PerNetwork}
	ids, err := newConnectionIDs(cfg.ConnectionID)
	if err != nil {
		return nil, err
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.qt = &quic.Transport{
		Conn:                             lossy{pc, &t.count.sendErrors},
		ConnectionIDLength:               8,
		ConnectionIDGenerator:            ids,
		VerifySourceAddress:              t.needRetry,
		ConnContext:                      t.incoming,
		DisableVersionNegotiationPackets: true, // nothing to negotiate, and silence for scanners
	}
	t.ln, err = t.qt.Listen(t.serverTLS(), t.quicConfig(t.streams(1)))
	if err != nil {
		t.cancel()
		return nil, fmt.Errorf("quic: listen on %s: %w", pc.LocalAddr(), err)
	}
	t.spawn(t.acceptLoop)
	return t, nil
}

// quicConfig allows the peer that many streams at once, none if negative. The window of a connection is half as large again
// as that of one stream, so that who does not read the one goes on to read the other.
func (t *Transport) quicConfig(streams int64) *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           t.cfg.HandshakeTimeout,
		MaxIdleTimeout:                 t.cfg.IdleTimeout,
		KeepAlivePeriod:                t.cfg.KeepAlive,
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          -1,
		RequireStreamCreditRelease:     true,
		InitialStreamReceiveWindow:     128 << 10,
		MaxStreamReceiveWindow:         512 << 10,
		InitialConnectionReceiveWindow: 192 << 10,
		MaxConnectionReceiveWindow:     768 << 10,
		InitialPacketSize:              1200, // fits every link and the mesh itself
		DisablePathMTUDiscovery:        true,
	}
}

// Dial begins a connection to remote and returns at once; dial, not zero, comes back in Failed or Established. Only
// the node want is accepted, or any of the trust domain if want is zero. After Close it does nothing.
func (t *Transport) Dial(dial uint64, remote net.Addr, want mesh.NodeID) {
	t.spawn(func() { t.dial(dial, remote, want) })
}

func (t *Transport) dial(dial uint64, remote net.Addr, want mesh.NodeID) {
	t.count.dials.Add(1)
	err := t.tryDial(dial, remote, want)
	if err != nil {
		t.count.failed.Add(1)
		t.cfg.Callbacks.Failed(dial, remote, fmt.Errorf("quic: dial %s: %w", remote, err))
	}
}

// tryDial returns an error if the dial failed, else when the connection is over.
func (t *Transport) tryDial(dial uint64, remote net.Addr, want mesh.NodeID) error {
	a, err := t.newAttempt(want)
	if err != nil {
		return err
	}
	// Nobody would accept it, which a dialler learns only after its own handshake is complete (RFC 8446 §4.4).
	if end := a.own.NotAfter; t.cfg.Now().After(end) {
		return fmt.Errorf("%w: it expired at %s", ErrNoIdentity, end.UTC().Format(time.RFC3339))
	}
	qc, err := t.qt.Dial(t.ctx, remote, t.clientTLS(a), t.quicConfig(t.streams(0)))
	if err != nil {
		return a.explain(err)
	}
	e, err := a.established(qc, true)
	if err != nil {
		qc.CloseWithError(codeInternal, "")
		return err
	}
	e.Dial = dial
	t.serve(qc, e)
	return nil
}

// serve owns a connection from Established to Closed.
func (t *Transport) serve(qc *quic.Conn, e Established) {
	defer t.pacers.leave(e.Peer)
	if !t.pacers.join(e.Peer, time.Now(), t.cfg.MaxPerPeer) {
		t.count.crowded.Add(1)
		t.turnAway(qc, e, codeDone, "too many connections", ErrCrowded)
		return
	}
	e.Conn = t.cfg.NextConn()
	c := newConn(t, qc, e)
	if !t.add(c) {
		t.turnAway(qc, e, codeShutdown, textShutdown, ErrClosed)
		return
	}
	networks := t.cfg.Networks(e.Remote)
	t.gate.linked(networks, 1, time.Now())
	defer func() { t.gate.linked(networks, -1, time.Now()) }()
	t.count.established.Add(1)
	t.cfg.Callbacks.Established(e)
	e.Secret = nil
	err := c.run()
	t.remove(c)
	t.cfg.Callbacks.Closed(c.id, fmt.Errorf("quic: connection with %s at %s: %w", e.Peer, e.Remote, err))
}

// turnAway ends a connection that nobody was told of yet.
func (t *Transport) turnAway(qc *quic.Conn, e Established, code quic.ApplicationErrorCode, text string, why error) {
	clear(e.Secret)
	qc.CloseWithError(code, text)
	if e.Dial != 0 {
		t.cfg.Callbacks.Failed(e.Dial, e.Remote, fmt.Errorf("quic: dial %s: %w", e.Remote, why))
	}
}

// Send queues messages for the peer, all of them or none, and never waits. ErrQueueFull means that the peer takes
// them too slowly, ErrNoConn that the connection is over; the caller may send again or close it.
func (t *Transport) Send(id mesh.ConnID, msgs ...wire.Message) error {
	c := t.lookup(id)
	if c == nil {
		return fmt.Errorf("quic: send on connection %d: %w", id, ErrNoConn)
	}
	var b []byte
	for _, m := range msgs {
		var err error
		if b, err = wire.AppendMessage(b, m); err != nil {
			return fmt.Errorf("quic: send %T on connection %d: %w", m, id, err)
		}
	}
	if err := c.queue.put(b); err != nil {
		t.count.queueFull.Add(1)
		return fmt.Errorf("quic: send %d bytes on connection %d: %w", len(b), id, err)
	}
	t.count.queued(b)
	return nil
}

// CloseConn ends a connection and tells the peer why. It does not wait; Closed follows, with an error that wraps
// ErrLocal. Messages still queued may be lost. An unknown or dead handle is ignored.
func (t *Transport) CloseConn(id mesh.ConnID, reason string) {
	if c := t.lookup(id); c != nil {
		reason = clip(reason)
		c.decide(codeDone, reason, fmt.Errorf("%w: %q", ErrLocal, reason))
		t.spawn(c.finish)
	}
}

// Close ends every dial and connection, telling the peers, and returns when all callbacks have returned and all
// goroutines ended. The packet connection stays open, and nothing reads from it any more.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	conns := make([]*conn, 0, len(t.conns))
	for _, c := range t.conns {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	if !first {
		t.wg.Wait()
		return nil
	}
	t.cancel()
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { c.fail(codeShutdown, textShutdown, ErrClosed) })
	}
	closing.Wait()
	t.wg.Wait()
	t.ln.Close()
	return t.qt.Close()
}

// spawn runs f on a goroutine that Close waits for. After Close it does nothing.
func (t *Transport) spawn(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.wg.Go(f)
	}
}

func (t *Transport) add(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.conns[c.id] = c
	return true
}

func (t *Transport) remove(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c.id)
}

func (t *Transport) lookup(id mesh.ConnID) *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.conns[id]
}
