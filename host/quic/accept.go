package quicconn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/wire"
)

type attemptKey struct{}

// incoming admits a handshake, or refuses it (CONNECTION_REFUSED) when there are too many. The attempt travels in
// the context, where the TLS callbacks and acceptLoop find it.
func (t *Transport) incoming(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	from := t.source(info.RemoteAddr)
	if !t.gate.enter(from) {
		t.count.busy.Add(1)
		return nil, ErrBusy
	}
	a := &attempt{t: t, remote: info.RemoteAddr}
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
		t.gate.promote(t.source(a.remote))
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

// source returns the network that an underlay address belongs to, as large as one stranger may hold at will: /24 or
// /64. The zero value stands for all others, such as the conversations of end-to-end handshakes, which are not counted.
func (t *Transport) source(a net.Addr) netip.Prefix {
	u, ok := a.(*net.UDPAddr)
	if !ok || t.cfg.Purpose != wire.PurposeLink {
		return netip.Prefix{}
	}
	ip, bits := u.AddrPort().Addr().Unmap().WithZone(""), 64
	if ip.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(ip, bits).Masked()
}

// gate bounds what strangers can make this node do: handshakes per second without validated address, handshakes at
// once, connections at once.
type gate struct {
	rate, maxHalfOpen, maxConns int

	mu       sync.Mutex
	halfOpen int
	from     map[netip.Prefix]int // half-open handshakes by the network they come from
	conns    int
	tokens   float64
	filled   time.Time
}

// share is the part of the half-open handshakes that nobody's address need be proved for, and that one network may
// hold: whoever begins handshakes and leaves them must not keep out everybody else.
func (g *gate) share() int { return max(1, g.maxHalfOpen/4) }

func (g *gate) enter(from netip.Prefix) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.halfOpen >= g.maxHalfOpen || g.halfOpen+g.conns >= g.maxConns {
		return false
	}
	if from.IsValid() {
		if g.from[from] >= g.share() {
			return false
		}
		if g.from == nil {
			g.from = map[netip.Prefix]int{}
		}
		g.from[from]++
	}
	g.halfOpen++
	return true
}

// settle takes a handshake off the half-open ones. Under g.mu.
func (g *gate) settle(from netip.Prefix) {
	g.halfOpen--
	if !from.IsValid() {
		return
	}
	if g.from[from]--; g.from[from] <= 0 {
		delete(g.from, from)
	}
}

// promote makes a half-open handshake a connection, abandon ends it.
func (g *gate) promote(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(from)
	g.conns++
}

func (g *gate) abandon(from netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(from)
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns--
}

// allow is a token bucket of rate per second that holds one second's worth. While many handshakes are half-open it is
// shut: forged sources, which answer nothing, hold them at a rate that the bucket alone would let pass.
func (g *gate) allow(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rate <= 0 || g.halfOpen >= g.share() {
		return false
	}
	limit := float64(g.rate)
	if g.filled.IsZero() {
		g.tokens = limit
	} else {
		g.tokens = min(limit, g.tokens+now.Sub(g.filled).Seconds()*limit)
	}
	g.filled = now
	if g.tokens < 1 {
		return false
	}
	g.tokens--
	return true
}

type counters struct {
	dials, failed, established, refused, abandoned, busy, retries, queueFull, unknown, sendErrors atomic.Uint64

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
		"quic_retries":          t.count.retries.Load(),
		"quic_queue_full":       t.count.queueFull.Load(),
		"quic_unknown_messages": t.count.unknown.Load(),
		"quic_send_errors":      t.count.sendErrors.Load(),
	}
}
