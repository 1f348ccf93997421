package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// Bounds of a list of decrees.
const (
	mostDecrees     = 1000
	mostDecreeBytes = 4 << 20
	decreePage      = 5000 // keys that are looked at at a time

	// mostOwnBytes is how much one authority may decree, each decree counted with what the replica counts besides its bytes. Of the 1 MiB
	// that it may have of vital keys that leaves room for the largest authority log.
	mostOwnBytes   = 768 << 10
	decreeOverhead = 256
)

// decrees are what authorities tell all nodes about one topic: registers of the shared state whose keys are x0t/TOPIC/NAME/AUTHOR. Any
// member may write such under its own name (mayWrite), so that all replicas hold the same; what of it counts is settled by who
// reads: of one name, the newest by those that are authorities in the log now. What others wrote counts nowhere.
//
// What is taken back is no deletion, but a newer value that says so: a deletion is forgotten some day, and uncovers what another
// authority wrote before.
type decrees struct {
	prefix  string // x0t/TOPIC/
	log     func() *trust.Log
	ignored atomic.Uint64 // changes by others
}

// decree is the newest value of a name.
type decree struct {
	value  []byte
	author mesh.NodeID
	at     mesh.Hybrid
}

func decreesOn(topic string, log func() *trust.Log) *decrees {
	return &decrees{prefix: replica.OwnPrefix + topic + "/", log: log}
}

func (t *decrees) key(name string, author mesh.NodeID) []byte {
	return []byte(t.prefix + name + "/" + author.String())
}

// name returns the name in a key that author wrote.
func (t *decrees) name(key []byte, author mesh.NodeID) (string, bool) {
	rest, ok := bytes.CutPrefix(key, []byte(t.prefix))
	if !ok {
		return "", false
	}
	name, ok := bytes.CutSuffix(rest, []byte("/"+author.String()))
	return string(name), ok
}

// counts reports whether what a node writes counts.
func (t *decrees) counts(author mesh.NodeID) bool {
	_, ok := t.log().Authority(author)
	return ok
}

// newest returns what counts of a name, nil if nothing does.
func (t *decrees) newest(ctx context.Context, r *replica.Replica, name string) (*decree, error) {
	var best *decree
	for _, a := range t.log().Authorities() {
		e, at, err := r.Dated(ctx, t.key(name, a.Node))
		if err != nil {
			return nil, err
		}
		if e != nil && e.Author == a.Node {
			best = newer(best, &decree{e.Value, e.Author, at})
		}
	}
	return best, nil
}

// newer returns the newer of two decrees of one name. An authority's is later than all that it had seen, but maybe by less than a
// millisecond: where another's clock is ahead. Of two of the same time all nodes take the same.
func newer(a, b *decree) *decree {
	if a == nil || cmp.Or(cmp.Compare(b.at, a.at), b.author.Compare(a.author)) > 0 {
		return b
	}
	return a
}

// put writes a decree of this node's, which must be an authority.
func (t *decrees) put(ctx context.Context, r *replica.Replica, self mesh.NodeID, name string, value []byte) (api.KVWritten, error) {
	if !t.counts(self) {
		return api.KVWritten{}, api.Errorf(api.CodeNotAuthority, "%s is no authority of the domain, so what it writes would count nowhere", self).
			With("do it on %s", t.authorities())
	}
	if len(value) > 0 {
		if err := t.room(ctx, r, self, name, value); err != nil {
			return api.KVWritten{}, err
		}
	}
	return r.Put(ctx, t.key(name, self), value)
}

// room refuses a value with which this node would have decreed too much.
func (t *decrees) room(ctx context.Context, r *replica.Replica, self mesh.NodeID, name string, value []byte) error {
	size := decreeOverhead + len(t.key(name, self)) + len(value)
	err := t.walk(ctx, r, func(key []byte, author mesh.NodeID) error {
		if n, ok := t.name(key, author); !ok || n == name || author != self {
			return nil
		}
		e, err := r.Get(ctx, key)
		if e != nil {
			size += decreeOverhead + len(key) + len(e.Value)
		}
		return err
	})
	if err == nil && size > mostOwnBytes {
		err = api.Errorf(api.CodeTooLarge, "with this %s would have shared %d bytes, more than %d", self, size, mostOwnBytes).
			With("take something back that it shared; x0t config shared lists it")
	}
	return err
}

// authorities names those whose decrees count.
func (t *decrees) authorities() string {
	var names []string
	for _, a := range t.log().Authorities() {
		names = append(names, a.Node.String())
	}
	return strings.Join(names, " or ")
}

// follow calls changed for every change that counts, and for what stands at the beginning, until ctx ends.
func (t *decrees) follow(ctx context.Context, r *replica.Replica, changed func(name string, c api.KVChange)) error {
	return r.Subscribe(ctx, []byte(t.prefix), func(c api.KVChange) error {
		switch name, ok := t.name(c.Key, c.Author); {
		case ok && t.counts(c.Author):
			changed(name, c)
		default:
			t.ignored.Add(1)
		}
		return nil
	})
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// list returns what counts, by name; how many registers do not; and whether there are more than the list may have.
func (t *decrees) list(ctx context.Context, r *replica.Replica) (all map[string]*decree, ignored int, more bool, err error) {
	all = map[string]*decree{}
	size := 0
	err = t.walk(ctx, r, func(key []byte, author mesh.NodeID) error {
		name, ok := t.name(key, author)
		if !ok || !t.counts(author) {
			ignored++
			return nil
		}
		if len(all) == mostDecrees && all[name] == nil || size > mostDecreeBytes {
			return errEnough
		}
		e, at, err := r.Dated(ctx, key)
		if err == nil && e != nil && e.Author == author {
			all[name] = newer(all[name], &decree{e.Value, e.Author, at})
			size += len(e.Value)
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return all, ignored, true, nil
	}
	return all, ignored, false, err
}

// walk calls each with the key of every register of the topic, without their values: of those that count for nothing there may be many.
func (t *decrees) walk(ctx context.Context, r *replica.Replica, each func(key []byte, author mesh.NodeID) error) error {
	req := api.KVListRequest{Prefix: []byte(t.prefix), Limit: decreePage, Keys: true}
	for {
		page, err := r.KVList(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := each(e.Key, e.Author); err != nil {
				return err
			}
		}
		if page.After == nil {
			return nil
		}
		req.After = page.After
	}
}
