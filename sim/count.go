package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
	"time"

	"x0tta6bl4/wire"
)

// The kinds of control traffic that are counted: those of wire.Kind, and hellos in the place of what wire does not know.
const (
	kindHello = 0
	kinds     = wire.Kinds
)

// tally counts one kind of control traffic.
type tally struct{ bytes, number uint64 }

// count notes something of a kind that was sent: frames and messages as long as they are on the wire.
func (w *World) count(kind, size int) { w.countMany(kind, 1, size) }

// countMany notes so many of a kind, and their bytes together.
func (w *World) countMany(kind, number, size int) {
	t := &w.stats.kinds[kind]
	t.bytes += uint64(size)         // #nosec G115 -- a length
	t.number += uint64(number)      // #nosec G115 -- not negative
	w.stats.Control += uint64(size) // #nosec G115 -- a length
}

// The kinds that are told without encoding.
var (
	recordKind  = kindNamed("record")
	lsaKind     = kindNamed("lsa")
	digestKind  = kindNamed("digest")
	summaryKind = kindNamed("summary")
	requestKind = kindNamed("record_request")
)

func kindNamed(name string) int {
	for k := range kinds {
		if wire.KindName(k) == name {
			return k
		}
	}
	return kindHello
}

// trace sums up everything that happened.
type trace struct {
	hash hash.Hash
	buf  []byte
}

// traceBlock is how much of a trace is hashed at once.
const traceBlock = 8 << 10

func newTrace() trace { return trace{hash: sha256.New(), buf: make([]byte, 0, traceBlock+128)} }

// note adds a line to the trace that TraceHash sums up. Hellos have none: which of their moments are events depends on
// the short cuts; what they bring about has.
func (w *World) note(kind byte, who int, what ...uint64) {
	t := &w.trace
	b := append(t.buf, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(w.at)) // #nosec G115 -- not negative
	b = binary.BigEndian.AppendUint32(b, uint32(who))  // #nosec G115 -- an index
	for _, v := range what {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	if len(b) >= traceBlock {
		_, _ = t.hash.Write(b) // a hash never fails
		b = b[:0]
	}
	t.buf = b
	if h := w.cfg.hooks.note; h != nil {
		h(kind, w.at, who, slices.Clone(what))
	}
}

func (t *trace) sum() string {
	_, _ = t.hash.Write(t.buf)
	t.buf = t.buf[:0]
	return hex.EncodeToString(t.hash.Sum(nil))
}

// tail is how long after a mesh has come together its nodes still have something to say about that.
const tail = 10 * time.Second

// mark notes what was counted until now: what a mesh says while it comes together is told apart from the rest.
func (w *World) mark() {
	w.settleAll()
	w.stats.before, w.stats.marked = w.stats.kinds, w.at
}
