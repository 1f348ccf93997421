package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	memberFlood   = 10 * time.Second
	memberArrives = 8 * time.Second // for a node that comes up elsewhere, to be reached
	memberGrowth  = 128             // MiB that the daemon may grow by
)

// pour writes messages over and over until done is closed, as fast as they are taken. It has a connection of its own.
func (l *liar) pour(done <-chan struct{}, sent *int, next func(i int) wire.Message) {
	for i := 0; ; {
		var b []byte
		for range 64 {
			b, _ = wire.AppendMessage(b, next(i))
			i++
		}
		select {
		case <-done:
			*sent = i
			return
		default:
		}
		if _, err := l.stream.Write(b); err != nil {
			*sent = i
			return
		}
	}
}

// A member floods its neighbour, by one connection for each kind, with all that a control channel takes: announcements
// of its own, certificates of nobody's, announcements under records that there are not, forgeries, questions with long
// answers. Each is held back, counted by name and costs a bounded part of the neighbour; the other links stay, traffic
// goes on, and a node that comes up elsewhere meanwhile is known and reached.
func TestFloodingMember(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta beta-gamma beta-delta alpha-mallory"))
	alpha, beta, gamma, delta := n.at("alpha"), n.at("beta"), n.at("gamma"), n.at("delta")
	n.found(alpha)
	alpha.up(t)
	members := []*machine{alpha}
	for _, m := range []*machine{beta, gamma, delta} {
		n.converged(members...)
		n.join(m, members)
		m.up(t)
		members = append(members, m)
	}
	n.converged(members...)
	a, g, d := listen(t, alpha), listen(t, gamma), listen(t, delta)
	t.Cleanup(func() { a.close(); g.close(); d.close() })
	knockAll(t, 20*time.Second, a, g)
	delta.stop(t)

	was, rss, busy := alpha.counters(t), alpha.rss(t), alpha.busy(t)
	downs, sent0 := n.downsOf(t, beta), [2]tally{a.tally(g), g.tally(a)}
	done := make(chan struct{})
	var pouring sync.WaitGroup
	began, long := time.Now(), time.After(memberFlood)
	floods := memberFloods(t, n)
	sent := make([]int, len(floods))
	for i, f := range floods {
		pouring.Go(func() { f.liar.pour(done, &sent[i], f.next) })
	}
	streams := make(chan struct{})
	go func() { defer close(streams); stream(done, 5*time.Millisecond, [2]*endpoint{a, g}, [2]*endpoint{g, a}) }()

	eventually(t, memberFlood, "every flood is felt", func(ctx context.Context) error {
		now, err := alpha.client.Counters(ctx)
		for _, f := range floods {
			if err == nil && risen(was, now, f.counters...) == 0 {
				err = fmt.Errorf("%s: none of %v rose", f.name, f.counters)
			}
		}
		return err
	})
	up := time.Now()
	delta.up(t)
	a.knock(t, d, memberArrives)
	t.Logf("delta was reached %v after it was started", time.Since(up).Round(time.Millisecond))
	<-long
	took := time.Since(began)
	used, grown := alpha.busy(t)-busy, (alpha.rss(t)-rss)>>20
	close(done)
	pouring.Wait()
	<-streams
	settled(2*time.Second, [2]*endpoint{a, g}, [2]*endpoint{g, a})

	now := alpha.counters(t)
	for i, f := range floods {
		t.Logf("%s: %d sent", f.name, sent[i])
		for _, c := range f.counters {
			if now[c] == was[c] {
				t.Errorf("%s: %s did not rise; what did: %v", f.name, c, rose(was, now))
			}
		}
	}
	t.Logf("alpha used %.0f %% of a core; it grew by %d MiB to %d", 100*used.Seconds()/took.Seconds(), grown, (rss>>20)+grown)
	if grown > memberGrowth && !raceEnabled {
		t.Errorf("alpha grew by %d MiB", grown)
	}
	if got := n.downsOf(t, beta); got > downs {
		t.Errorf("beta's links went down %d times", got-downs)
	}
	for i, f := range [][2]*endpoint{{a, g}, {g, a}} {
		after := f[0].tally(f[1])
		lost, given := after.lost()-sent0[i].lost(), after.sent-sent0[i].sent
		t.Logf("%s to %s: %d of %d packets lost", f[0].m.id, f[1].m.id, lost, given)
		if given < 100 || lost > given/50 {
			t.Errorf("%s to %s: %d of %d packets lost", f[0].m.id, f[1].m.id, lost, given)
		}
	}
}

// downsOf returns how often links of a machine, but those to the flooding member, went down.
func (n *network) downsOf(t *testing.T, m *machine) (downs uint64) {
	t.Helper()
	for _, l := range must(m.client.Links(t.Context()))(t) {
		if l.Neighbour.String() == "alpha" || l.Neighbour.String() == "gamma" {
			downs += l.Downs
		}
	}
	return downs
}

// memberFloodKind is one kind of message, made anew for each that is sent.
type memberFloodKind struct {
	name     string
	counters []string // that must rise
	liar     *liar
	next     func(i int) wire.Message
}

func memberFloods(t *testing.T, n *network) []memberFloodKind {
	t.Helper()
	alpha, mallory := n.at("alpha"), n.at("mallory")
	started := time.Now().UTC().Truncate(time.Millisecond)
	boot := uint64(started.UnixMilli())
	stranger := sign(t, invented(t, "e2e.mesh"), leaf("spiffe://e2e.mesh/node/mallory"))
	object := func(l *liar, i int) wire.LSA {
		return wire.LSA{Origin: l.node, Incarnation: 1, Boot: boot, Seq: boot + uint64(i), Time: started, Lifetime: 30 * time.Minute,
			SVID: sha256.Sum256(l.id.Certificate.Certificate[0])}
	}
	noise := make([]byte, 64)
	_, _ = rand.Read(noise)
	kinds := []memberFloodKind{
		{name: "own announcements", counters: []string{"lsdb_rate"}},
		{name: "certificates of nobody's", counters: []string{"lsdb_refused", "lsdb_sender"}},
		{name: "announcements under no record", counters: []string{"lsdb_no_record"}},
		{name: "forged announcements of another", counters: []string{"lsdb_wrong_signer", "lsdb_sender"}},
		{name: "digests", counters: []string{"node_asks_refused"}},
		{name: "empty summaries", counters: []string{"node_asks_refused"}},
		{name: "messages that are ignored", counters: []string{"link_quic_paced"}},
	}
	for i := range kinds {
		kinds[i].liar = linkLiar(t, n, mallory, alpha, mesh.Label(100+i), boot) // #nosec G115 -- small
	}
	beta, l := n.at("beta").id, kinds[0].liar
	var theirs [32]byte
	copy(theirs[:], certificateHash(t, n.at("beta")))
	l.say(l.record(wire.Record{Origin: l.node, Incarnation: 1, Seq: boot, Time: started, Chain: l.id.Certificate.Certificate}))
	// By its own flood of certificates it might use up what alpha takes of those from it before its own is there.
	eventually(t, 10*time.Second, "mallory's record is known", func(context.Context) error {
		if nodes := alpha.status(t).LSDBNodes; nodes != len(n.machines) {
			return fmt.Errorf("alpha knows %d nodes of %d", nodes, len(n.machines))
		}
		return nil
	})
	kinds[0].next = func(i int) wire.Message { return l.lsa(object(l, i)) }
	kinds[1].next = func(i int) wire.Message {
		r := wire.Record{Origin: mesh.MustNodeID(fmt.Sprintf("n%d", i%5000)), Incarnation: 1, Seq: boot + uint64(i), Time: started, Chain: stranger.Certificate.Certificate}
		return wire.RecordMsg{Raw: r.AppendSigned(nil, noise)}
	}
	kinds[2].next = func(i int) wire.Message {
		a := object(l, i)
		a.Origin, a.SVID = mesh.MustNodeID(fmt.Sprintf("m%d", i)), [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}
		return wire.LSAMsg{Raw: a.AppendSigned(nil, noise)}
	}
	kinds[3].next = func(i int) wire.Message {
		a := object(l, i)
		a.Origin, a.SVID, a.Boot = beta, theirs, boot+1e9
		return wire.LSAMsg{Raw: a.AppendSigned(nil, noise)}
	}
	kinds[4].next = func(int) wire.Message { return wire.Digest{Hash: [32]byte(noise)} }
	kinds[5].next = func(int) wire.Message { return wire.Summary{} }
	kinds[6].next = func(int) wire.Message { return wire.LogMsg{Raw: noise} }
	return kinds
}

// certificateHash returns the hash by which announcements name a machine's certificate.
func certificateHash(t *testing.T, m *machine) []byte {
	t.Helper()
	var hash []byte
	if _, err := fmt.Sscanf(must(m.client.Identity(t.Context()))(t).Certificate.SHA256, "%x", &hash); err != nil {
		t.Fatal(err)
	}
	return hash
}
