package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Limits of messages about the shared state; MaxStateMessage in bytes, of type and body.
const (
	MaxStateMessage = MaxPiece + 1
	MaxStateNodes   = 512
	MaxStateItems   = 1 << 10
	MaxStateRefs    = 16 << 10
	MaxStateHeads   = 4 << 10
	MaxPathLen      = 32 // nibbles
)

// StateMessage is a message between neighbours about the shared state: one of the types below. They have a stream of
// their own, since one may be larger than a control message.
type StateMessage interface{ stateMessage() }

// Ref stands for an entry: the first 6 bytes of the hash of what it writes to, its time (8), the first 10 bytes of its own
// hash.
type Ref [24]byte

// Path names a subtree of the state's tree by the first N nibbles of a hash. The bits behind them are zero.
type Path struct {
	N    uint8
	Bits [MaxPathLen / 2]byte
}

// Child returns the path of the i-th subtree of p, for i below 16 and p shorter than MaxPathLen.
func (p Path) Child(i int) Path {
	p.Bits[p.N/2] |= byte(i&15) << (4 * (1 - p.N&1))
	p.N++
	return p
}

// Nibble returns the i-th nibble, for i below MaxPathLen.
func (p Path) Nibble(i int) int { return int(p.Bits[i/2]>>(4*(1-i&1))) & 15 }

// StateRoot says what the sender's state is as a whole. Equal digests mean equal states. A sender of the first version says no more
// than that: then Settled is false and Time zero.
type StateRoot struct {
	Digest  [32]byte
	Count   uint64
	Settled bool   // it founded the domain, or learnt the state from one that was settled
	Time    uint64 // its clock, in ms since 1970; 0: not told
}

// StateNodes says what the subtrees of some nodes of the sender's tree are.
type StateNodes struct{ Nodes []StateNode }

// StateNode is the digests of a node's sixteen subtrees; that of an empty one is zero.
type StateNode struct {
	Path Path
	Kids [16][32]byte
}

// StateItems lists all entries that the sender holds below some paths.
type StateItems struct{ Items []StateItem }

// StateItem is all entries below one path.
type StateItem struct {
	Path Path
	Refs []Ref
}

// StateOffer names entries that the sender holds and thinks its neighbour does not.
type StateOffer struct{ Refs []Ref }

// StateWant asks for entries.
type StateWant struct{ Refs []Ref }

// StateHeads says how far the sender's entries of some authors' incarnations go.
type StateHeads struct{ Dots []Dot }

// StateGrown says the same of some that the sender is fetching elsewhere, and wants no answer.
type StateGrown struct{ Dots []Dot }

// StateFetch asks for all batches of some incarnations that begin after an entry.
type StateFetch struct{ After []Dot }

// StatePiece carries entries: a piece of a batch, whole. Parsed, Raw aliases the message.
type StatePiece struct{ Raw []byte }

func (StateRoot) stateMessage()  {}
func (StateNodes) stateMessage() {}
func (StateItems) stateMessage() {}
func (StateOffer) stateMessage() {}
func (StateWant) stateMessage()  {}
func (StatePiece) stateMessage() {}
func (StateHeads) stateMessage() {}
func (StateFetch) stateMessage() {}
func (StateGrown) stateMessage() {}

const (
	stateRoot = 1 + iota
	stateNodes
	stateItems
	stateOffer
	stateWant
	statePiece
	stateHeads
	stateFetch
	stateGrown
	stateAsk
	stateChain
)

const rootSettled = 1 << 0

// AppendStateMessage appends the length, the type and the body of m. On an error dst is returned as it was.
func AppendStateMessage(dst []byte, m StateMessage) ([]byte, error) {
	start := len(dst)
	out, err := appendStateBody(append(dst, 0, 0, 0, 0), m)
	if err != nil {
		return dst, err
	}
	n := len(out) - start - MessageHeader
	if n > MaxStateMessage {
		return dst, fmt.Errorf("%w: a %T of %d bytes, at most %d", ErrTooLong, m, n, MaxStateMessage)
	}
	binary.BigEndian.PutUint32(out[start:], uint32(n))
	return out, nil
}

func appendStateBody(dst []byte, m StateMessage) ([]byte, error) {
	be := binary.BigEndian
	switch m := m.(type) {
	case StateRoot:
		return m.append(append(dst, stateRoot)), nil
	case StateNodes:
		if len(m.Nodes) > MaxStateNodes {
			return nil, fmt.Errorf("%w: %d nodes, at most %d", ErrTooLong, len(m.Nodes), MaxStateNodes)
		}
		dst = be.AppendUint16(append(dst, stateNodes), uint16(len(m.Nodes)))
		for i := range m.Nodes {
			dst = m.Nodes[i].append(dst)
		}
		return dst, nil
	case StateItems:
		return m.append(append(dst, stateItems))
	case StateOffer:
		return appendRefs(append(dst, stateOffer), m.Refs)
	case StateWant:
		return appendRefs(append(dst, stateWant), m.Refs)
	case StatePiece:
		return append(append(dst, statePiece), m.Raw...), nil
	case StateHeads:
		return appendHeads(append(dst, stateHeads), m.Dots)
	case StateFetch:
		return appendHeads(append(dst, stateFetch), m.After)
	case StateGrown:
		return appendHeads(append(dst, stateGrown), m.Dots)
	case StateAsk:
		return appendStateAsk(append(dst, stateAsk), m.SVIDs)
	case StateChain:
		return appendStateChain(append(dst, stateChain), m.Chain)
	}
	return nil, fmt.Errorf("%w: %T", ErrUnknownMessage, m)
}

func (m StateRoot) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, m.Digest[:]...), m.Count)
	flags := byte(0)
	if m.Settled {
		flags |= rootSettled
	}
	return binary.BigEndian.AppendUint64(append(dst, flags), m.Time)
}

func (p Path) append(dst []byte) []byte {
	return append(append(dst, p.N), p.Bits[:(p.N+1)/2]...)
}

func (n *StateNode) append(dst []byte) []byte {
	dst = n.Path.append(dst)
	var held uint16
	for i := range n.Kids {
		if n.Kids[i] != [32]byte{} {
			held |= 1 << i
		}
	}
	dst = binary.BigEndian.AppendUint16(dst, held)
	for i := range n.Kids {
		if held>>i&1 != 0 {
			dst = append(dst, n.Kids[i][:]...)
		}
	}
	return dst
}

func (m StateItems) append(dst []byte) (_ []byte, err error) {
	if len(m.Items) > MaxStateItems {
		return nil, fmt.Errorf("%w: items of %d paths, at most %d", ErrTooLong, len(m.Items), MaxStateItems)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(m.Items)))
	for i := range m.Items {
		if dst, err = appendRefs(m.Items[i].Path.append(dst), m.Items[i].Refs); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func appendHeads(dst []byte, dots []Dot) ([]byte, error) {
	if len(dots) > MaxStateHeads {
		return nil, fmt.Errorf("%w: %d incarnations, at most %d", ErrTooLong, len(dots), MaxStateHeads)
	}
	return appendDots(dst, dots), nil
}

func appendRefs(dst []byte, refs []Ref) ([]byte, error) {
	if len(refs) > MaxStateRefs {
		return nil, fmt.Errorf("%w: %d entries, at most %d", ErrTooLong, len(refs), MaxStateRefs)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(refs)))
	for i := range refs {
		dst = append(dst, refs[i][:]...)
	}
	return dst, nil
}

// StateMessageLength reads the length in front of a message: how many bytes of type and body follow.
func StateMessageLength(b []byte) (int, error) {
	if len(b) < MessageHeader {
		return 0, ErrTruncated
	}
	switch n := binary.BigEndian.Uint32(b); {
	case n == 0:
		return 0, fmt.Errorf("%w: a state message without a type", ErrTruncated)
	case n > MaxStateMessage:
		return 0, fmt.Errorf("%w: a state message of %d bytes, at most %d", ErrTooLong, n, MaxStateMessage)
	default:
		return int(n), nil
	}
}

// ParseStateMessage reads the type and body of a message, without the length in front. A caller skips a message whose
// error is ErrUnknownMessage and closes the stream at any other.
func ParseStateMessage(b []byte) (StateMessage, error) {
	if len(b) > MaxStateMessage {
		return nil, fmt.Errorf("%w: a state message of %d bytes, at most %d", ErrTooLong, len(b), MaxStateMessage)
	}
	r := &reader{b: b}
	kind := r.u8()
	m := parseStateBody(kind, r)
	if r.err != nil {
		return nil, fmt.Errorf("state message of type %d: %w", kind, r.err)
	}
	return m, nil
}

func parseStateBody(kind uint8, r *reader) StateMessage {
	if r.err != nil {
		return nil
	}
	switch kind {
	case stateRoot:
		return parseStateRoot(r)
	case stateNodes:
		return parseStateNodes(r)
	case stateItems:
		return parseStateItems(r)
	case stateOffer:
		return StateOffer{r.refs()}
	case stateWant:
		return StateWant{r.refs()}
	case statePiece:
		return StatePiece{r.b}
	case stateHeads:
		return StateHeads{r.dots(MaxStateHeads)}
	case stateFetch:
		return StateFetch{r.dots(MaxStateHeads)}
	case stateGrown:
		return StateGrown{r.dots(MaxStateHeads)}
	case stateAsk:
		return parseStateAsk(r)
	case stateChain:
		return StateChain{parseChain(r)}
	}
	r.fail(ErrUnknownMessage)
	return nil
}

func (r *reader) path() (p Path) {
	p.N = r.u8()
	if p.N > MaxPathLen {
		r.fail(fmt.Errorf("%w: a path of %d nibbles", ErrMalformed, p.N))
		return Path{}
	}
	copy(p.Bits[:], r.take(int(p.N+1)/2))
	if p.N&1 != 0 && p.Bits[p.N/2]&15 != 0 {
		r.fail(fmt.Errorf("%w: bits behind a path", ErrMalformed))
	}
	return p
}

func parseStateRoot(r *reader) StateRoot {
	m := StateRoot{Digest: r.hash(), Count: r.u64()}
	if len(r.b) > 0 {
		m.Settled, m.Time = r.u8()&rootSettled != 0, r.u64()
	}
	return m
}

func parseStateNodes(r *reader) (m StateNodes) {
	n := r.count(int(r.u16()), MaxStateNodes, 1+2)
	for range n {
		node := StateNode{Path: r.path()}
		held := r.u16()
		if r.count(bits.OnesCount16(held), 16, 32); r.err != nil {
			return m
		}
		for i := range node.Kids {
			if held>>i&1 == 0 {
				continue
			}
			if node.Kids[i] = r.hash(); node.Kids[i] == [32]byte{} {
				r.fail(fmt.Errorf("%w: an empty subtree that is told of", ErrMalformed))
				return m
			}
		}
		m.Nodes = append(m.Nodes, node)
	}
	return m
}

func parseStateItems(r *reader) (m StateItems) {
	n := r.count(int(r.u16()), MaxStateItems, 1+2)
	for range n {
		item := StateItem{Path: r.path(), Refs: r.refs()}
		if r.err != nil {
			return m
		}
		m.Items = append(m.Items, item)
	}
	return m
}

func (r *reader) refs() []Ref {
	n := r.count(int(r.u16()), MaxStateRefs, len(Ref{}))
	if n == 0 {
		return nil
	}
	refs := make([]Ref, n)
	for i := range refs {
		copy(refs[i][:], r.take(len(Ref{})))
	}
	return refs
}
