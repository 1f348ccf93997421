package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Bounds of the journal; beyond, the oldest changes give way.
const (
	maxChanges     = 100_000
	maxChangeBytes = 64 << 20
	maxLine        = 2 << 20 // a store's value holds one line
	stands         = "now"   // in place of a number
	changeOverhead = 64      // what a change is counted with besides key and value
)

// change is one change of a register.
type change struct {
	key, value []byte
	gone, void bool // void: it was given up before it was on disk
	at         mesh.Hybrid
	author     mesh.NodeID
	taken      int64 // Unix ms
}

func (c *change) size() int { return len(c.key) + len(c.value) + changeOverhead }

// journal is the last changes of registers in the order in which this replica took them, numbered from 1. It is safe for concurrent use:
// the loop adds, watchers read. A change is shown when it is on disk, so that a number never stands for two.
//
// Invariant: changes[i] has the number first+i; lines cover all of them without gaps.
type journal struct {
	mu      *sync.Mutex
	self    uint32 // of the node: revisions of another are told apart
	name    uint64 // of this journal
	first   uint64
	changes []change
	lines   []line
	bytes   int
	durable uint64 // the newest number that is on disk
	room    int    // changes
	wake    chan struct{}
}

// line is changes that are on disk under one key.
type line struct {
	first   uint64
	n, size int
}

func newJournal(self mesh.NodeID, name uint64) journal {
	h := wire.LeafHash([]byte(self.String()))
	return journal{mu: new(sync.Mutex), self: binary.BigEndian.Uint32(h[:]), name: name, first: 1, wake: make(chan struct{}), room: maxChanges}
}

func lineKey(first uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'L'}, first) }

// add appends changes of registers and returns the lines that are to be written, then what removes the oldest, and the number of the
// first change.
func (j *journal) add(now time.Time, cs []crdt.Change) (lines, over []store.Pair, first uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	first = j.end()
	begin := len(j.changes)
	for i := range cs {
		if cs[i].Kind == wire.EntryRegister {
			j.changes = append(j.changes, change{
				key: cs[i].Key, value: cs[i].Value.Bytes, gone: cs[i].Gone,
				at: cs[i].Value.Time, author: cs[i].Value.Dot.Author, taken: now.UnixMilli(),
			})
		}
	}
	for rest := j.changes[begin:]; len(rest) > 0; {
		n, size := 0, 0
		for ; n < len(rest) && (n == 0 || size+rest[n].size() < maxLine); n++ {
			size += rest[n].size()
		}
		lines = append(lines, store.Pair{Key: lineKey(j.lined()), Value: appendLine(nil, rest[:n])})
		j.enter(n, size)
		rest = rest[n:]
	}
	return lines, j.trim(), first
}

// end returns the number of the next change; lined the first that no line covers.
func (j *journal) end() uint64 { return j.first + uint64(len(j.changes)) }

func (j *journal) lined() uint64 {
	if len(j.lines) == 0 {
		return j.first
	}
	last := j.lines[len(j.lines)-1]
	return last.first + uint64(last.n)
}

func (j *journal) enter(n, size int) {
	j.lines = append(j.lines, line{j.lined(), n, size})
	j.bytes += size
}

// trim gives up the oldest lines.
func (j *journal) trim() (pairs []store.Pair) {
	n, lines := 0, 0
	for len(j.lines)-lines > 1 && (len(j.changes)-n > j.room || j.bytes > maxChangeBytes) {
		l := j.lines[lines]
		pairs = append(pairs, store.Pair{Key: lineKey(l.first)})
		j.bytes -= l.size
		n, lines = n+l.n, lines+1
	}
	clear(j.changes[:n]) // or what is behind would keep their values
	j.changes, j.lines = j.changes[n:], j.lines[lines:]
	j.first += uint64(n)
	return pairs
}

// void takes back the changes of one line that are not written. If they are the newest, their numbers are given again: nothing on disk
// would tell after a restart that they were given.
func (j *journal) void(first, n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if last := len(j.lines) - 1; n > 0 && last >= 0 && j.lines[last].first == first && first+n == j.end() {
		clear(j.changes[first-j.first:])
		j.changes = j.changes[:first-j.first]
		j.bytes -= j.lines[last].size
		j.lines = j.lines[:last]
		return
	}
	for i := max(first, j.first); i < first+n && i < j.end(); i++ {
		j.changes[i-j.first] = change{void: true}
	}
}

// newest returns the number of the last change that was added.
func (j *journal) newest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.end() - 1
}

// landed notes that all changes up to one are on disk, as far as they were not taken back.
func (j *journal) landed(upTo uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if upTo = min(upTo, j.end()-1); upTo > j.durable {
		j.durable = upTo
		close(j.wake)
		j.wake = make(chan struct{})
	}
}

// entry is a change with its number.
type entry struct {
	n uint64
	change
}

// after returns up to some changes behind a number whose key has a prefix, and where to go on from. If there is none, wake is
// closed when there may be one. lost: the journal does not have all of them any more.
func (j *journal) after(at uint64, prefix []byte, some int) (es []entry, to uint64, wake <-chan struct{}, lost bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if at+1 < j.first {
		return nil, at, nil, true
	}
	for to = at; to < j.durable && len(es) < some; to++ {
		if c := &j.changes[to+1-j.first]; !c.void && hasPrefix(c.key, prefix) {
			es = append(es, entry{to + 1, *c})
		}
	}
	return es, to, j.wake, false
}

// last returns the newest changes whose key has a prefix, the oldest of them first.
func (j *journal) last(prefix []byte, some int) (es []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for n := j.durable; n >= j.first && len(es) < some; n-- {
		if c := &j.changes[n-j.first]; !c.void && hasPrefix(c.key, prefix) {
			es = append(es, entry{n, *c})
		}
	}
	slices.Reverse(es)
	return es
}

func hasPrefix(key, prefix []byte) bool {
	return len(key) >= len(prefix) && string(key[:len(prefix)]) == string(prefix)
}

// shown returns the number of the newest change on disk.
func (j *journal) shown() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

func (j *journal) revision(n uint64) api.Revision {
	return api.Revision(fmt.Sprintf("%08x%016x.%d", j.self, j.name, n))
}

// standing returns the revision of what is told though it is no change: a watch from there begins with what stands.
func (j *journal) standing() api.Revision {
	return api.Revision(fmt.Sprintf("%08x%016x.%s", j.self, j.name, stands))
}

// What is wrong with a revision.
var (
	errRevision = errors.New("not a revision of this replica: those of others mean nothing here")
	errYetTo    = errors.New("a revision that is yet to come")
)

// parse reads a revision. lost: it is of an earlier journal of this replica, or of none.
func (j *journal) parse(rev api.Revision) (n uint64, lost bool, err error) {
	name, number, _ := strings.Cut(string(rev), ".")
	if number != stands {
		n, err = strconv.ParseUint(number, 10, 64)
	}
	id, idErr := strconv.ParseUint(name[min(8, len(name)):], 16, 64)
	switch {
	case err != nil || idErr != nil || len(name) != 24 || name[:8] != fmt.Sprintf("%08x", j.self):
		return 0, false, fmt.Errorf("%.64q: %w", string(rev), errRevision)
	case id != j.name || number == stands:
		return 0, true, nil
	case n > j.shown():
		return 0, false, fmt.Errorf("%s: %w", rev, errYetTo)
	}
	return n, false, nil
}
