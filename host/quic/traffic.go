package quicconn

import (
	"sync/atomic"

	"x0tta6bl4/wire"
)

// traffic counts messages of one kind and their bytes, length and type included.
type traffic struct{ messages, bytes atomic.Uint64 }

func (t *traffic) add(n int) {
	t.messages.Add(1)
	t.bytes.Add(uint64(n)) // #nosec G115 -- a length
}

// queued counts the whole messages in b.
func (c *counters) queued(b []byte) {
	for len(b) > wire.MessageHeader {
		n, err := wire.MessageLength(b)
		if err != nil || wire.MessageHeader+n > len(b) {
			return // AppendMessage made them: cannot be
		}
		c.sent[wire.Kind(b[wire.MessageHeader])].add(wire.MessageHeader + n)
		b = b[wire.MessageHeader+n:]
	}
}

// MessageTraffic is what was exchanged of one kind of control message: messages as they are written to streams, without
// what QUIC adds, and counted when queued, sent or not.
type MessageTraffic struct {
	Kind                      string // as wire.KindName
	Sent, SentBytes, Received uint64
	ReceivedBytes             uint64
}

// StateBytes returns what was written to the streams of the shared state, and what was read.
func (t *Transport) StateBytes() (sent, received uint64) {
	return t.count.stateSent.Load(), t.count.stateReceived.Load()
}

// Messages returns the traffic of every kind of control message, zeros included, always in the same order.
func (t *Transport) Messages() []MessageTraffic {
	all := make([]MessageTraffic, wire.Kinds)
	for i := range all {
		s, r := &t.count.sent[i], &t.count.received[i]
		all[i] = MessageTraffic{
			Kind: wire.KindName(i), Sent: s.messages.Load(), SentBytes: s.bytes.Load(),
			Received: r.messages.Load(), ReceivedBytes: r.bytes.Load(),
		}
	}
	return all
}
