package quicconn

import (
	"context"
	"sync"
	"time"

	"x0tta6bl4/mesh"
)

// What is read from one peer, by all its connections together: far more than any node has to say, and little enough
// that what follows behind is never busy with one peer. Who sends faster is held back by QUIC's flow control, so
// nothing is lost, and the messages of others pass.
const (
	messageBurst   = 8192
	messagesPerSec = 1000
	byteBurst      = 8 << 20
	bytesPerSec    = 1 << 20
	keptPacers     = 256 // of peers that may have gone, when those that are whole again are forgotten
)

// pacer is what a peer has left. Both may be owed.
type pacer struct {
	messages, bytes float64
	at              time.Time
	conns           int
}

// pacers are those of all peers of a transport.
type pacers struct {
	mu sync.Mutex
	m  map[mesh.NodeID]*pacer
}

// join counts a connection in and reports whether the peer has no more than most of them. Each join needs its leave.
func (p *pacers) join(n mesh.NodeID, now time.Time, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.m[n]
	if x == nil {
		if len(p.m) >= keptPacers {
			p.tidy(now)
		}
		if p.m == nil {
			p.m = map[mesh.NodeID]*pacer{}
		}
		x = &pacer{messages: messageBurst, bytes: byteBurst, at: now}
		p.m[n] = x
	}
	x.conns++
	return x.conns <= most
}

// leave counts a connection out. What the peer owes outlives it, or a new connection would be a new allowance.
func (p *pacers) leave(n mesh.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m[n].conns--
}

func (p *pacers) tidy(now time.Time) {
	for n, x := range p.m {
		if x.fill(now); x.conns == 0 && x.messages >= messageBurst && x.bytes >= byteBurst {
			delete(p.m, n)
		}
	}
}

func (x *pacer) fill(now time.Time) {
	d := max(0, now.Sub(x.at).Seconds())
	x.messages = min(messageBurst, x.messages+d*messagesPerSec)
	x.bytes = min(byteBurst, x.bytes+d*bytesPerSec)
	x.at = now
}

// take counts one message of so many bytes and returns how long the reader has to wait for it.
func (p *pacers) take(n mesh.NodeID, now time.Time, size int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.m[n]
	x.fill(now)
	x.messages--
	x.bytes -= float64(size)
	owed := max(-x.messages/messagesPerSec, -x.bytes/bytesPerSec, 0)
	return time.Duration(owed * float64(time.Second))
}

// pace waits until the peer may have one more message of so many bytes read, or the connection is over.
func (c *conn) pace(size int) error {
	wait := c.t.pacers.take(c.peer, time.Now(), size)
	if wait <= 0 {
		return nil
	}
	c.t.count.paced.Add(1)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.qc.Context().Done():
		return context.Cause(c.qc.Context())
	}
}
