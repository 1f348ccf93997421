package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// liar is a member with a genuine certificate that says over its control channel what it likes.
type liar struct {
	t      *testing.T
	id     identity
	node   mesh.NodeID
	stream *quic.Stream
}

// newLiar connects a member that is no daemon to a neighbour.
func newLiar(t *testing.T, n *network, m, to *machine) *liar {
	t.Helper()
	return linkLiar(t, n, m, to, 7, uint64(time.Now().UnixMilli()))
}

// linkLiar connects it by a link of a certain label, in a life that began at boot.
func linkLiar(t *testing.T, n *network, m, to *machine, label mesh.Label, boot uint64) *liar {
	t.Helper()
	l := &liar{t: t, node: m.id, id: sign(t, stolen(t, n.machines[0]), leaf("spiffe://e2e.mesh/node/"+m.id.String()))}
	here, _ := n.underlay(to, m)
	conn, err := l.id.dial(t, m.listenUDP(t, netip.AddrPortFrom(netip.IPv4Unspecified(), 0)), netip.AddrPortFrom(here, port))
	if err != nil {
		t.Fatal(err)
	}
	if l.stream, err = conn.OpenStreamSync(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.say(wire.LinkOpen{Version: 1, Index: uint32(label), Label: label, Hello: 50 * time.Millisecond, MTU: 1400, Boot: boot})
	go func() { _, _ = io.Copy(io.Discard, l.stream) }()
	return l
}

// say sends one message.
func (l *liar) say(m wire.Message) {
	l.t.Helper()
	b, err := wire.AppendMessage(nil, m)
	if err == nil {
		_, err = l.stream.Write(b)
	}
	if err != nil {
		l.t.Fatalf("say %T: %v", m, err)
	}
}

// sign signs with the liar's own key, whatever the text says.
func (l *liar) sign(text []byte) []byte {
	h := sha256.Sum256(text)
	sig, err := ecdsa.SignASN1(rand.Reader, l.id.PrivateKey.(*ecdsa.PrivateKey), h[:])
	if err != nil {
		l.t.Fatal(err)
	}
	return sig
}

func (l *liar) record(r wire.Record) wire.Message {
	return wire.RecordMsg{Raw: r.AppendSigned(nil, l.sign(r.SigningInput()))}
}

func (l *liar) lsa(a wire.LSA) wire.Message {
	return wire.LSAMsg{Raw: a.AppendSigned(nil, l.sign(a.SigningInput()))}
}

// What a member says in another's name, from another time or in no form at all is counted by its reason and changes
// nothing, however it is signed; what it says of itself, in time, is believed.
func TestLyingMember(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta alpha-mallory"))
	alpha, beta, mallory := n.at("alpha"), n.at("beta"), n.at("mallory")
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	n.join(beta, []*machine{alpha})
	beta.up(t)
	n.converged(alpha, beta)
	l := newLiar(t, n, mallory, alpha)

	now := time.Now().UTC().Truncate(time.Millisecond)
	boot := uint64(now.UnixMilli())
	own := wire.Record{Origin: l.node, Incarnation: 1, Seq: boot, Time: now, Chain: l.id.Certificate.Certificate}
	mine := wire.LSA{Origin: l.node, Incarnation: 1, Boot: boot, Seq: boot + 10, Time: now, Lifetime: 30 * time.Minute,
		SVID: sha256.Sum256(own.Chain[0]), Links: []mesh.Adjacency{{Neighbour: beta.id, Label: 9, Remote: 1, Cost: 1, Quality: mesh.Excellent}}}
	l.say(l.record(own))
	l.say(l.lsa(mine))
	eventually(t, 10*time.Second, "what is true is believed, by beta too", func(context.Context) error {
		for _, m := range []*machine{alpha, beta} {
			if s := m.status(t); s.LSDBNodes != 3 {
				return fmt.Errorf("%s knows %d nodes", m.id, s.LSDBNodes)
			}
		}
		return nil
	})
	// Beta's certificate is no secret.
	id := must(beta.client.Identity(t.Context()))(t)
	block, _ := pem.Decode([]byte(id.Chain))
	var svid [32]byte
	_, _ = hex.Decode(svid[:], []byte(id.Certificate.SHA256))
	change := func(f func(*wire.LSA)) wire.Message {
		a := mine
		a.Seq += 100
		f(&a)
		return l.lsa(a)
	}
	for _, tt := range []struct {
		name, counter string
		message       wire.Message
	}{
		{"LSA of another, under its certificate", "lsdb_wrong_signer", change(func(a *wire.LSA) {
			a.Origin, a.SVID, a.Boot, a.Links = beta.id, svid, boot+1e6, nil
		})},
		{"LSA of another, under the liar's certificate", "lsdb_no_record", change(func(a *wire.LSA) {
			a.Origin, a.Boot, a.Links = beta.id, boot+1e6, nil
		})},
		{"record of another with its certificate", "lsdb_wrong_signer", l.record(wire.Record{
			Origin: beta.id, Incarnation: 9, Seq: boot + 1e9, Time: now, Chain: [][]byte{block.Bytes}, Addresses: []string{"192.0.2.1:7420"},
		})},
		{"record of another with the liar's certificate", "lsdb_wrong_signer", l.record(wire.Record{
			Origin: beta.id, Incarnation: 9, Seq: boot + 1e9, Time: now, Chain: own.Chain,
		})},
		{"record with a certificate of nobody's", "lsdb_refused", func() wire.Message {
			c := sign(t, invented(t, "e2e.mesh"), leaf("spiffe://e2e.mesh/node/mallory"))
			r := own
			r.Seq, r.Chain = r.Seq+1, c.Certificate.Certificate
			return (&liar{t: t, id: c}).record(r)
		}()},
		{"replayed LSA of an earlier time", "lsdb_stale", change(func(a *wire.LSA) { a.Seq = mine.Seq - 1 })},
		{"LSA from the future", "lsdb_future", change(func(a *wire.LSA) { a.Time = now.Add(time.Hour) })},
		{"record from the future", "lsdb_future", func() wire.Message {
			r := own
			r.Seq, r.Time = r.Seq+1, now.Add(time.Hour)
			return l.record(r)
		}()},
		{"LSA that has ended", "lsdb_expired", change(func(a *wire.LSA) { a.Time = now.Add(-2 * time.Hour) })},
		{"LSA for ever", "lsdb_malformed", change(func(a *wire.LSA) { a.Lifetime = 1000 * time.Hour })},
		{"LSA in no form", "lsdb_malformed", wire.LSAMsg{Raw: []byte("x0t-lsa/1\x00 and then nothing")}},
		{"LSA with a flipped bit", "lsdb_wrong_signer", func() wire.Message {
			m := change(func(a *wire.LSA) { a.Capabilities = 1 }).(wire.LSAMsg)
			m.Raw[len(m.Raw)-1] ^= 1
			return m
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := alpha.counters(t)
			l.say(tt.message)
			eventually(t, 10*time.Second, tt.counter+" rises", func(context.Context) error {
				if after := alpha.counters(t); after[tt.counter] == before[tt.counter] {
					return fmt.Errorf("it is %d; all that rose: %v", after[tt.counter], rose(before, after))
				}
				return nil
			})
		})
	}

	eventually(t, 10*time.Second, "alpha and beta agree as before", func(context.Context) error {
		at, bt := alpha.status(t), beta.status(t)
		if at.LSDBDigest != bt.LSDBDigest || at.LSDBNodes != 3 || at.LinksUp != 1 || bt.LinksUp != 1 {
			return fmt.Errorf("%d and %d nodes, %d and %d links up", at.LSDBNodes, bt.LSDBNodes, at.LinksUp, bt.LinksUp)
		}
		return nil
	})
	// A link that only one end announces is none, however cheap it is.
	for _, p := range must(alpha.client.Peers(t.Context()))(t) {
		if p.Node == beta.id && len(p.Path) != 2 {
			t.Errorf("the path to beta is %v", p.Path)
		}
	}
	n.reach(10*time.Second, alpha, beta)
}

// rose returns the counters that are higher than before.
func rose(before, after api.Counters) api.Counters {
	up := api.Counters{}
	for name, v := range after {
		if v > before[name] {
			up[name] = v - before[name]
		}
	}
	return up
}
