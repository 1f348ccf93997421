package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"x0tta6bl4/mesh"
)

// Limits of a batch and of a piece of one; MaxPiece in bytes.
const (
	MaxBatch = 256
	MaxPiece = MaxEntry + 32<<10
)

const (
	batchPrefix = "x0t-batch/1\x00"
	minLeaf     = 2 + 4 + minEntry
)

// Batch is what the author of up to MaxBatch entries signs once: SigningInput over the root of the Merkle tree whose
// leaves they are. Entry i is the author's (First+i)-th.
type Batch struct {
	Author      mesh.NodeID
	Incarnation uint64
	First       uint64
	Count       uint16
	SVID        [32]byte // SHA-256 of the DER of the leaf certificate whose key signed it
}

// Leaf is an entry with its place in its batch.
type Leaf struct {
	Index uint16
	Raw   []byte // what Entry was read from
	Entry Entry
}

// Piece is some entries of a batch, with what proves that they are: the hashes of the largest subtrees that hold none of
// them, from left to right.
type Piece struct {
	Batch
	Sig    []byte
	Leaves []Leaf // ascending by Index, at least one
	Hashes [][32]byte
}

// SigningInput returns what the author of a batch with this root signs.
func (b *Batch) SigningInput(root [32]byte) []byte {
	be := binary.BigEndian
	in := appendNode(beginSigned(batchPrefix), b.Author)
	in = be.AppendUint64(in, b.Incarnation)
	in = be.AppendUint64(in, b.First)
	in = be.AppendUint16(in, b.Count)
	in = append(in, b.SVID[:]...)
	return endSigned(append(in, root[:]...), batchPrefix)
}

// Append appends what a piece says of its batch: everything but the root, which follows from the leaves.
func (b *Batch) Append(dst []byte) []byte {
	be := binary.BigEndian
	dst = appendNode(dst, b.Author)
	dst = be.AppendUint64(dst, b.Incarnation)
	dst = be.AppendUint64(dst, b.First)
	dst = be.AppendUint16(dst, b.Count)
	return append(dst, b.SVID[:]...)
}

func (r *reader) batch() Batch {
	b := Batch{Author: r.node(), Incarnation: r.u64(), First: r.u64(), Count: r.u16(), SVID: r.hash()}
	switch {
	case r.err != nil:
	case b.Count == 0 || b.Count > MaxBatch:
		r.fail(fmt.Errorf("%w: a batch of %d entries", ErrMalformed, b.Count))
	case b.First == 0 || b.First > math.MaxUint64-MaxBatch:
		r.fail(fmt.Errorf("%w: first entry %d", ErrMalformed, b.First))
	}
	return b
}

// ParseBatch reads what Append wrote, and returns what stands behind it.
func ParseBatch(b []byte) (Batch, []byte, error) {
	r := &reader{b: b}
	batch := r.batch()
	if r.err != nil {
		return Batch{}, nil, fmt.Errorf("batch: %w", r.err)
	}
	return batch, r.b, nil
}

// LeafHash and NodeHash make the tree of a batch, as RFC 9162 §2.1.1 does: the kinds of hashes cannot be mistaken for each
// other. The tree over n > 1 leaves has the largest power of two below n in its left half.
func LeafHash(raw []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(raw)
	return [32]byte(h.Sum(nil))
}

// NodeHash returns the hash of the tree whose halves have these.
func NodeHash(left, right [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// SplitTree returns where the right half of the tree over the leaves lo to hi-1 begins; hi-lo must be at least 2.
func SplitTree(lo, hi int) int {
	k := 1
	for 2*k < hi-lo {
		k *= 2
	}
	return lo + k
}

// AppendPiece appends the encoding of p. One that breaks a limit gives bytes that ParsePiece refuses.
func (p *Piece) AppendPiece(dst []byte) []byte {
	be := binary.BigEndian
	dst = p.Append(dst)
	dst = appendShort(dst, p.Sig)
	dst = be.AppendUint16(dst, uint16(min(len(p.Leaves), math.MaxUint16)))
	for i := range p.Leaves {
		dst = be.AppendUint16(dst, p.Leaves[i].Index)
		dst = be.AppendUint32(dst, uint32(min(len(p.Leaves[i].Raw), math.MaxUint32)))
		dst = append(dst, p.Leaves[i].Raw...)
	}
	for i := range p.Hashes {
		dst = append(dst, p.Hashes[i][:]...)
	}
	return dst
}

// Size returns the number of bytes that AppendPiece appends.
func (p *Piece) Size() int {
	n := 1 + len(p.Author.String()) + 8 + 8 + 2 + 32 + 2 + len(p.Sig) + 2 + 32*len(p.Hashes)
	for i := range p.Leaves {
		n += 2 + 4 + len(p.Leaves[i].Raw)
	}
	return n
}

// ParsePiece reads a piece and checks its form. Whether its author made it, only the signature can tell:
// p.SigningInput(p.Root()) under p.Sig. The result aliases b.
func ParsePiece(b []byte) (*Piece, error) {
	if len(b) > MaxPiece {
		return nil, fmt.Errorf("piece: %w: %d bytes, at most %d", ErrTooLong, len(b), MaxPiece)
	}
	r := &reader{b: b}
	p := &Piece{Batch: r.batch()}
	p.Sig = r.take(r.count(int(r.u16()), MaxSignature, 1))
	if r.err == nil && len(p.Sig) == 0 {
		r.fail(fmt.Errorf("%w: no signature", ErrTruncated))
	}
	r.leaves(p)
	if r.err == nil {
		r.hashes(p)
	}
	if r.err != nil {
		return nil, fmt.Errorf("piece of a batch of %q: %w", p.Author, r.err)
	}
	return p, nil
}

func (r *reader) leaves(p *Piece) {
	n := r.count(int(r.u16()), int(p.Count), minLeaf)
	if r.err == nil && n == 0 {
		r.fail(fmt.Errorf("%w: no entry", ErrMalformed))
		return
	}
	p.Leaves = make([]Leaf, 0, n)
	for i := range n {
		l := Leaf{Index: r.u16()}
		l.Raw = r.take(r.count(int(r.u32()), MaxEntry, 1))
		if r.err == nil && (l.Index >= p.Count || i > 0 && l.Index <= p.Leaves[i-1].Index) {
			r.fail(fmt.Errorf("%w: entry %d of %d out of order", ErrMalformed, l.Index, p.Count))
		}
		if r.err != nil {
			return
		}
		e, err := ParseEntry(l.Raw)
		if err != nil {
			r.fail(err)
			return
		}
		l.Entry = e
		p.Leaves = append(p.Leaves, l)
	}
}

// hashes reads as many as the places of the leaves require, and nothing behind them.
func (r *reader) hashes(p *Piece) {
	n := countHashes(p.Leaves, 0, int(p.Count))
	switch have := len(r.b); {
	case have < 32*n:
		r.fail(fmt.Errorf("%w: %d of %d hashes", ErrTruncated, have/32, n))
	case have > 32*n:
		r.fail(ErrTrailing)
	}
	for range n {
		p.Hashes = append(p.Hashes, r.hash())
	}
}

// countHashes returns how many subtrees of the leaves lo to hi-1 hold none of leaves, the largest counted.
func countHashes(leaves []Leaf, lo, hi int) int {
	switch {
	case len(leaves) == 0:
		return 1
	case len(leaves) == hi-lo:
		return 0
	}
	mid := SplitTree(lo, hi)
	left, right := splitLeaves(leaves, mid)
	return countHashes(left, lo, mid) + countHashes(right, mid, hi)
}

func splitLeaves(leaves []Leaf, mid int) (left, right []Leaf) {
	i, _ := slices.BinarySearchFunc(leaves, mid, func(l Leaf, m int) int { return int(l.Index) - m })
	return leaves[:i], leaves[i:]
}

// Root returns the root of the batch's tree that follows from leaves and hashes. p must have been parsed, or have as
// many hashes as its leaves require.
func (p *Piece) Root() [32]byte {
	root, _ := rootOf(p.Leaves, p.Hashes, 0, int(p.Count))
	return root
}

func rootOf(leaves []Leaf, hashes [][32]byte, lo, hi int) ([32]byte, [][32]byte) {
	switch {
	case len(leaves) == 0:
		return hashes[0], hashes[1:]
	case hi-lo == 1:
		return LeafHash(leaves[0].Raw), hashes
	}
	mid := SplitTree(lo, hi)
	left, right := splitLeaves(leaves, mid)
	l, hashes := rootOf(left, hashes, lo, mid)
	r, hashes := rootOf(right, hashes, mid, hi)
	return NodeHash(l, r), hashes
}
