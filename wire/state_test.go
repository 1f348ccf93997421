package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

const testTime = mesh.Hybrid(1800000000123<<16 | 7)

var (
	testDots    = []Dot{{mesh.MustNodeID("a"), 1, 9}, {mesh.MustNodeID("b"), 2, 1 << 40}}
	testEntries = []Entry{
		{Kind: EntryRegister, Time: testTime, Key: []byte("config/mtu"), Value: []byte("1400")},
		{Kind: EntryRegister, Gone: true, Time: testTime, Key: []byte("\x00\xff")},
		{Kind: EntryCounter, Time: testTime, Key: []byte("hits"), Added: 12, Taken: 5},
		{Kind: EntrySet, Time: testTime, Key: []byte("tags"), Element: []byte("red"), Covers: testDots},
		{Kind: EntrySet, Gone: true, Time: testTime, Key: []byte("tags"), Element: []byte{}, Covers: testDots},
		{Kind: EntryMulti, Time: testTime, Key: []byte("policy"), Covers: testDots, Value: []byte{}},
		{Kind: EntryMulti, Gone: true, Time: testTime, Key: []byte("policy")},
	}
	testBatch = Batch{Author: mesh.MustNodeID("a"), Incarnation: 3, First: 100, Count: 7, SVID: testSVID}
	testRef   = Ref(seq(0, 24))

	testStateMessages = map[string]StateMessage{
		"state-root": StateRoot{testSVID, 1 << 33, true, 1800000000123},
		"state-nodes": StateNodes{[]StateNode{
			{Kids: [16][32]byte{0: testSVID, 15: reversed(testSVID)}},
			{Path: Path{}.Child(0xa).Child(0xb).Child(0xc)},
		}},
		"state-items": StateItems{[]StateItem{
			{Path{}.Child(0xf), []Ref{testRef, {}}},
			{Path{}.Child(1).Child(2), nil},
		}},
		"state-offer": StateOffer{[]Ref{testRef}},
		"state-want":  StateWant{[]Ref{{}, testRef}},
		"state-heads": StateHeads{testDots},
		"state-grown": StateGrown{testDots[:1]},
		"state-fetch": StateFetch{[]Dot{{testDots[0].Author, 1, 0}}},
		"state-ask":   StateAsk{[][32]byte{testSVID, reversed(testSVID)}},
		"state-chain": StateChain{[][]byte{[]byte("leaf"), []byte("issuer")}},
	}
)

func reversed(h [32]byte) (r [32]byte) {
	for i := range h {
		r[31-i] = h[i]
	}
	return r
}

// testPiece returns the piece of the test batch with these entries.
func testPiece(index ...uint16) *Piece {
	raws := make([][]byte, len(testEntries))
	for i := range testEntries {
		raws[i] = testEntries[i].Append(nil)
	}
	return pieceOf(testBatch, raws, index)
}

// pieceOf is the slow reference: it hashes every subtree from the entries below it.
func pieceOf(b Batch, raws [][]byte, index []uint16) *Piece {
	p := &Piece{Batch: b, Sig: []byte("signature")}
	in := map[int]bool{}
	for _, i := range index {
		e, _ := ParseEntry(raws[i])
		p.Leaves = append(p.Leaves, Leaf{i, raws[i], e})
		in[int(i)] = true
	}
	var walk func(lo, hi int)
	walk = func(lo, hi int) {
		any := false
		for i := lo; i < hi; i++ {
			any = any || in[i]
		}
		switch {
		case !any:
			p.Hashes = append(p.Hashes, slowRoot(raws[lo:hi]))
		case hi-lo > 1:
			walk(lo, SplitTree(lo, hi))
			walk(SplitTree(lo, hi), hi)
		}
	}
	walk(0, len(raws))
	return p
}

func slowRoot(raws [][]byte) [32]byte {
	if len(raws) == 1 {
		return LeafHash(raws[0])
	}
	k := SplitTree(0, len(raws))
	return NodeHash(slowRoot(raws[:k]), slowRoot(raws[k:]))
}

func TestGoldenState(t *testing.T) {
	g := golden(t)
	var raws [][]byte
	for i := range testEntries {
		name := fmt.Sprintf("entry-%d", i)
		raws = append(raws, testEntries[i].Append(nil))
		equal(t, name, raws[i], g[name])
		e, err := ParseEntry(g[name])
		same(t, name, e, testEntries[i], err)
		if err := testEntries[i].Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, "batch-input", testBatch.SigningInput(slowRoot(raws)), g["batch-input"])
	for name, want := range map[string]*Piece{"piece-whole": testPiece(0, 1, 2, 3, 4, 5, 6), "piece-part": testPiece(2, 6)} {
		equal(t, name, want.AppendPiece(nil), g[name])
		p, err := ParsePiece(g[name])
		same(t, name, p, want, err)
		if p.Root() != slowRoot(raws) || p.Size() != len(g[name]) {
			t.Errorf("%s: root %x, size %d", name, p.Root(), p.Size())
		}
	}
	testStateMessages["state-piece"] = StatePiece{g["piece-part"]}
	for name, m := range testStateMessages {
		b, err := AppendStateMessage(nil, m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		equal(t, name, b, g[name])
		if n, err := StateMessageLength(g[name]); err != nil || n != len(b)-MessageHeader {
			t.Errorf("%s: length %d, %v", name, n, err)
		}
		got, err := ParseStateMessage(g[name][MessageHeader:])
		same(t, name, got, m, err)
	}
}

// A root of the first version is understood, one that ends amid what came later is not, and whatever comes later still is ignored.
func TestRootOfTheFirstVersion(t *testing.T) {
	body := golden(t)["root-first"][MessageHeader:]
	m, err := ParseStateMessage(body)
	same(t, "root", m, StateMessage(StateRoot{Digest: testSVID, Count: 1 << 33}), err)
	now, err := AppendStateMessage(nil, testStateMessages["state-root"])
	if err != nil {
		t.Fatal(err)
	}
	now = now[MessageHeader:]
	if !bytes.HasPrefix(now, body) { // so that the first version understands this one
		t.Errorf("%x does not begin as %x", now, body)
	}
	for n := len(body) + 1; n < len(now); n++ {
		if _, err := ParseStateMessage(now[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	now[len(body)] |= 0xfe
	m, err = ParseStateMessage(append(now, 1, 2, 3))
	same(t, "a later root", m, testStateMessages["state-root"], err)
}

// Whatever entries of whatever batch a piece holds, it proves them: the root is that of the whole.
func TestPieceProves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "n")
		var raws [][]byte
		var index []uint16
		for i := range n {
			e := Entry{Kind: EntryRegister, Time: mesh.Hybrid(i), Key: []byte{byte(i)}}
			raws = append(raws, e.Append(nil))
			if rapid.Bool().Draw(t, "in") {
				index = append(index, uint16(i))
			}
		}
		if len(index) == 0 {
			index = []uint16{uint16(n - 1)}
		}
		b := testBatch
		b.Count = uint16(n)
		enc := pieceOf(b, raws, index).AppendPiece(nil)
		p, err := ParsePiece(enc)
		if err != nil || p.Root() != slowRoot(raws) {
			t.Fatalf("%d of %d entries: %v", len(index), n, err)
		}
		at := rapid.IntRange(len(enc)-1-32*len(p.Hashes)-1, len(enc)-1).Draw(t, "at") // in the last entry's key, length or a hash
		enc[at] ^= 1
		if q, err := ParsePiece(enc); err == nil && q.Root() == slowRoot(raws) {
			t.Fatalf("byte %d changed, and the root is the same", at)
		}
	})
}

func TestEntryRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Entry)
		want   error
	}{
		{"no kind", func(e *Entry) { e.Kind = 0 }, ErrMalformed},
		{"unknown kind", func(e *Entry) { e.Kind = EntryMulti + 1 }, ErrMalformed},
		{"time", func(e *Entry) { e.Time = mesh.MaxHybrid + 1 }, ErrMalformed},
		{"no key", func(e *Entry) { e.Key = nil }, ErrMalformed},
		{"long key", func(e *Entry) { e.Key = make([]byte, MaxKey+1) }, ErrTooLong},
		{"long value", func(e *Entry) { e.Value = make([]byte, MaxValue+1) }, ErrTooLong},
		{"long element", func(e *Entry) { e.Kind, e.Element, e.Value = EntrySet, make([]byte, MaxElement+1), nil }, ErrTooLong},
		{"value of a set", func(e *Entry) { e.Kind = EntrySet }, ErrMalformed},
		{"value of the gone", func(e *Entry) { e.Gone = true }, ErrMalformed},
		{"counter gone", func(e *Entry) { e.Kind, e.Gone, e.Value = EntryCounter, true, nil }, ErrMalformed},
		{"dots twice", func(e *Entry) { e.Kind, e.Covers = EntryMulti, []Dot{testDots[0], testDots[0]} }, ErrMalformed},
		{"dot 0", func(e *Entry) { e.Kind, e.Covers = EntryMulti, []Dot{{testDots[0].Author, 1, 0}} }, ErrMalformed},
		{"many dots", func(e *Entry) { e.Kind, e.Covers = EntryMulti, make([]Dot, MaxCovers+1) }, ErrTooLong},
	} {
		e := testEntries[0]
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(&e)
		if err := e.Validate(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	big := Entry{Kind: EntryRegister, Key: make([]byte, MaxKey), Value: make([]byte, MaxValue)}
	if err := big.Validate(); err != nil {
		t.Errorf("the largest: %v", err)
	}
}

func TestPieceRefuses(t *testing.T) {
	whole := testPiece(2, 6).AppendPiece(nil)
	for n := range whole {
		if _, err := ParsePiece(whole[:n:n]); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Piece)
		want   error
	}{
		{"no entry", func(p *Piece) { p.Leaves = nil }, ErrMalformed},
		{"order", func(p *Piece) { p.Leaves[0].Index = 6 }, ErrMalformed},
		{"beyond the end", func(p *Piece) { p.Leaves[1].Index = 7 }, ErrMalformed},
		{"no batch", func(p *Piece) { p.Count = 0 }, ErrMalformed},
		{"large batch", func(p *Piece) { p.Count = MaxBatch + 1 }, ErrMalformed},
		{"sequence 0", func(p *Piece) { p.First = 0 }, ErrMalformed},
		{"sequence over", func(p *Piece) { p.First = 1<<64 - 1 }, ErrMalformed},
		{"no signature", func(p *Piece) { p.Sig = nil }, ErrTruncated},
		{"long signature", func(p *Piece) { p.Sig = make([]byte, MaxSignature+1) }, ErrTooLong},
		{"hash too few", func(p *Piece) { p.Hashes = p.Hashes[1:] }, ErrTruncated},
		{"hash too many", func(p *Piece) { p.Hashes = append(p.Hashes, testSVID) }, ErrTrailing},
		{"bad entry", func(p *Piece) { p.Leaves[0].Raw = bytes.Repeat([]byte{9}, 20) }, ErrMalformed},
	} {
		p := testPiece(2, 6)
		c.change(p)
		if _, err := ParsePiece(p.AppendPiece(nil)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := ParsePiece(make([]byte, MaxPiece+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("long: %v", err)
	}
}

func TestStateMessageRefuses(t *testing.T) {
	for name, m := range testStateMessages {
		b, _ := AppendStateMessage(nil, m)
		if name == "state-piece" {
			continue // opaque here
		}
		for n := range len(b) - MessageHeader {
			if name == "state-root" && n == 1+32+8 {
				continue // one of the first version
			}
			if _, err := ParseStateMessage(b[MessageHeader : MessageHeader+n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
		}
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"unknown":         {[]byte{99}, ErrUnknownMessage},
		"long":            {make([]byte, MaxStateMessage+1), ErrTooLong},
		"path length":     {[]byte{2, 0, 1, 33, 0, 0}, ErrMalformed},
		"bits behind":     {[]byte{2, 0, 1, 1, 0xff, 0, 0}, ErrMalformed},
		"zero digest":     {append([]byte{2, 0, 1, 0, 0, 1}, make([]byte, 32)...), ErrMalformed},
		"many nodes":      {[]byte{2, 0xff, 0xff}, ErrTooLong},
		"many refs":       {[]byte{4, 0xff, 0xff}, ErrTooLong},
		"refs, not there": {[]byte{4, 0x3f, 0xff}, ErrTruncated},
		"many heads":      {[]byte{7, 0xff, 0xff}, ErrTooLong},
		"many asked for":  {[]byte{10, 0xff, 0xff}, ErrTooLong},
		"no certificate":  {[]byte{11, 0}, ErrMalformed},
		"an empty one":    {[]byte{11, 1, 0, 0}, ErrMalformed},
		"many of them":    {[]byte{11, MaxChain + 1, 0, 1, 1}, ErrTooLong},
	} {
		if _, err := ParseStateMessage(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for _, m := range []StateMessage{StateNodes{make([]StateNode, MaxStateNodes+1)}, StateItems{make([]StateItem, MaxStateItems+1)},
		StateOffer{make([]Ref, MaxStateRefs+1)}, StateItems{[]StateItem{{Refs: make([]Ref, MaxStateRefs+1)}}}, StatePiece{make([]byte, MaxPiece+1)},
		StateHeads{make([]Dot, MaxStateHeads+1)}, StateFetch{make([]Dot, MaxStateHeads+1)},
		StateAsk{make([][32]byte, MaxStateAsk+1)}, StateChain{make([][]byte, MaxChain+1)}, StateChain{[][]byte{make([]byte, MaxCertificate+1)}}} {
		if b, err := AppendStateMessage([]byte("x"), m); !errors.Is(err, ErrTooLong) || string(b) != "x" {
			t.Errorf("%T: %v", m, err)
		}
	}
	for _, c := range []struct {
		b    []byte
		want error
	}{{[]byte{0, 0}, ErrTruncated}, {[]byte{0, 0, 0, 0}, ErrTruncated}, {[]byte{1, 0, 0, 0}, ErrTooLong}} {
		if _, err := StateMessageLength(c.b); !errors.Is(err, c.want) {
			t.Errorf("length %x: %v", c.b, err)
		}
	}
}

func FuzzEntry(f *testing.F) {
	seeds(f, 0, "entry-")
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseEntry(b); err == nil {
			if err := e.Validate(); err != nil {
				t.Fatalf("%+v was read but is invalid: %v", e, err)
			}
			again(t, e, e.Append(nil), ParseEntry)
		}
	})
}

func FuzzPiece(f *testing.F) {
	seeds(f, 0, "piece-")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePiece(b)
		if err != nil {
			return
		}
		if enc := p.AppendPiece(nil); !bytes.Equal(enc, b) || p.Size() != len(b) {
			t.Fatalf("%x\nwritten again is %x, size %d", b, enc, p.Size())
		}
		_ = p.Root()
	})
}

func TestChain(t *testing.T) {
	chain := [][]byte{[]byte("leaf"), []byte("issuer")}
	b := AppendChain(nil, chain)
	got, err := ParseChain(b)
	same(t, "chain", got, chain, err)
	if _, err := ParseChain(append(b, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("trailing byte: %v", err)
	}
	if _, err := ParseChain(b[:len(b)-1]); !errors.Is(err, ErrTruncated) {
		t.Errorf("short: %v", err)
	}
	if ChainHash(chain) != sha256.Sum256([]byte("leaf")) || ChainHash(nil) != [32]byte{} {
		t.Error("a chain is named by its leaf")
	}
}

func FuzzStateMessage(f *testing.F) {
	seeds(f, MessageHeader, "state-")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseStateMessage(b)
		if err != nil {
			return
		}
		enc, err := AppendStateMessage(nil, m)
		if err != nil {
			t.Fatalf("%+v was read but cannot be written: %v", m, err)
		}
		again(t, m, enc[MessageHeader:], ParseStateMessage)
	})
}
