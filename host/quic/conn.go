package quicconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// conn is an established connection: one goroutine reads and owns its life, one writes, and one
// takes what streams the peer opens besides (state.go).
type conn struct {
	t       *Transport
	id      mesh.ConnID
	self    mesh.NodeID
	peer    mesh.NodeID
	qc      *quic.Conn
	dialled bool
	queue   *sendQueue
	ready   atomic.Bool // the first stream is there

	mu     sync.Mutex
	ending *ending // why this side closes, once it does
}

type ending struct {
	code quic.ApplicationErrorCode
	text string // for the peer
	err  error  // for Closed
}

func newConn(t *Transport, qc *quic.Conn, e Established) *conn {
	return &conn{t: t, id: e.Conn, self: e.self, peer: e.Peer, qc: qc, dialled: e.Dial != 0, queue: newSendQueue(t.cfg.QueueBytes)}
}

// decide fixes why this side closes: the first reason counts.
func (c *conn) decide(code quic.ApplicationErrorCode, text string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == nil {
		c.ending = &ending{code, text, err}
	}
}

// decided returns the reason, which must have been decided.
func (c *conn) decided() ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.ending
}

// finish closes with the reason decided, and waits until the connection is over.
func (c *conn) finish() {
	c.queue.close()
	e := c.decided()
	c.qc.CloseWithError(e.code, e.text)
}

func (c *conn) fail(code quic.ApplicationErrorCode, text string, err error) {
	c.decide(code, text, err)
	c.finish()
}

// run serves the connection to its end and says why it ended.
func (c *conn) run() error {
	s, err := c.stream()
	if err == nil {
		s.SetPriority(controlUrgency, true)
		c.ready.Store(true)
		var others sync.WaitGroup
		others.Go(func() { c.write(s) })
		if c.t.cfg.Callbacks.State != nil {
			others.Go(c.acceptStates)
		}
		err = c.read(s)
		c.giveUp(err)
		others.Wait()
	}
	c.giveUp(err)
	cause := context.Cause(c.qc.Context())
	if ae, ok := errors.AsType[*quic.ApplicationError](cause); ok && !ae.Remote {
		return c.decided().err
	}
	return classify(cause)
}

// giveUp closes after an error of the stream, if nothing has closed the connection yet.
func (c *conn) giveUp(err error) {
	switch {
	case errors.Is(err, ErrMalformed):
		c.fail(codeMalformed, "malformed message", err)
	case errors.Is(err, context.DeadlineExceeded):
		c.fail(codeProtocol, "no stream", fmt.Errorf("%w: it opened no stream", ErrProtocol))
	case errors.Is(err, io.EOF):
		c.fail(codeProtocol, "stream ended", fmt.Errorf("%w: it ended the stream", ErrProtocol))
	default:
		c.fail(codeProtocol, "stream failed", fmt.Errorf("%w: %w", ErrProtocol, err))
	}
}

// stream returns the stream of control messages, the first. An acceptor waits for it no longer than for a handshake, or a silent peer would
// hold the connection for ever.
func (c *conn) stream() (*quic.Stream, error) {
	if c.dialled {
		return c.qc.OpenStream()
	}
	ctx, cancel := context.WithTimeout(c.qc.Context(), 2*c.t.cfg.HandshakeTimeout)
	defer cancel()
	return c.qc.AcceptStream(ctx)
}

func (c *conn) read(s io.Reader) error {
	r := bufio.NewReader(s)
	for {
		b, err := readFrame(r)
		if err != nil {
			return err
		}
		c.t.count.received[wire.Kind(b[0])].add(wire.MessageHeader + len(b))
		if err := c.pace(wire.MessageHeader + len(b)); err != nil {
			return err
		}
		m, err := wire.ParseMessage(b)
		if errors.Is(err, wire.ErrUnknownMessage) { // from a newer version
			c.t.count.unknown.Add(1)
			continue
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		c.t.cfg.Callbacks.Message(c.id, m)
	}
}

func (c *conn) write(s io.Writer) {
	for {
		b, ok := c.queue.take()
		if !ok {
			return
		}
		if _, err := s.Write(b); err != nil {
			c.fail(codeProtocol, "stream failed", fmt.Errorf("%w: %w", ErrProtocol, err))
			return
		}
	}
}

// sendQueue holds whole frames until the writer takes them; what the writer is writing counts until it comes again.
type sendQueue struct {
	limit int

	mu      sync.Mutex
	more    *sync.Cond
	waiting []byte
	spare   []byte // the slice that the writer took last, to be reused
	writing int
	closed  bool
}

func newSendQueue(limit int) *sendQueue {
	q := &sendQueue{limit: limit}
	q.more = sync.NewCond(&q.mu)
	return q
}

func (q *sendQueue) put(b []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrNoConn
	}
	if len(q.waiting)+q.writing+len(b) > q.limit {
		return ErrQueueFull
	}
	q.waiting = append(q.waiting, b...)
	q.more.Signal()
	return nil
}

// take waits for bytes and returns all there are, valid until the next take. False means closed.
func (q *sendQueue) take() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = 0
	for len(q.waiting) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return nil, false
	}
	b := q.waiting
	q.waiting, q.spare = q.spare[:0], b
	if cap(b) > 64<<10 {
		q.spare = nil // a burst is over some day; its memory goes with it
	}
	q.writing = len(b)
	return b, true
}

func (q *sendQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}

// lossy makes a packet connection what QUIC expects of a network: a datagram that cannot be sent now is lost, and
// recovered or not, where quic-go would end the connection at the first error. Only a closed socket and a datagram
// that never fits are errors. It hides the socket too, whose options belong to its owner.
type lossy struct {
	net.PacketConn
	errors *atomic.Uint64
}

// WriteTo sends or loses b.
func (l lossy) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := l.PacketConn.WriteTo(b, addr)
	if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EMSGSIZE) {
		return n, err
	}
	l.errors.Add(1)
	return len(b), nil
}

// SetReadBuffer and SetWriteBuffer do nothing; without them quic-go complains on standard error.
func (lossy) SetReadBuffer(int) error  { return nil }
func (lossy) SetWriteBuffer(int) error { return nil }
