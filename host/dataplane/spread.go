package dataplane

import (
	"sync/atomic"
	"time"

	"x0tta6bl4/mesh"
)

const (
	spreadBuckets = 256

	// A flow that paused for longer than one way takes longer than another keeps its order when it changes over. That
	// difference is not known, so it pauses for at least so long, or for the difference of the ways' costs.
	spreadGap = 20 * time.Millisecond

	// A flow that never pauses leaves a way that is being left so much later. It may lose its order then.
	spreadPatience = time.Second
)

// spread is which way the flows to one peer take. Flows share buckets, and it is buckets that move. It outlives tables and
// sessions: a new table moves only those whose way it no longer has, and others when they pause.
type spread struct {
	buckets [spreadBuckets]atomic.Uint64 // each a bucketState

	// What follows belongs to who makes tables.
	known []knownWay             // those of the last table
	of    [spreadBuckets]wayName // the way that each bucket is to take
	last  wayName
}

// wayName is this node's own name for a way as long as each table has it; 0 is none.
type wayName uint16

type knownWay struct {
	path *mesh.Path
	name wayName
	left time.Duration // since when it is being left, 0 = it is not
}

// bucketState is the way that a bucket's last packet took (16 bits), and when that was, in µs of the plane's clock.
type bucketState uint64

const bucketTime = 1<<48 - 1

func newBucketState(w wayName, now time.Duration) bucketState {
	return bucketState(w)<<48 | bucketState(now/time.Microsecond)&bucketTime // #nosec G115 -- the plane's clock is positive
}

func (b bucketState) way() wayName { return wayName(b >> 48) }

// since returns how long ago that was at now; it is negative if another goroutine's packet was later.
func (b bucketState) since(now time.Duration) time.Duration {
	return now - time.Duration(b&bucketTime)*time.Microsecond // #nosec G115 -- 48 bits
}

// wayOf returns the way that the packet pkt takes now. The peer is ready.
func (o *outPeer) wayOf(pkt []byte, now time.Duration) *outWay {
	i := flowBucket(pkt)
	want := &o.ways[0]
	if o.of != nil {
		want = &o.ways[o.of[i]]
	}
	b := &o.state.spread.buckets[i]
	for {
		was := b.Load()
		w := o.follow(bucketState(was), want, now)
		is := uint64(newBucketState(w.name, now))
		if was == is || b.CompareAndSwap(was, is) {
			return w
		}
	}
}

// follow returns the way for a bucket that is to take the way want: that which it took last, unless that is gone, the bucket
// has paused, or it has stayed long enough on one that is being left.
func (o *outPeer) follow(b bucketState, want *outWay, now time.Duration) *outWay {
	if b.way() == want.name || b.since(now) >= o.gap {
		return want
	}
	for i := range o.ways {
		if w := &o.ways[i]; w.name == b.way() && (w.left == 0 || now-w.left < spreadPatience) {
			return w
		}
	}
	return want
}

// flowBucket returns the bucket of a packet's flow: that of its protocol and ports, as one peer's addresses do not differ,
// or of its flow label (RFC 6437) where there are none to be seen.
func flowBucket(pkt []byte) uint8 {
	protocol, from, to, ok := packetPorts(pkt)
	key := uint64(protocol)<<32 | uint64(from)<<16 | uint64(to)
	if !ok {
		key = 1<<40 | uint64(pkt[1]&0x0f)<<16 | uint64(pkt[2])<<8 | uint64(pkt[3])
	}
	// Ports are often in sequence, or differ in few bits: two rounds of multiplication reach every bit of the result.
	const odd = 0x9e3779b97f4a7c15
	key *= odd
	key ^= key >> 32
	key *= odd
	return uint8(key >> 56)
}

// take names the ways of a new table, and deals the buckets out to them by their shares. It returns which way, by its place
// in ways, each bucket is to take; nil if all take the first.
func (s *spread) take(ways []outWay, now time.Duration) *[spreadBuckets]uint8 {
	single := len(ways) == 1
	if single && len(s.known) == 1 && s.known[0].left == 0 && sameWay(s.known[0].path, ways[0].paths[0].path) {
		ways[0].name = s.known[0].name
		return nil
	}
	s.name(ways, now)
	s.deal(quotas(ways), ways)
	if single || len(ways) == 0 {
		return nil
	}
	var of [spreadBuckets]uint8
	for i, name := range s.of {
		for j := range ways {
			if ways[j].name == name {
				of[i] = uint8(j) // #nosec G115 -- a destination has few ways: see maxWays
			}
		}
	}
	return &of
}

// name gives each way the name that it had in the last table, or a new one, and notes since when it is being left.
func (s *spread) name(ways []outWay, now time.Duration) {
	total := totalShare(ways)
	known := make([]knownWay, len(ways))
	for i := range ways {
		w := &ways[i]
		k := knownWay{path: w.paths[0].path}
		for _, old := range s.known {
			if sameWay(old.path, k.path) {
				k.name, k.left = old.name, old.left
				break
			}
		}
		if k.name == 0 {
			s.last++
			if s.last == 0 { // after so many ways none of the first is remembered any more
				s.last++
			}
			k.name = s.last
		}
		switch {
		case w.share > 0 || total == 0:
			k.left = 0
		case k.left == 0:
			k.left = now
		}
		w.name, w.left, known[i] = k.name, k.left, k
	}
	s.known = known
}

// sameWay reports whether two paths use the same links, so that packets keep their order.
func sameWay(a, b *mesh.Path) bool { return a == b || a.Same(*b) }

// deal has as many buckets take each way as its quota says, and moves no more of them than it must.
func (s *spread) deal(quota []int, ways []outWay) {
	left := append(make([]int, 0, len(quota)), quota...)
	var free []int
	for i, name := range s.of {
		j := 0
		for j < len(ways) && ways[j].name != name {
			j++
		}
		if j == len(ways) || left[j] == 0 {
			free = append(free, i)
			continue
		}
		left[j]--
	}
	j := 0
	for _, i := range free {
		for j < len(left) && left[j] == 0 {
			j++
		}
		if j == len(left) { // no ways
			s.of[i] = 0
			continue
		}
		s.of[i] = ways[j].name
		left[j]--
	}
}

// quotas returns how many buckets are to take each way, by the method of the largest remainder. Where no way has a share, all
// take the first.
func quotas(ways []outWay) []int {
	quota, rest := make([]int, len(ways)), make([]uint64, len(ways))
	total := totalShare(ways)
	if total == 0 {
		if len(quota) > 0 {
			quota[0] = spreadBuckets
		}
		return quota
	}
	given := 0
	for i := range ways {
		part := uint64(ways[i].share) * spreadBuckets
		quota[i], rest[i] = int(part/total), part%total // #nosec G115 -- at most spreadBuckets
		given += quota[i]
	}
	for ; given < spreadBuckets; given++ {
		most := 0
		for i := range rest {
			if rest[i] > rest[most] {
				most = i
			}
		}
		quota[most]++
		rest[most] = 0
	}
	return quota
}

func totalShare(ways []outWay) (total uint64) {
	for i := range ways {
		total += uint64(ways[i].share)
	}
	return total
}
