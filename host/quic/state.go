package quicconn

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/mesh"
)

// A link connection may carry a second stream, for the state that all nodes share. Of the two ends the one with the smaller
// name opens it, whoever dialled, so there is never a choice between two; a further one only after the first has ended. A
// peer that does not know of it allows no such stream, and its link is as good as any.

const (
	stateStream = 1           // the first byte of the stream: what it is for
	stateRest   = time.Second // between the end of a peer's state stream and the next that it may open

	controlUrgency = 0 // of RFC 9218: what is sent first
	stateUrgency   = 7

	codeStreamDone    quic.StreamErrorCode = 0 // this end has no more use for the stream
	codeStreamUnknown quic.StreamErrorCode = 1 // of another kind than this version knows
)

// StateStream is the stream of a link connection that carries the shared state. Read and Write may be called at once, each
// by one goroutine. It ends with the connection, the connection not with it.
type StateStream struct {
	s     *quic.Stream
	t     *Transport
	close sync.Once
}

var _ io.ReadWriteCloser = (*StateStream)(nil)

// Read implements io.Reader. Its errors, as those of Write, wrap ErrStreamEnded: there is no end in order. Bytes that are not read hold back the peer's, not its control messages.
func (s *StateStream) Read(b []byte) (int, error) {
	n, err := s.s.Read(b)
	s.t.count.stateReceived.Add(uint64(n)) // #nosec G115 -- a length
	return n, ended(err)
}

// Write implements io.Writer. It waits while the peer or the way to it takes no more.
func (s *StateStream) Write(b []byte) (int, error) {
	n, err := s.s.Write(b)
	s.t.count.stateSent.Add(uint64(n)) // #nosec G115 -- a length
	return n, ended(err)
}

func ended(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrStreamEnded, err)
}

// Over is closed when nothing can be written any more, since either end closed the stream or the connection is over.
func (s *StateStream) Over() <-chan struct{} { return s.s.Context().Done() }

// Close ends the stream in both directions at once; what the peer has not read may be lost. Reads and writes that wait
// return.
func (s *StateStream) Close() error {
	s.close.Do(func() { s.end(codeStreamDone) })
	return nil
}

func (s *StateStream) end(code quic.StreamErrorCode) {
	s.s.CancelRead(code)
	s.s.CancelWrite(code)
}

// OpenState opens the state stream of a connection; the caller closes it. ErrNoStream means that the peer allows none
// now: it is of an earlier version, or has not let go of the one before. ErrNotOpener is the end of the larger name.
func (t *Transport) OpenState(id mesh.ConnID) (*StateStream, error) {
	c := t.lookup(id)
	switch {
	case c == nil || !c.ready.Load():
		return nil, fmt.Errorf("quic: state stream on connection %d: %w", id, ErrNoConn)
	case t.cfg.Callbacks.State == nil || !c.opensState():
		return nil, fmt.Errorf("quic: state stream on connection %d: %w", id, ErrNotOpener)
	}
	s, err := c.qc.OpenStream()
	if err != nil {
		if _, limit := errors.AsType[*quic.StreamLimitReachedError](err); limit {
			err = ErrNoStream
		}
		return nil, fmt.Errorf("quic: state stream on connection %d: %w", id, err)
	}
	s.SetPriority(stateUrgency, true)
	if _, err := s.Write([]byte{stateStream}); err != nil {
		return nil, fmt.Errorf("quic: state stream on connection %d: %w", id, err)
	}
	t.count.states.Add(1)
	return &StateStream{s: s, t: t}, nil
}

// opensState reports whether the state stream is ours to open.
func (c *conn) opensState() bool { return c.self.Compare(c.peer) < 0 }

// streams returns how many streams a peer may have open at once.
func (t *Transport) streams(control int64) int64 {
	if t.cfg.Callbacks.State != nil {
		control++
	}
	if control == 0 {
		return -1 // none; zero would be quic-go's default
	}
	return control
}

// acceptStates serves the state streams that the peer opens, one after the other, until the connection is over.
func (c *conn) acceptStates() {
	ctx := c.qc.Context()
	for {
		s, err := c.qc.AcceptStream(ctx)
		if err != nil {
			return
		}
		if c.opensState() {
			c.fail(codeProtocol, "not yours to open", fmt.Errorf("%w: it opened a stream that is not its to open", ErrProtocol))
			return
		}
		s.SetPriority(stateUrgency, true)
		c.serveState(&StateStream{s: s, t: c.t})
		rest := time.NewTimer(stateRest)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return
		}
		s.ReleaseStreamCredit()
	}
}

// serveState hands a stream of the peer's on and closes it when it has been dealt with.
func (c *conn) serveState(s *StateStream) {
	defer s.Close()
	var kind [1]byte
	_ = s.s.SetReadDeadline(time.Now().Add(c.t.cfg.HandshakeTimeout))
	if _, err := io.ReadFull(s.s, kind[:]); err != nil {
		return
	}
	_ = s.s.SetReadDeadline(time.Time{})
	if kind[0] != stateStream { // of a later version
		c.t.count.statesUnknown.Add(1)
		s.end(codeStreamUnknown)
		return
	}
	c.t.count.states.Add(1)
	c.t.cfg.Callbacks.State(c.id, c.peer, s)
}
