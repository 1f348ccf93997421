package lsdb

import (
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Shared is what the databases of one process may hold in common: a simulation has a thousand of them, nearly always
// equal. Every answer is the one that a database alone would give. One goroutine at a time may use what shares it, and
// bytes offered to such databases must never change. A nil Shared shares nothing.
type Shared struct {
	objects   Memo[*byte, *Object] // by where their bytes are: flooding hands on the same ones
	digests   Memo[Sum, [32]byte]
	summaries Memo[Sum, []wire.Summary]
	numbers   map[mesh.NodeID]int32 // of the nodes that were heard of, from 1
}

// Bounds of what is shared, each twice at most.
const (
	sharedObjects = 1 << 16
	sharedSums    = 64
)

// NewShared returns one that holds nothing yet.
func NewShared() *Shared {
	return &Shared{
		objects: NewMemo[*byte, *Object](sharedObjects), digests: NewMemo[Sum, [32]byte](sharedSums),
		summaries: NewMemo[Sum, []wire.Summary](sharedSums),
		numbers:   map[mesh.NodeID]int32{},
	}
}

// numberOf returns the number of a node, by which a database finds it sooner than by name; 0 = nothing is shared.
func (s *Shared) numberOf(n mesh.NodeID) int32 {
	if s == nil {
		return 0
	}
	k := s.numbers[n]
	if k == 0 {
		k = int32(len(s.numbers) + 1) // #nosec G115 -- a simulation has few nodes
		s.numbers[n] = k
	}
	return k
}

// open is parse, once for all.
func (s *Shared) open(kind Kind, raw []byte) (*Object, error) {
	if s == nil || len(raw) == 0 {
		return parse(kind, raw)
	}
	if x, ok := s.objects.Get(&raw[0]); ok && x.Kind == kind && len(x.Raw) == len(raw) {
		return x, nil
	}
	x, err := parse(kind, raw)
	if err != nil {
		return nil, err
	}
	x.seal()
	x.number = s.numberOf(x.Origin)
	s.objects.Put(&raw[0], x)
	return x, nil
}

// openOwn is Open, once for all.
func (s *Shared) openOwn(kind Kind, raw []byte) (*Object, error) {
	x, err := s.open(kind, raw)
	if err != nil {
		return nil, err
	}
	return x.own(), nil
}

// Memo remembers answers, the newest at least.
type Memo[K comparable, V any] struct {
	limit    int
	new, old map[K]V
}

// NewMemo returns a Memo of at least the limit newest answers and at most twice as many.
func NewMemo[K comparable, V any](limit int) Memo[K, V] {
	return Memo[K, V]{limit: limit, new: map[K]V{}}
}

// Get returns what was put.
func (m *Memo[K, V]) Get(k K) (V, bool) {
	if v, ok := m.new[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	if ok {
		m.Put(k, v)
	}
	return v, ok
}

// Put remembers v.
func (m *Memo[K, V]) Put(k K, v V) {
	if len(m.new) >= m.limit {
		m.old, m.new = m.new, make(map[K]V, m.limit)
	}
	m.new[k] = v
}
