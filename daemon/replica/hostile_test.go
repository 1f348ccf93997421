package replica

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// stranger is a neighbour that a test plays by hand.
type stranger struct {
	t     *testing.T
	id    mesh.NodeID
	pipe  *pipeEnd
	ended chan error
	asked [][32]byte // for chains
	got   []wire.StateMessage
}

// meet has m meet a stranger, who reads all that is sent if it is told to.
func meet(t *testing.T, m *member, name string, reads bool) *stranger {
	ours, theirs := newPipe()
	s := &stranger{t: t, id: mesh.MustNodeID(name), pipe: theirs, ended: make(chan error, 1)}
	go func() { s.ended <- m.Meet(context.Background(), s.id, ours) }()
	if reads {
		go s.read()
	}
	return s
}

func (s *stranger) read() {
	for {
		head := make([]byte, wire.MessageHeader)
		if _, err := io.ReadFull(s.pipe, head); err != nil {
			return
		}
		n, err := wire.StateMessageLength(head)
		if err != nil {
			s.t.Error(err)
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(s.pipe, b); err != nil {
			return
		}
		m, err := wire.ParseStateMessage(b)
		if err != nil {
			s.t.Error(err)
			return
		}
		if a, ok := m.(wire.StateAsk); ok {
			s.asked = append(s.asked, a.SVIDs...)
		}
		s.got = append(s.got, m)
	}
}

func (s *stranger) send(ms ...wire.StateMessage) {
	s.t.Helper()
	for _, m := range ms {
		b, err := wire.AppendStateMessage(nil, m)
		if err != nil {
			s.t.Fatal(err)
		}
		s.raw(b)
	}
}

func (s *stranger) raw(b []byte) {
	s.t.Helper()
	if _, err := s.pipe.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stranger) end() error {
	_ = s.pipe.Close()
	return <-s.ended
}

// piece returns a batch of one author with one entry, as a neighbour would send it.
func piece(t *testing.T, id Identity, author, key, value string, at time.Time) wire.StatePiece {
	t.Helper()
	s := crdt.New(at, crdt.Config{Self: mesh.MustNodeID(author), Incarnation: uint64(at.UnixNano()), Founder: true})
	d, err := s.Begin(at, wire.ChainHash(id.Chain), []crdt.Op{crdt.Put([]byte(key), []byte(value))})
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(d.Input)
	sig, err := id.Signer.Sign(rand.Reader, h[:], signOptions(id))
	if err != nil {
		t.Fatal(err)
	}
	s.Seal(d, sig)
	crdt.NewSync(s).Commit(at, d)
	f := s.Freeze()
	for raw := range f[0].Pieces() {
		return wire.StatePiece{Raw: raw}
	}
	t.Fatal("nothing is in the batch")
	return wire.StatePiece{}
}

func TestGarbageEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		for _, c := range []struct {
			b    []byte
			want error
		}{
			{[]byte{0, 0, 0, 3, 1, 2, 3}, wire.ErrTruncated},
			{[]byte{0xff, 0xff, 0xff, 0xff}, wire.ErrTooLong},
			{[]byte{0, 0, 0, 0}, wire.ErrTruncated},
			{[]byte{0, 0, 0, 6, 2, 0, 1, 33, 0, 0}, wire.ErrMalformed},
			{[]byte{0, 0, 0, 3, 11, 200, 1}, wire.ErrTooLong},
		} {
			before := a.counter("garbage")
			s := meet(t, a, "evil", true)
			s.raw(c.b)
			if err := <-s.ended; !errors.Is(err, c.want) {
				t.Errorf("%x: %v, want %v", c.b, err, c.want)
			}
			if n := a.counter("garbage"); n != before+1 {
				t.Errorf("%x: counted %d times", c.b, n-before)
			}
		}
		s := meet(t, a, "evil", true)
		s.raw([]byte{0, 0, 0, 2, 99, 1})
		s.raw([]byte{0, 0})
		synctest.Wait()
		if n := a.counter("unknown_messages"); n != 1 {
			t.Errorf("%d unknown messages", n)
		}
		if err := s.end(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("an end within a message: %v", err)
		}
		s = meet(t, a, "good", true)
		synctest.Wait()
		if err := s.end(); err != nil {
			t.Errorf("an end between messages: %v", err)
		}
		if n := a.info().Neighbours; n != 0 {
			t.Errorf("%d neighbours are left", n)
		}
	})
}

// What its author did not sign, or with what no SVID of his is, does not count; each is counted under its name. The same
// without the lie counts.
func TestLiesRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		now := time.Now()
		good := d.identity(mustNode("z"), time.Hour)
		other := d.identity(mustNode("y"), time.Hour)
		_, edKey, _ := ed25519.GenerateKey(rand.Reader)
		edLeaf, err := d.leaf(mustNode("z"), time.Hour, edKey.Public())
		if err != nil {
			t.Fatal(err)
		}
		ed := Identity{Chain: [][]byte{edLeaf}, Signer: edKey}
		foreign := newDomain(t).identity(mustNode("z"), time.Hour)
		for _, c := range []struct {
			what, counter string
			id            Identity
			at            time.Time
		}{
			{"another's key", "refused", Identity{good.Chain, other.Signer}, now},
			{"another's SVID", "unproven", other, now},
			{"a key of another kind", "unproven", ed, now},
			{"another domain's SVID", "unproven", foreign, now},
			{"before it was valid", "unproven", good, now.Add(-2 * time.Hour)},
			{"", "", good, now},
		} {
			a := d.member(t, "a")
			s := meet(t, a, "evil", true)
			s.send(wire.StateChain{Chain: c.id.Chain}, piece(t, c.id, "z", "k", "v", c.at))
			synctest.Wait()
			if lie := c.counter != ""; lie != (a.get("k") == "-") {
				t.Errorf("%s: %q", c.what, a.get("k"))
			}
			if c.counter != "" && a.counter(c.counter) != 1 {
				t.Errorf("%s: %s is %d", c.what, c.counter, a.counter(c.counter))
			}
			if n := a.counter("chains"); n != 0 && c.counter != "" {
				t.Errorf("%s: %d chains are kept", c.what, n)
			}
			_ = s.end()
			a.close()
		}
	})
}

// A piece without its chain waits for it. The neighbour that brought it is asked, then all others, then it is given up; the
// same from somebody who has the chain is taken.
func TestChainAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		id := d.identity(mustNode("z"), time.Hour)
		p := piece(t, id, "z", "k", "v", time.Now())
		one, two := meet(t, a, "one", true), meet(t, a, "two", true)
		one.send(p)
		synctest.Wait()
		if len(one.asked) != 1 || one.asked[0] != wire.ChainHash(id.Chain) || len(two.asked) != 0 || a.counter("waiting") != 1 {
			t.Fatalf("asked %d and %d", len(one.asked), len(two.asked))
		}
		two.send(wire.StateChain{Chain: [][]byte{id.Chain[0], []byte("what was not asked for")}})
		time.Sleep(askOthers)
		synctest.Wait()
		if len(two.asked) != 1 {
			t.Error("nobody else is asked")
		}
		time.Sleep(giveUpChain)
		synctest.Wait()
		if a.counter("unproven") != 1 || a.counter("waiting") != 0 || a.get("k") != "-" {
			t.Errorf("unproven %d", a.counter("unproven"))
		}
		two.send(p)
		synctest.Wait()
		two.send(wire.StateChain{Chain: id.Chain})
		synctest.Wait()
		if a.get("k") != "v" || a.counter("chains") != 1 {
			t.Errorf("%q with %d chains", a.get("k"), a.counter("chains"))
		}
		_, _ = one.end(), two.end()
	})
}

// Chains that prove nothing take a bounded place, asked for or not, and so do questions.
func TestEndlessChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		a.put("k", "v")
		s := meet(t, a, "evil", true)
		own := wire.ChainHash(a.cfg.Identity().Chain)
		for i := range 1000 {
			ask := wire.StateAsk{SVIDs: make([][32]byte, wire.MaxStateAsk)}
			for k := range ask.SVIDs {
				ask.SVIDs[k] = own
			}
			s.send(wire.StateChain{Chain: [][]byte{fmt.Appendf(nil, "leaf %d", i), make([]byte, wire.MaxCertificate)}}, ask)
		}
		synctest.Wait()
		if err := a.do(t.Context(), func(time.Time) {
			n := a.sessions[s.id]
			if len(n.offers) != maxOffers || len(n.give.list) > 1 || len(a.chains.kept) != 1 {
				t.Errorf("%d offers, %d to give, %d kept", len(n.offers), len(n.give.list), len(a.chains.kept))
			}
		}); err != nil {
			t.Error(err)
		}
		_ = s.end()
	})
}

// A neighbour that does not read holds itself back and nobody else; what is kept for it is one buffer.
func TestNeighbourThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		s := meet(t, a, "deaf", false)
		c := connect(a, b)
		defer c.cut()
		for i := range 40 {
			for k := range 8 {
				if _, err := a.Put(t.Context(), fmt.Appendf(nil, "%d/%d", i, k), make([]byte, 4000)); err != nil {
					t.Fatal(err)
				}
			}
		}
		agree(t, 10*time.Second, a, b)
		if err := a.do(t.Context(), func(time.Time) {
			if n := a.sessions[s.id]; n.idle || cap(n.buf) > keepBuffer {
				t.Errorf("idle %v, a buffer of %d", n.idle, cap(n.buf))
			}
		}); err != nil {
			t.Error(err)
		}
		_ = s.end()
	})
}

// A second stream of a neighbour takes the place of the first.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer b.close()
		one := connect(a, b)
		synctest.Wait()
		two := connect(a, b)
		one.ends.Wait()
		if !errors.Is(one.errs[0], ErrReplaced) && !errors.Is(one.errs[1], ErrReplaced) {
			t.Errorf("%v, %v", one.errs[0], one.errs[1])
		}
		a.put("k", "v")
		agree(t, time.Second, a, b)
		if n := a.info().Neighbours; n != 1 {
			t.Errorf("%d neighbours", n)
		}
		a.close()
		two.ends.Wait()
		if !errors.Is(two.errs[0], ErrClosed) {
			t.Error(two.errs[0])
		}
		x, _ := newPipe()
		if err := a.Meet(t.Context(), b.id, x); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// While the domain does not vouch for an author, as before an authority is known here, nothing of his counts; when it does, all comes
// by itself, and the neighbour that brought it is not shunned for it.
func TestVouchedForLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		later := newDomain(t)
		a := d.member(t, "a", func(c *Config) {
			c.Verify = func(chain [][]byte, author mesh.NodeID, oldest, newest time.Time) error {
				if author == mustNode("z") {
					return later.verify(chain, author, oldest, newest)
				}
				return d.verify(chain, author, oldest, newest)
			}
		})
		z := later.member(t, "z", func(c *Config) {
			c.Verify = func([][]byte, mesh.NodeID, time.Time, time.Time) error { return nil }
		})
		defer a.close()
		defer z.close()
		later.setDistrust(true)
		for i := range 20 {
			z.put(fmt.Sprintf("k%d", i), "v")
		}
		c := connect(a, z)
		defer c.cut()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a.get("k0") != "-" || a.counter("unproven") == 0 || a.counter("shunned") != 0 {
			t.Errorf("%q, unproven %d, shunned %d", a.get("k0"), a.counter("unproven"), a.counter("shunned"))
		}
		later.setDistrust(false)
		agree(t, 2*time.Minute, a, z)
	})
}

// signOptions returns how a key of the kind of id signs; ed25519 signs what it is given.
func signOptions(id Identity) crypto.SignerOpts {
	if _, ok := id.Signer.(ed25519.PrivateKey); ok {
		return crypto.Hash(0)
	}
	return crypto.SHA256
}

// A chain comes before the first piece that needs it, and once.
func TestChainComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		s := meet(t, a, "z", true)
		synctest.Wait() // what was put before they met would be compared first
		for i := range 3 {
			a.put(fmt.Sprint(i), "v")
			synctest.Wait()
		}
		order := ""
		for _, m := range s.got {
			switch m := m.(type) {
			case wire.StateChain:
				if wire.ChainHash(m.Chain) != wire.ChainHash(a.cfg.Identity().Chain) {
					t.Error("another chain")
				}
				order += "c"
			case wire.StatePiece:
				order += "p"
			}
		}
		want(t, "messages", order, "cppp")
		_ = s.end()
	})
}

// While signatures are checked more slowly than they come, the neighbour waits: nothing is refused for it, and all of it counts
// in the end.
func TestCheckedSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		hold := make(chan struct{})
		a := d.member(t, "a", func(c *Config) {
			c.Verify = func(chain [][]byte, author mesh.NodeID, oldest, newest time.Time) error {
				<-hold
				return d.verify(chain, author, oldest, newest)
			}
		})
		defer a.close()
		id := d.identity(mustNode("z"), time.Hour)
		s := meet(t, a, "z", true)
		const n = 1500
		go func() {
			s.send(wire.StateChain{Chain: id.Chain})
			for i := range n {
				s.send(piece(t, id, "z", fmt.Sprint(i), "v", time.Now()))
			}
		}()
		synctest.Wait()
		if a.info().Entries != 0 || a.counter("busy") != 0 {
			t.Errorf("%d entries, busy %d", a.info().Entries, a.counter("busy"))
		}
		close(hold)
		synctest.Wait()
		if a.info().Entries != n || a.counter("busy") != 0 {
			t.Errorf("%d entries, busy %d", a.info().Entries, a.counter("busy"))
		}
		_ = s.end()
	})
}
