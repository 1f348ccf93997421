package lsdb

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// gossip is N databases on a graph whose messages are lost, doubled and reordered.
type gossip struct {
	t     *rapid.T
	now   time.Time
	nodes []*gossiper
	wire  []flying
	lossy bool
}

type gossiper struct {
	*DB
	a     *author
	peers []int
	links []mesh.Adjacency
	jobs  []VerifyJob
}

type flying struct {
	from, to int
	m        wire.Message
}

func newGossip(t *rapid.T) *gossip {
	g := &gossip{t: t, now: epoch, lossy: true}
	n := rapid.IntRange(2, 7).Draw(t, "nodes")
	for i := range n {
		a := newAuthor(fmt.Sprintf("n%d", i), epoch)
		g.nodes = append(g.nodes, &gossiper{DB: New(a.id, Config{Incarnation: a.incarnation, Boot: a.boot}), a: a})
	}
	for i := 1; i < n; i++ {
		g.connect(i, rapid.IntRange(0, i-1).Draw(t, "parent"))
	}
	for range rapid.IntRange(0, n).Draw(t, "extra") {
		g.connect(rapid.IntRange(0, n-1).Draw(t, "x"), rapid.IntRange(0, n-1).Draw(t, "y"))
	}
	for i := range g.nodes {
		g.record(i)
	}
	return g
}

func (g *gossip) connect(i, j int) {
	a, b := g.nodes[i], g.nodes[j]
	if i == j || slices.Contains(a.peers, j) {
		return
	}
	la, lb := mesh.Label(len(a.peers)+1), mesh.Label(len(b.peers)+1)
	a.peers, b.peers = append(a.peers, j), append(b.peers, i)
	a.links = append(a.links, link(b.a.id.String(), la, lb, 10))
	b.links = append(b.links, link(a.a.id.String(), lb, la, 12))
}

func (g *gossip) send(from, to int, m wire.Message) {
	b, err := wire.AppendMessage(nil, m)
	if err != nil {
		g.t.Fatal(err)
	}
	if m, err = wire.ParseMessage(b[wire.MessageHeader:]); err != nil {
		g.t.Fatal(err)
	}
	g.wire = append(g.wire, flying{from, to, m})
}

func (g *gossip) flood(i int, o Outcome) {
	n := g.nodes[i]
	for _, p := range n.peers {
		if o.From != mesh.ConnID(p+1) {
			for _, m := range o.Flood {
				g.send(i, p, m)
			}
		}
	}
	n.jobs = append(n.jobs, o.Next...)
}

func (g *gossip) record(i int) {
	n := g.nodes[i]
	n.a.recordSeq = n.NextRecordSeq() - 1
	out, err := n.SetSelf(g.now, KindRecord, n.a.record(g.now), n.a.end)
	if err != nil {
		g.t.Fatal(err)
	}
	g.flood(i, out)
}

func (g *gossip) announce(i int) {
	n := g.nodes[i]
	if l, ok := n.Originate(g.now, n.links); ok {
		out, err := n.SetSelf(g.now, KindLSA, n.a.signed(l), n.a.end)
		if err != nil {
			g.t.Fatal(err)
		}
		g.flood(i, out)
	}
}

func (g *gossip) deliver(k int) {
	f := g.wire[k]
	g.wire = slices.Delete(g.wire, k, k+1)
	if g.lossy && rapid.IntRange(0, 4).Draw(g.t, "loss") == 0 {
		return
	}
	n, from := g.nodes[f.to], mesh.ConnID(f.from+1)
	offer := func(kind Kind, raw []byte) {
		v, _ := n.Offer(g.now, by(from), kind, raw)
		if v.Action == Verify {
			n.jobs = append(n.jobs, v.Job)
		}
		if len(v.Request) > 0 {
			g.send(f.to, f.from, wire.RecordRequest{SVIDs: v.Request})
		}
	}
	switch m := f.m.(type) {
	case wire.RecordMsg:
		offer(KindRecord, m.Raw)
	case wire.LSAMsg:
		offer(KindLSA, m.Raw)
	case wire.Digest:
		if m.Hash != n.Digest() {
			for _, s := range n.Summary() {
				g.send(f.to, f.from, s)
			}
		}
	case wire.Summary:
		send, request := n.Reconcile(m)
		for _, m := range send {
			g.send(f.to, f.from, m)
		}
		if len(request) > 0 {
			g.send(f.to, f.from, wire.RecordRequest{SVIDs: request})
		}
	case wire.RecordRequest:
		for _, m := range n.Answer(m) {
			g.send(f.to, f.from, m)
		}
	}
}

func (g *gossip) finish(i, k int) {
	n := g.nodes[i]
	job := n.jobs[k]
	n.jobs = slices.Delete(n.jobs, k, k+1)
	end, err := verify(job)
	g.flood(i, n.Verified(g.now, job, end, err))
	check(g.t, n.DB)
}

// settle delivers all that is under way, in order.
func (g *gossip) settle() {
	for {
		busy := false
		for len(g.wire) > 0 {
			busy = true
			g.deliver(0)
		}
		for i, n := range g.nodes {
			for len(n.jobs) > 0 {
				busy = true
				g.finish(i, 0)
			}
		}
		if !busy {
			return
		}
	}
}

func (g *gossip) tick(d time.Duration) {
	g.now = g.now.Add(d)
	for i, n := range g.nodes {
		n.Expire(g.now)
		g.announce(i)
	}
}

func must(t *rapid.T, ok bool, format string, args ...any) {
	if !ok {
		t.Fatalf(format, args...)
	}
}

// Whatever was lost, doubled or reordered: some rounds of digests later all databases are equal, hold every node's
// newest LSA, and make the same graph.
func TestGossipConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGossip(t)
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			i := rapid.IntRange(0, len(g.nodes)-1).Draw(t, "node")
			n := g.nodes[i]
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				g.tick(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			case 1:
				if len(n.links) > 0 {
					n.links[0].Cost++
					n.links[0].Suspect = !n.links[0].Suspect
				}
				g.announce(i)
			case 2:
				n.a.rotate(rapid.IntRange(2, 9).Draw(t, "svid"), n.a.end.Add(time.Second))
				g.record(i)
			case 3:
				for _, p := range n.peers {
					g.send(i, p, wire.Digest{Hash: n.Digest()})
				}
			case 4:
				if len(g.wire) > 0 { // doubled
					g.wire = append(g.wire, g.wire[rapid.IntRange(0, len(g.wire)-1).Draw(t, "message")])
				}
			case 5, 6:
				if len(n.jobs) > 0 {
					g.finish(i, rapid.IntRange(0, len(n.jobs)-1).Draw(t, "job"))
				}
			default:
				if len(g.wire) > 0 {
					g.deliver(rapid.IntRange(0, len(g.wire)-1).Draw(t, "message"))
				}
			}
		}
		g.lossy = false
		for range 3 {
			g.tick(time.Minute + time.Second) // whatever the pace and the rate held up is out
			g.settle()
		}
		for range len(g.nodes) + 1 {
			g.tick(10 * time.Second)
			for i, n := range g.nodes {
				for _, p := range n.peers {
					g.send(i, p, wire.Digest{Hash: n.Digest()})
				}
			}
			g.settle()
		}
		links := 0
		for _, n := range g.nodes {
			links += len(n.links)
		}
		for _, n := range g.nodes {
			must(t, n.Digest() == g.nodes[0].Digest(), "%s and n0 differ:\n%v\n%v", n.self, n.Summary(), g.nodes[0].Summary())
			must(t, len(n.Edges()) == links, "%s sees %d edges of %d", n.self, len(n.Edges()), links)
			for _, m := range g.nodes {
				info, _ := n.Node(m.self)
				must(t, info.Seq == m.own.seq && info.Announced, "%s holds LSA %d of %s, which is at %d", n.self, info.Seq, m.self, m.own.seq)
			}
		}
		// All drop alike: at any later time the digests are equal, with nobody talking.
		for _, d := range []time.Duration{Lifetime - time.Minute, 2 * time.Minute, time.Hour, 25 * time.Hour} {
			g.now = g.now.Add(d)
			for _, n := range g.nodes {
				n.Expire(g.now)
				check(t, n.DB)
				must(t, n.Digest() == g.nodes[0].Digest(), "after %v %s and n0 differ", d, n.self)
			}
		}
		must(t, len(g.nodes[0].Nodes()) == 0, "something lives for ever")
	})
}

// Nothing that another node makes can change what is held of a node.
func TestNobodySpeaksForAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alice, mallory := newAuthor("alice", epoch), newAuthor("mallory", epoch)
		db := newDB("self")
		var seen [][]byte
		for _, raw := range [][]byte{alice.record(epoch), mallory.record(epoch)} {
			if _, err := take(t, db, epoch, KindRecord, raw); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, raw)
		}
		for range 3 {
			raw := alice.raw(epoch, link("self", 1, 1, mesh.Cost(rapid.IntRange(1, 100).Draw(t, "cost"))))
			if _, err := take(t, db, epoch, KindLSA, raw); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, raw)
		}
		before, _ := db.Node(alice.id)
		edges := fmt.Sprint(db.origins[alice.id].lsa.lsa.Links)
		for range 20 {
			kind, raw := forge(t, alice, mallory, seen)
			v, _ := db.Offer(epoch, by(mesh.ConnID(rapid.IntRange(1, 9).Draw(t, "from"))), kind, raw)
			if v.Action == Verify {
				finish(db, epoch, v.Job)
			}
			check(t, db)
		}
		after, _ := db.Node(alice.id)
		if fmt.Sprint(before) != fmt.Sprint(after) || edges != fmt.Sprint(db.origins[alice.id].lsa.lsa.Links) {
			t.Fatalf("changed:\n%+v\n%+v", before, after)
		}
		// And with the defect removed it is heard.
		if out, err := take(t, db, epoch, KindLSA, alice.raw(epoch, link("self", 1, 1, 999))); err != nil || !out.Changed {
			t.Fatalf("alice herself: %v", err)
		}
	})
}

func forge(t *rapid.T, alice, mallory *author, seen [][]byte) (Kind, []byte) {
	l := alice.lsa(epoch, link("mallory", 9, 9, 1))
	l.Seq += uint64(rapid.IntRange(0, 1000).Draw(t, "seq"))
	alice.seq--
	switch rapid.IntRange(0, 4).Draw(t, "forgery") {
	case 0: // alice's name, alice's SVID, mallory's key
		return KindLSA, mallory.signed(l)
	case 1: // alice's name, mallory's SVID and key
		l.SVID = mallory.lsa(epoch).SVID
		return KindLSA, mallory.signed(l)
	case 2: // alice's record under mallory's chain
		m := *mallory
		m.id, m.recordSeq = alice.id, uint64(rapid.IntRange(1, 100).Draw(t, "record"))
		return KindRecord, m.record(epoch, "[::1]:1")
	case 3: // a replay
		raw := seen[rapid.IntRange(0, len(seen)-1).Draw(t, "replay")]
		return Kind(rapid.IntRange(1, 2).Draw(t, "kind")), raw
	}
	raw := slices.Clone(seen[rapid.IntRange(0, len(seen)-1).Draw(t, "object")])
	raw[rapid.IntRange(0, len(raw)-1).Draw(t, "byte")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
	return Kind(rapid.IntRange(1, 2).Draw(t, "kind")), raw
}

// Many origins do not fit one Summary; the parts together say the same as one would.
func TestSummaryInParts(t *testing.T) {
	const n = 4500
	a, b := newDB("left"), newDB("right")
	for i := range n {
		x := newAuthor(fmt.Sprintf("n%d", i), epoch)
		rec, lsa := x.record(epoch), x.raw(epoch)
		for k, db := range []*DB{a, b} {
			if i%100 == k || (i == 0 || i == n-1) && k == 0 {
				continue // some are missing here, some there
			}
			v, err := db.Offer(epoch, by(1), KindRecord, rec)
			if err != nil {
				t.Fatal(err)
			}
			finish(db, epoch, v.Job)
			v, _ = db.Offer(epoch, by(1), KindLSA, lsa)
			finish(db, epoch, v.Job)
		}
	}
	check(t, a)
	parts := a.Summary()
	if len(parts) < 3 {
		t.Fatalf("%d parts", len(parts))
	}
	for _, s := range parts {
		if _, err := wire.AppendMessage(nil, s); err != nil {
			t.Fatal(err)
		}
		send, request := b.Reconcile(s)
		for _, m := range send {
			switch m := m.(type) {
			case wire.RecordMsg:
				v, _ := a.Offer(epoch, by(1), KindRecord, m.Raw)
				finish(a, epoch, v.Job)
			case wire.LSAMsg:
				v, err := a.Offer(epoch, by(1), KindLSA, m.Raw)
				if err != nil {
					t.Fatal(err)
				}
				finish(a, epoch, v.Job)
			}
		}
		for _, m := range a.Answer(wire.RecordRequest{SVIDs: request}) {
			v, _ := b.Offer(epoch, by(1), KindRecord, m.(wire.RecordMsg).Raw)
			finish(b, epoch, v.Job)
		}
	}
	if len(a.Nodes()) != n || len(b.Nodes()) != n {
		t.Errorf("%d and %d nodes of %d", len(a.Nodes()), len(b.Nodes()), n)
	}
	for _, s := range b.Summary() {
		if send, request := a.Reconcile(s); len(send) > 90 || len(request) != 0 {
			t.Errorf("still %d to send, %d to ask for", len(send), len(request))
		}
	}
}
