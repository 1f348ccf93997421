package crdt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"x0tta6bl4/wire"
)

// author is a node that signs by P-256, as SVIDs do.
type author struct {
	s   *State
	key *ecdsa.PrivateKey
}

func newAuthor(b *testing.B, name string) *author {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return &author{founder(name), key}
}

// write makes a batch of all ops and returns what spreads.
func (a *author) write(b *testing.B, ops []Op) []byte {
	b.Helper()
	d, err := a.s.Begin(epoch, testLeaf, ops)
	if err != nil || d.Ops != len(ops) {
		b.Fatal(err)
	}
	h := sha256.Sum256(d.Input)
	sig, err := ecdsa.SignASN1(rand.Reader, a.key, h[:])
	if err != nil {
		b.Fatal(err)
	}
	a.s.Seal(d, sig)
	raw := d.b.piece(d.b.live).AppendPiece(nil)
	a.s.commit(epoch, d)
	return raw
}

func batchOps(from, n int) []Op {
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Put(fmt.Appendf(nil, "key/%08d", from+i), []byte("a value of 32 bytes, or about so"))
	}
	return ops
}

// What a write costs a node, with its signature and without its disk.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, wire.MaxBatch} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := newAuthor(b, "a")
			i := 0
			for b.Loop() {
				a.write(b, batchOps(i%200_000, n))
				i += n
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// What an entry costs a receiver, with the check of its signature.
func BenchmarkReceive(b *testing.B) {
	for _, n := range []int{1, wire.MaxBatch} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := newAuthor(b, "a")
			var raws [][]byte
			for i := range 40_000 / n {
				raws = append(raws, a.write(b, batchOps(i*n, n)))
			}
			entries := 0
			for s, i := founder("b"), 0; b.Loop(); i++ {
				if i == len(raws) {
					b.StopTimer()
					s, i = founder("b"), 0
					b.StartTimer()
				}
				_, _, job, err := s.offer(epoch, a.s.cfg.Self, raws[i])
				if err != nil || job == nil {
					b.Fatal(err)
				}
				h := sha256.Sum256(job.Signed)
				if !ecdsa.VerifyASN1(&a.key.PublicKey, h[:], job.Sig) {
					b.Fatal("signature")
				}
				s.verified(epoch, job, nil)
				entries += n
			}
			b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// 100,000 keys changed on either side of a cut.
func BenchmarkHeal(b *testing.B) {
	for _, size := range []int{8, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				d, sent := heal(b, 1000, 100_000, size, false)
				b.ReportMetric(float64(sent)/200_000, "B/key")
				b.ReportMetric(d.Seconds(), "simulated-s")
			}
		})
	}
}

// What a million small keys take in memory, written many at once and one by one.
func BenchmarkMillion(b *testing.B) {
	for _, n := range []int{wire.MaxBatch, 1} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				million(b, n)
			}
		})
	}
}

func million(b *testing.B, n int) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := founder("a")
	for i := 0; i < 1_000_000; i += n {
		d, err := s.Begin(epoch, testLeaf, batchOps(i, n))
		if err != nil {
			b.Fatal(err)
		}
		s.Seal(d, make([]byte, 71))
		s.commit(epoch, d)
	}
	s.Digest()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "B/key")
	b.ReportMetric(float64(after.Sys)/1e6, "MB-of-the-process")
	if s.Bytes() > maxBytes {
		b.Fatal(s.Bytes())
	}
}

// A set of many elements: what one more costs.
func BenchmarkLargeSet(b *testing.B) {
	a, i := newAuthor(b, "a"), 0
	for b.Loop() {
		ops := make([]Op, wire.MaxBatch)
		for k := range ops {
			ops[k] = Insert([]byte("set"), fmt.Appendf(nil, "element/%08d", (i+k)%200_000))
		}
		a.write(b, ops)
		i += len(ops)
	}
	b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "entries/s")
}

// What the most expensive messages that a neighbour may send cost the loop.
func BenchmarkHostileMessage(b *testing.B) {
	w := newWorld(b, 1, 3, [][2]int{{0, 1}, {0, 2}})
	w.nodes[0].fill("k", 100_000, 8)
	y, liar := w.nodes[0].y, w.nodes[1].id
	refs := make([]wire.Ref, wire.MaxStateRefs)
	node := wire.StateNode{Kids: [16][32]byte{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}, {13}, {14}, {15}, {16}}}
	for name, of := range map[string]func(n int) wire.StateMessage{
		"heads": func(n int) wire.StateMessage { return claims(liar, n) },
		"fetch": func(n int) wire.StateMessage { return wire.StateFetch{After: claims(liar, n).Dots} },
		"offer": func(n int) wire.StateMessage {
			for i := range refs {
				refs[i] = wire.Ref{byte(i), byte(i >> 8), byte(n), byte(n >> 8), byte(n >> 16), 6: 0xff}
			}
			return wire.StateOffer{Refs: refs}
		},
		"nodes": func(int) wire.StateMessage { return wire.StateNodes{Nodes: slices.Repeat([]wire.StateNode{node}, 512)} },
	} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				if _, _, err := y.Handle(w.now, liar, of(n)); err != nil {
					b.Fatal(err)
				}
				if n++; n%16 == 0 { // all of it is waited for, and then given up
					w.now = w.now.Add(patience)
				}
				y.Pull(w.now, liar, 64<<10)
			}
		})
	}
}

// What it costs to pass on one of 64 entries of 1 MiB that were signed together.
func BenchmarkPassOnLarge(b *testing.B) {
	all := large(64, wire.MaxValue)
	for b.Loop() {
		all.piece(all.live[7:8]).AppendPiece(nil)
	}
}
