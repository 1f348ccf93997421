package crdt

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// slot is where an entry writes to, hashed: of all entries with the same slot the newest counts. It is the key of a
// register; of every other kind the key, the element and the author's incarnation, so that nobody overwrites another.
type slot [16]byte

// item is one entry that is held. It is immutable but for batch, which is nil when the item is not held any more.
type item struct {
	batch *batch
	index uint16
	kind  wire.EntryKind
	gone  bool
	time  mesh.Hybrid
	raw   []byte // the entry as its author wrote it
	slot  slot
	leaf  [32]byte // hash of raw, in the batch's tree: others of the batch are passed on with it
	id    [32]byte // hash of author, incarnation, sequence and leaf
}

const keyAt = 1 + 1 + 8 + 2 // in an entry

func newItem(b *batch, l *wire.Leaf) *item {
	it := &item{batch: b, index: l.Index, kind: l.Entry.Kind, gone: l.Entry.Gone, time: l.Entry.Time, raw: l.Raw}
	it.slot = slotOf(&b.Batch, &l.Entry)
	it.leaf = wire.LeafHash(l.Raw)
	it.id = idOf(&b.Batch, l.Index, it.leaf)
	return it
}

func slotOf(b *wire.Batch, e *wire.Entry) slot {
	var buf [256]byte
	h := append(buf[:0], byte(e.Kind))
	h = binary.BigEndian.AppendUint16(h, uint16(len(e.Key)))
	h = append(h, e.Key...)
	if e.Kind != wire.EntryRegister {
		h = binary.BigEndian.AppendUint16(h, uint16(len(e.Element)))
		h = append(h, e.Element...)
		h = append(h, b.Author.String()...)
		h = binary.BigEndian.AppendUint64(h, b.Incarnation)
	}
	sum := sha256.Sum256(h)
	return slot(sum[:])
}

func idOf(b *wire.Batch, index uint16, leaf [32]byte) [32]byte {
	var buf [128]byte
	h := append(buf[:0], 2)
	h = append(append(h, byte(len(b.Author.String()))), b.Author.String()...)
	h = binary.BigEndian.AppendUint64(h, b.Incarnation)
	h = binary.BigEndian.AppendUint64(h, b.First+uint64(index))
	return sha256.Sum256(append(h, leaf[:]...))
}

func (it *item) dot() wire.Dot {
	return wire.Dot{Author: it.batch.Author, Incarnation: it.batch.Incarnation, Seq: it.batch.First + uint64(it.index)}
}

func (it *item) key() []byte {
	return it.raw[keyAt : keyAt+int(binary.BigEndian.Uint16(it.raw[keyAt-2:]))]
}

// element returns the element of a set's item.
func (it *item) element() []byte {
	if it.kind != wire.EntrySet {
		return nil
	}
	rest := it.raw[keyAt+len(it.key()):]
	return rest[2 : 2+int(binary.BigEndian.Uint16(rest))]
}

// entry returns the item read again; it parsed before.
func (it *item) entry() wire.Entry {
	e, _ := wire.ParseEntry(it.raw)
	return e
}

// ref is the item's name between neighbours: where it is in the tree, and which it is there.
func (it *item) ref() (r wire.Ref) {
	copy(r[:refSlot], it.slot[:])
	binary.BigEndian.PutUint64(r[refSlot:refID], uint64(it.time))
	copy(r[refID:], it.id[:])
	return r
}

// Where the parts of a ref begin behind that of the slot.
const (
	refSlot = 6
	refID   = refSlot + 8
)

func refTime(r wire.Ref) mesh.Hybrid { return mesh.Hybrid(binary.BigEndian.Uint64(r[refSlot:refID])) }

// size is what an item is counted with against the bounds of memory: its bytes, and what is kept about them.
func (it *item) size() int { return len(it.raw) + itemOverhead }

// size is what a batch is counted with, besides its items.
func (b *batch) size() int { return batchOverhead + subtreeSize*len(b.pruned) }

// As BenchmarkMillion measures them, and a little more.
const (
	itemOverhead  = 200
	batchOverhead = 400
	subtreeSize   = 40
)

// charge counts n bytes more, or less, for an author.
func (s *State) charge(author mesh.NodeID, n int) {
	s.bytes += n
	if s.used[author] += n; s.used[author] == 0 {
		delete(s.used, author)
	}
}

// chargeItem counts an item of an author that comes (1) or goes (-1).
func (s *State) chargeItem(author mesh.NodeID, it *item, sign int) {
	n := sign * it.size()
	s.charge(author, n)
	if s.isVital(it) {
		s.vital += n
		if s.usedVital[author] += n; s.usedVital[author] == 0 {
			delete(s.usedVital, author)
		}
	}
}

// isVital reports whether an item has a vital key.
func (s *State) isVital(it *item) bool { return s.cfg.Vital != nil && s.cfg.Vital(it.key()) }

// newer reports whether a comes after b in the one order that all replicas share: by time, then by who wrote it and as
// which of its entries. The hash is last: it tells two entries apart that a lying author gave the same number.
func newer(a, b *item) bool {
	if a.time != b.time {
		return a.time > b.time
	}
	return cmp.Or(a.dot().Compare(b.dot()), bytes.Compare(a.id[:], b.id[:])) > 0
}

// compareItems is the order of the index: by key, then kind, element and author.
func compareItems(a, b *item) int {
	if c := bytes.Compare(a.key(), b.key()); c != 0 {
		return c
	}
	if c := cmp.Compare(a.kind, b.kind); c != 0 || a.kind == wire.EntryRegister {
		return c
	}
	return cmp.Or(bytes.Compare(a.element(), b.element()), a.batch.Author.Compare(b.batch.Author),
		cmp.Compare(a.batch.Incarnation, b.batch.Incarnation))
}
