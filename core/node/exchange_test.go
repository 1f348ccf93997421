package node

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// crowd is a node with a full database and two neighbours, zeta and yota.
func crowd(t *testing.T, nodes int) (r *scene, bad, good mesh.ConnID) {
	t.Helper()
	r = newScene(t, Config{})
	bad = r.linkUp(0, zeta, addr(1), 7, 1)
	good = r.linkUp(0, mesh.MustNodeID("yota"), addr(2), 7, 1)
	for i := range nodes {
		r.hear(good, mesh.MustNodeID(fmt.Sprintf("n%d", i)), 1)
	}
	return r, bad, good
}

// answers counts the bytes that were sent to a connection, and the messages.
func (r *scene) answers(to mesh.ConnID) (messages, bytes int) {
	for _, s := range r.send {
		if s.Conn != to {
			continue
		}
		for _, m := range s.Messages {
			b, err := wire.AppendMessage(nil, m)
			if err != nil {
				r.Fatal(err)
			}
			messages, bytes = messages+1, bytes+len(b)
		}
	}
	return messages, bytes
}

// Questions about the database are answered to each neighbour as far as its allowance goes: who asks without end gets a
// bounded answer, by whatever connections, and the next neighbour its own as if nothing were.
func TestQuestionsAreAnsweredWithinBounds(t *testing.T) {
	const nodes = 300
	all := wire.RecordRequest{}
	for i := range nodes {
		_, leaf := chainOf(mesh.MustNodeID(fmt.Sprintf("n%d", i)), 0)
		all.SVIDs = append(all.SVIDs, leaf)
	}
	for _, tt := range []struct {
		name     string
		question wire.Message
		counter  string
	}{
		{"digests", wire.Digest{Hash: [32]byte{1}}, "asks_refused"},
		{"empty summaries", wire.Summary{}, "asks_refused"},
		{"requests for all records", all, "answers_cut"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, bad, good := crowd(t, nodes)
			r.send = nil
			r.do(Received{Conn: bad, Message: tt.question})
			_, once := r.answers(bad)
			if once < 10_000 || r.Counters()["asks_refused"]+r.Counters()["answers_cut"] != 0 {
				t.Fatalf("one question has %d bytes of answer, %v", once, r.Counters())
			}
			for range 20_000 {
				r.do(Received{Conn: bad, Message: tt.question})
			}
			_, flood := r.answers(bad)
			if most := answerBurst + once; flood > most || r.Counters()[tt.counter] == 0 {
				t.Errorf("20,000 questions have %d bytes of answer, at most %d, %v", flood, most, r.Counters())
			}
			// A new connection is not a new neighbour.
			r.send = nil
			again := r.linkUp(0, zeta, addr(3), 8, 1)
			r.do(Received{Conn: again, Message: tt.question})
			if _, n := r.answers(again); n > 1000 {
				t.Errorf("a new connection of the same neighbour gets %d bytes", n)
			}
			r.do(Received{Conn: good, Message: tt.question})
			if _, n := r.answers(good); n != once {
				t.Errorf("the other neighbour gets %d bytes, want %d", n, once)
			}
			// It is not for ever.
			r.send = nil
			r.at = r.at.Add(20 * time.Second)
			r.do(Received{Conn: bad, Message: tt.question})
			if _, n := r.answers(bad); n < once || n > once+100 { // a digest is due, too
				t.Errorf("later it gets %d bytes, want %d", n, once)
			}
			t.Logf("one question: %d bytes of answer; 20,000 at once: %d", once, flood)
		})
	}
}

// Allowances are kept of neighbours that went, and forgotten when they are whole.
func TestAllowancesAreForgotten(t *testing.T) {
	r, _, _ := crowd(t, 1)
	for i := range 10 * keptAllowances {
		r.at = r.at.Add(time.Second)
		r.allowanceOf(r.at, mesh.MustNodeID(fmt.Sprintf("m%d", i))).asks--
	}
	if n := len(r.allowances); n > keptAllowances {
		t.Errorf("%d allowances", n)
	}
}
