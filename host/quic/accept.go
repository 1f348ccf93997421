package quicconn

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/wire"
)

type attemptKey struct{}

// incoming admits a handshake, or refuses it (CONNECTION_REFUSED) when there are too many. The attempt travels in
// the context, where the TLS callbacks and acceptLoop find it.
func (t *Transport) incoming(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	from := caller{proven: info.AddrVerified, networks: t.cfg.Networks(info.RemoteAddr)}
	if !t.gate.enter(from, time.Now()) {
		t.count.busy.Add(1)
		return nil, ErrBusy
	}
	a := &attempt{t: t, remote: info.RemoteAddr, from: from}
	context.AfterFunc(ctx, func() {
		if a.claim() { // else it became a connection, which has its own end
			t.gate.abandon(from)
			t.refused(a, context.Cause(ctx))
		}
	})
	return context.WithValue(ctx, attemptKey{}, a), nil
}

// refused reports a failed incoming handshake if a certificate was the reason. Timeouts are only counted: anybody
// can make them.
func (t *Transport) refused(a *attempt, cause error) {
	err := a.explain(cause)
	switch {
	case errors.Is(err, ErrClosed):
		return
	case errors.Is(err, ErrUnverified), errors.Is(err, ErrRefused), errors.Is(err, ErrNoIdentity):
		t.count.refused.Add(1)
		if t.cfg.Callbacks.Refused != nil {
			t.spawn(func() { t.cfg.Callbacks.Refused(a.remote, err) })
		}
	default:
		t.count.abandoned.Add(1)
	}
}

func (t *Transport) acceptLoop() {
	for {
		qc, err := t.ln.Accept(t.ctx)
		if err != nil {
			return // only when the transport ends
		}
		a, ok := qc.Context().Value(attemptKey{}).(*attempt)
		if !ok || !a.claim() {
			continue // already over
		}
		t.gate.promote(a.from)
		t.spawn(func() {
			defer t.gate.leave()
			e, err := a.established(qc, false)
			if err != nil {
				qc.CloseWithError(codeInternal, "")
				return
			}
			t.serve(qc, e)
		})
	}
}

// needRetry reports whether a source that has not proved its address must do so first.
func (t *Transport) needRetry(net.Addr) bool {
	if t.gate.allow(time.Now()) {
		return false
	}
	t.count.retries.Add(1)
	return true
}

type counters struct {
	dials, failed, established, refused, abandoned, busy, crowded, retries, paced, queueFull, unknown, sendErrors atomic.Uint64
	states, statesUnknown, stateSent, stateReceived                                                               atomic.Uint64

	sent, received [wire.Kinds]traffic // control messages, by kind
}

// Counters returns what happened so far, by name.
func (t *Transport) Counters() map[string]uint64 {
	return map[string]uint64{
		"quic_dials":            t.count.dials.Load(),
		"quic_dials_failed":     t.count.failed.Load(),
		"quic_established":      t.count.established.Load(),
		"quic_refused":          t.count.refused.Load(),
		"quic_abandoned":        t.count.abandoned.Load(),
		"quic_busy":             t.count.busy.Load(),
		"quic_crowded":          t.count.crowded.Load(),
		"quic_paced":            t.count.paced.Load(),
		"quic_retries":          t.count.retries.Load(),
		"quic_queue_full":       t.count.queueFull.Load(),
		"quic_unknown_messages": t.count.unknown.Load(),
		"quic_send_errors":      t.count.sendErrors.Load(),
		"quic_state_streams":    t.count.states.Load(),
		"quic_unknown_streams":  t.count.statesUnknown.Load(),
	}
}
