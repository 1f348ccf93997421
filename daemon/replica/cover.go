package replica

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// CheckpointPrefix begins the registers in which authorities keep their checkpoints: signed lists of the batches that they had in time,
// each under a key that ends in the authority's name. Such a register proves itself, whatever became of the SVID that wrote it; so it is
// signed alone.
const CheckpointPrefix = OwnPrefix + "checkpoint/"

// cover is the batches that checkpoints here name.
type cover struct {
	of  map[string][][32]byte // by key of the register; those that count only
	all map[[32]byte]int      // in how many of them
}

// put takes note of what a register says now, and returns what nothing covered before. Without batches and ok it says nothing.
func (c *cover) put(key string, batches [][32]byte, ok bool) (fresh [][32]byte) {
	if c.of == nil {
		c.of, c.all = map[string][][32]byte{}, map[[32]byte]int{}
	}
	for _, b := range batches {
		if c.all[b]++; c.all[b] == 1 {
			fresh = append(fresh, b)
		}
	}
	for _, b := range c.of[key] {
		if c.all[b]--; c.all[b] == 0 {
			delete(c.all, b)
		}
	}
	if delete(c.of, key); ok {
		c.of[key] = batches
	}
	return fresh
}

// covered says whether a checkpoint here names a batch.
func (r *Replica) covered(batch [32]byte) bool { return r.cover.all[batch] > 0 }

// proves says whether an entry is a checkpoint that counts.
func (r *Replica) proves(w crdt.Write, value []byte) bool {
	if w.Kind != wire.EntryRegister || w.Gone || !isCheckpoint(w.Key) {
		return false
	}
	_, err := r.checkpoint(w.Author, value)
	return err == nil
}

func isCheckpoint(key []byte) bool { return bytes.HasPrefix(key, []byte(CheckpointPrefix)) }

// checkpoint returns what a register says that is kept where checkpoints are.
func (r *Replica) checkpoint(author mesh.NodeID, value []byte) ([][32]byte, error) {
	if r.cfg.Checkpoint == nil {
		return nil, errNoCheckpoint
	}
	return r.cfg.Checkpoint(author, value)
}

var errNoCheckpoint = errors.New("no checkpoint counts here")

// note takes note of a register that may be a checkpoint: what it covers is fetched if it was refused.
func (r *Replica) note(now time.Time, key []byte, author mesh.NodeID, value []byte) {
	if !isCheckpoint(key) {
		return
	}
	batches, err := r.checkpoint(author, value)
	if err != nil {
		r.told.count("checkpoints_refused")
		r.cfg.Log.Debug("shared state: a checkpoint does not count", "of", author, "err", err)
	}
	r.sync.Covered(now, r.cover.put(string(key), batches, err == nil))
}

// learn takes note of what checkpoints say after changes.
func (r *Replica) learn(now time.Time, changes []crdt.Change) {
	for i := range changes {
		if c := &changes[i]; c.Kind == wire.EntryRegister {
			r.note(now, c.Key, c.Value.Dot.Author, c.Value.Bytes)
		}
	}
}

// relearn looks at all checkpoints that are here.
func (r *Replica) relearn(now time.Time) {
	r.cover = cover{}
	r.state.List([]byte(CheckpointPrefix), nil, func(key []byte, v crdt.Value) bool {
		r.note(now, key, v.Dot.Author, v.Bytes)
		return true
	})
}

// Relearn looks at all checkpoints again: after the authorities of the domain have changed.
func (r *Replica) Relearn(ctx context.Context) error {
	return r.do(ctx, r.relearn)
}

// Cover is what an authority is to sign, and what it has signed.
type Cover struct {
	Over [][32]byte            // batches here whose SVID is over, but for checkpoints, ascending
	Own  map[string][][32]byte // batches that this node's checkpoints name, by key
}

// Cover returns what checkpoints of this node are to cover, and do.
func (r *Replica) Cover(ctx context.Context) (Cover, error) {
	chains := map[[32]byte][]byte{}
	if err := r.do(ctx, func(time.Time) { maps.Copy(chains, r.chains.kept) }); err != nil {
		return Cover{}, err
	}
	over, now := map[[32]byte]bool{}, r.cfg.Now()
	for svid, raw := range chains { // outside the loop: there may be many
		if chain, err := wire.ParseChain(raw); err == nil {
			end := r.ends(chain)
			over[svid] = !end.IsZero() && now.After(end)
		}
	}
	var c Cover
	err := r.do(ctx, func(time.Time) {
		c.Over = r.state.Batches(func(svid [32]byte) bool { return over[svid] }, func(key []byte) bool {
			_, counts := r.cover.of[string(key)]
			return counts
		})
		c.Own = maps.Clone(r.cover.of)
		maps.DeleteFunc(c.Own, func(key string, _ [][32]byte) bool { return !strings.HasSuffix(key, "/"+r.cfg.Self.String()) })
	})
	slices.SortFunc(c.Over, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	return c, err
}

// ends returns until when an SVID is current; zero: for ever.
func (r *Replica) ends(chain [][]byte) time.Time {
	if r.cfg.Ends == nil {
		return time.Time{}
	}
	return r.cfg.Ends(chain)
}
