package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"

	"x0tta6bl4/mesh"
)

// Limits of the shared state; what is beyond is refused with CodeTooLarge.
const (
	MaxKey   = 1 << 10 // bytes of a key, which has one at least
	MaxValue = 1 << 20 // bytes of a value
)

// ConsistencyEventual is how fresh every answer out of the shared state is: what this replica knows. Replicas that
// exchange what they have agree at last.
const ConsistencyEventual = "eventual"

// Bytes are any bytes. JSON shows printable UTF-8 as a string and all else as {"base64": "…"}.
type Bytes []byte

type base64Bytes struct {
	Base64 []byte `json:"base64"`
}

// Printable reports whether b is shown as text.
func (b Bytes) Printable() bool {
	if !utf8.Valid(b) {
		return false
	}
	return bytes.IndexFunc(b, func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsPrint(r) && r != '\n' && r != '\t'
	}) < 0
}

// MarshalJSON writes a string or an object with the one field base64.
func (b Bytes) MarshalJSON() ([]byte, error) {
	if b.Printable() {
		return json.Marshal(string(b))
	}
	return json.Marshal(base64Bytes{b})
}

// UnmarshalJSON reads either form.
func (b *Bytes) UnmarshalJSON(in []byte) error {
	if len(in) > 0 && in[0] == '"' {
		var s string
		if err := json.Unmarshal(in, &s); err != nil {
			return err
		}
		*b = Bytes(s)
		return nil
	}
	var o struct {
		Base64 *string `json:"base64"`
	}
	d := json.NewDecoder(bytes.NewReader(in))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil || o.Base64 == nil {
		return fmt.Errorf("%.40s is neither a string nor {\"base64\": \"…\"}", in)
	}
	raw, err := base64.StdEncoding.DecodeString(*o.Base64)
	if err != nil {
		return fmt.Errorf("base64 of bytes: %w", err)
	}
	*b = raw
	return nil
}

// Freshness says how much a replica can know of what others have written.
type Freshness struct {
	Consistency string `json:"consistency"` // ConsistencyEventual
	Settled     bool   `json:"settled"`     // false: it is new or emptied, has not learnt yet what others have, and does not write
	Neighbours  int    `json:"neighbours"`  // with which it exchanges state now
	Agreeing    int    `json:"agreeing"`    // of these, who last said that they hold the very same
	// Agreed is how long ago it was last known to hold what a neighbour holds; nil: never since it was opened.
	Agreed *Millis `json:"agreed_ago_ms,omitempty"`
	Held   int     `json:"held,omitempty"`  // entries from the future that wait for their time
	Aside  int     `json:"aside,omitempty"` // entries kept aside, for an operator
	// Uncovered is how many entries neighbours brought of late that are not taken: signed with SVIDs that are long over, and covered by
	// no checkpoint.
	Uncovered int `json:"uncovered,omitempty"`
}

// KVEntry is a register: a key with its value, and who wrote it when.
type KVEntry struct {
	Key    Bytes       `json:"key"`
	Value  Bytes       `json:"value,omitzero"` // nil: not asked for; an empty one is not nil
	Time   time.Time   `json:"time"`           // by the hybrid clock of its author
	Author mesh.NodeID `json:"author"`
}

// KVGet answers a read of one key; without Entry there is no value.
type KVGet struct {
	Freshness
	Entry *KVEntry `json:"entry,omitempty"`
}

// KVWritten answers a put or a delete, once it is on this node's disk.
type KVWritten struct {
	Freshness
	Time time.Time `json:"time"`
	// Revision is that of the change at this replica: a watch from here on shows what came after.
	Revision Revision `json:"revision"`
}

// KVList is a page of registers in the order of their keys. A non-nil After is where the next page goes on.
type KVList struct {
	Freshness
	Entries List[KVEntry] `json:"entries"`
	After   Bytes         `json:"after,omitempty"`
	// Revision is that of the newest change in the list: a watch from here on misses nothing.
	Revision Revision `json:"revision"`
}

// KVListRequest asks for registers whose key has a prefix and comes after another key.
type KVListRequest struct {
	Prefix, After []byte
	Limit         int  // 0: 1000
	Keys          bool // values are not wanted
}

// Revision is a place in a replica's journal, "JOURNAL.NUMBER" as text: changes are numbered from 1 in the order in which
// this replica took them. It means nothing to another replica.
type Revision string

// KVChange is what one change did to a key at this replica: a line of watch and log.
type KVChange struct {
	Revision Revision    `json:"revision"`
	Key      Bytes       `json:"key,omitzero"` // empty in a line with Reset, as are Value, Time and Author
	Value    Bytes       `json:"value,omitempty"`
	Deleted  bool        `json:"deleted,omitempty"`
	Time     time.Time   `json:"time,omitzero"`
	Author   mesh.NodeID `json:"author,omitzero"`
	Taken    time.Time   `json:"taken"` // when this replica took it, by its own clock
	// Current marks a line that is no change, but says what stands now: because it was asked for, or after a Reset.
	Current bool `json:"current,omitempty"`
	// Reset marks a line about no key: the journal has lost where this watch was. What was known of the prefix is void, for keys
	// may have been deleted; all that stands now follows, if anything does.
	Reset bool `json:"reset,omitempty"`
}

// KVWatchRequest asks for changes of keys with a prefix.
type KVWatchRequest struct {
	Prefix []byte
	From   Revision // go on behind this; empty: only what comes from now on
	// Current tells what stands now first, each line with Current set. There is no Reset before it but where From is lost.
	Current bool
}

// KVLogRequest asks for the newest changes of keys with a prefix that the journal still has.
type KVLogRequest struct {
	Prefix []byte
	Limit  int // 0: 100
}

// StateInfo says how the replica is.
type StateInfo struct {
	Freshness
	Entries  int          `json:"entries"`  // live items, deletions that are remembered among them
	Bytes    int          `json:"bytes"`    // memory that counts against the limit
	Digest   string       `json:"digest"`   // hex; replicas with the same one hold the same
	Warnings List[string] `json:"warnings"` // damage that was repaired, skew, a clock that is wrong
}

// SnapshotInfo is what a snapshot holds, from its head.
type SnapshotInfo struct {
	Domain  string      `json:"domain"`
	Node    mesh.NodeID `json:"node"` // that made it
	Time    time.Time   `json:"time"`
	Entries int         `json:"entries"`
	Digest  string      `json:"digest"`
}

// RestoreResult says what a restore did. Restoring merges: what is newer here stays.
type RestoreResult struct {
	Snapshot SnapshotInfo `json:"snapshot"`
	Taken    int          `json:"taken"`   // entries that count now and did not before
	Known    int          `json:"known"`   // that were here, or are outdone by newer ones, or are deletions that nobody remembers any more
	Refused  int          `json:"refused"` // whose signature does not match, or whose author may not write there
	Future   int          `json:"future"`  // that are dated in the future and wait for their time
	// What follows is left out though it may be valid.
	Unvouched int `json:"unvouched"` // whose author's certificate this node cannot vouch for
	Uncovered int `json:"uncovered"` // that SVIDs signed which are long over, and no checkpoint covers; an authority takes them
	Older     int `json:"older"`     // unknown here and older than deletions are remembered: set aside
	Full      int `json:"full"`      // for which there is no room: the quota of their author, or this node's memory
}

// LeftOut returns how many entries that may be valid do not count.
func (r *RestoreResult) LeftOut() int { return r.Unvouched + r.Uncovered + r.Older + r.Full }

// StateBackend is what the handlers ask of the shared state. Every method must be safe for concurrent use and return when
// its context ends. Keys that are empty or longer than MaxKey give CodeBadRequest, values longer than MaxValue
// CodeTooLarge, writes before the replica is settled or while its clock is wrong CodeUnavailable.
type StateBackend interface {
	KVGet(ctx context.Context, key []byte) (KVGet, error)
	KVPut(ctx context.Context, key, value []byte) (KVWritten, error)
	KVDelete(ctx context.Context, key []byte) (KVWritten, error)
	KVList(ctx context.Context, req KVListRequest) (KVList, error)
	// KVWatch calls emit for each change, in order, until the context ends or emit fails. A revision of another replica,
	// or one that is yet to come, is CodeBadRequest.
	KVWatch(ctx context.Context, req KVWatchRequest, emit func(KVChange) error) error
	// KVLog calls emit for each change, the oldest first.
	KVLog(ctx context.Context, req KVLogRequest, emit func(KVChange) error) error
	State(ctx context.Context) (StateInfo, error)
	// Settle has this node write though it has met no settled one. It is on disk then.
	Settle(ctx context.Context) error
	// Snapshot writes all entries with their signatures.
	Snapshot(ctx context.Context, w io.Writer) (SnapshotInfo, error)
	// Restore verifies what Snapshot wrote and merges it. Nothing of a snapshot that is torn, or of another domain, is taken.
	Restore(ctx context.Context, r io.Reader) (RestoreResult, error)
}
