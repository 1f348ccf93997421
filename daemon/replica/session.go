package replica

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Sizes of a session in bytes, but for the last.
const (
	readAhead  = 64 << 10
	pullBudget = 64 << 10
	keepBuffer = 256 << 10 // a larger one is given back
	maxSent    = 16 << 10  // chains that are remembered as sent
)

// Of messages of an unknown type so many are read at a time, and then none for a while. A later version sends few to those that do not
// know them.
const (
	unknownRow  = 64
	unknownRest = 100 * time.Millisecond
)

// session is the exchange with one neighbour: a reader, a writer, and what the loop keeps of them.
type session struct {
	id     mesh.NodeID
	stream Stream
	cancel context.CancelCauseFunc
	ready  chan struct{} // of one: the reader may go on
	out    chan []byte   // of one: to be written

	unknown int // messages; the reader's own

	// The loop's own.
	idle   bool   // the writer has nothing
	halted bool   // the reader waits
	buf    []byte // what the writer has, or the next takes
	rest   time.Time
	sent   map[[32]byte]bool // chains
	ask    hashes            // for chains
	give   hashes
	offers offers
}

// Meet exchanges state with a neighbour until the stream or ctx ends, and closes the stream. A second Meet with the same
// neighbour replaces the first, which returns ErrReplaced. It returns nil if the neighbour ended the stream between two
// messages, and an error of package wire for what no neighbour of good will sends.
func (r *Replica) Meet(ctx context.Context, neighbour mesh.NodeID, stream Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &session{
		id: neighbour, stream: stream, cancel: cancel, ready: make(chan struct{}, 1), out: make(chan []byte, 1),
		idle: true, halted: true, sent: map[[32]byte]bool{},
	}
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() { _ = stream.Close(); close(closed) })
	if !r.box.post(func(now time.Time) { r.welcome(now, s) }) {
		cancel(ErrClosed)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(r.write(ctx, s))
	}()
	cancel(r.read(ctx, s))
	<-written
	<-closed
	r.box.post(func(time.Time) { r.part(s) })
	if err := context.Cause(ctx); !errors.Is(err, io.EOF) {
		return fmt.Errorf("state of %s: %w", neighbour, err)
	}
	return nil
}

func (r *Replica) welcome(now time.Time, s *session) {
	if old := r.sessions[s.id]; old != nil {
		old.cancel(ErrReplaced)
	}
	r.sessions[s.id] = s
	r.sync.Add(now, s.id)
	r.told.count("sessions")
}

func (r *Replica) part(s *session) {
	if r.sessions[s.id] == s {
		delete(r.sessions, s.id)
		r.sync.Remove(s.id)
	}
}

// read takes messages off the stream, each when the loop has dealt with the one before.
func (r *Replica) read(ctx context.Context, s *session) error {
	in := bufio.NewReaderSize(s.stream, readAhead)
	var buf []byte
	for {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		m, err := readMessage(in, &buf)
		switch {
		case errors.Is(err, wire.ErrUnknownMessage):
			if err := r.skip(ctx, s); err != nil {
				return err
			}
			continue
		case malformed(err):
			r.box.post(func(time.Time) { r.told.count("garbage") })
			return err
		case err != nil:
			return err
		}
		r.box.post(func(now time.Time) { r.handle(now, s, m) })
	}
}

// skip passes over a message of a type that this version does not know, without troubling the loop. Who sends many waits.
func (r *Replica) skip(ctx context.Context, s *session) error {
	r.unknown.Add(1)
	s.ready <- struct{}{} // as it was
	if s.unknown++; s.unknown%unknownRow != 0 {
		return nil
	}
	select {
	case <-time.After(unknownRest):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func malformed(err error) bool {
	return errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrTruncated) || errors.Is(err, wire.ErrTooLong)
}

// readMessage reads the next message; it may alias buf. io.EOF: the stream ended before it.
func readMessage(in *bufio.Reader, buf *[]byte) (wire.StateMessage, error) {
	var head [wire.MessageHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	n, err := wire.StateMessageLength(head[:])
	if err != nil {
		return nil, err
	}
	if cap(*buf) < n || cap(*buf) > keepBuffer {
		*buf = make([]byte, n)
	}
	b := (*buf)[:n]
	if _, err := io.ReadFull(in, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return wire.ParseStateMessage(b)
}

// handle takes a message, after which the reader may use its buffer again.
func (r *Replica) handle(now time.Time, s *session, m wire.StateMessage) {
	s.halted = true
	if r.sessions[s.id] != s {
		return
	}
	s.rest = time.Time{}
	switch m := m.(type) {
	case wire.StateAsk:
		for _, h := range m.SVIDs {
			r.owe(s, h)
		}
	case wire.StateChain:
		r.offered(now, s, m.Chain)
	default:
		out, job, err := r.sync.Handle(now, s.id, m)
		r.apply(now, out)
		if job != nil {
			r.check(now, job)
		}
		if err != nil {
			r.cfg.Log.Debug("shared state: a piece is refused", "of", s.id, "err", err)
		}
	}
}

// allow lets the reader go on if this neighbour may bring more. One whose chains are waited for may bring more in any case, since a
// chain comes the same way.
func (r *Replica) allow(s *session) {
	if s.halted && !r.disk.behind() && (!r.sync.Full(s.id) || r.chains.awaits(s.id)) {
		s.halted = false
		s.ready <- struct{}{}
	}
}

// fill gives the writer what there is for the neighbour, if it has nothing to do.
func (r *Replica) fill(now time.Time, s *session) {
	if !s.idle || now.Before(s.rest) || len(s.ask.list)+len(s.give.list) == 0 && !r.sync.Ready(now, s.id) {
		return
	}
	buf := s.buf[:0]
	if some := s.ask.take(wire.MaxStateAsk); len(some) > 0 {
		buf = r.encode(buf, wire.StateAsk{SVIDs: some})
	}
	for len(s.give.list) > 0 && len(buf) < pullBudget {
		buf = r.chain(buf, s, s.give.take(1)[0])
	}
	for _, m := range r.sync.Pull(now, s.id, pullBudget) {
		if p, ok := m.(wire.StatePiece); ok {
			if b, _, err := wire.ParseBatch(p.Raw); err == nil && !s.sent[b.SVID] {
				buf = r.chain(buf, s, b.SVID)
			}
		}
		buf = r.encode(buf, m)
	}
	if len(buf) == 0 {
		s.rest = now.Add(lull)
		return
	}
	if s.buf = buf; cap(buf) > keepBuffer {
		s.buf = nil
	}
	s.idle = false
	s.out <- buf
}

func (r *Replica) encode(buf []byte, m wire.StateMessage) []byte {
	buf, err := wire.AppendStateMessage(buf, m)
	if err != nil { // the rest goes on without it
		r.told.count("unsendable")
		r.cfg.Log.Error("shared state: a message cannot be sent", "err", err)
	}
	return buf
}

// write writes what the loop gives.
func (r *Replica) write(ctx context.Context, s *session) error {
	for {
		select {
		case b := <-s.out:
			if _, err := s.stream.Write(b); err != nil {
				return err
			}
			if !r.box.post(func(time.Time) { s.idle = true }) {
				return ErrClosed
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// skew says whose clock is wrong.
func (r *Replica) skew(now time.Time) {
	if k := r.state.TakeSkew(); k.Ahead >= skewTold {
		r.told.warn(now, "skew", fmt.Sprintf("an entry of %s is dated %v ahead of this node's clock: check both clocks", k.Author, k.Ahead.Round(time.Second)))
	}
}

// skewTold is how far another's clock may be ahead before it is told. Entries are held from a minute on.
const skewTold = 5 * time.Second
