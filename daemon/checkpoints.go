package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// Who has the key of an SVID that is over could sign as of then. So what such an SVID signed is new to a replica only as far as an
// authority says that it had it in time: every hour it signs, with its own key, the list of what it has of those that ended.

const (
	checkpointEvery = time.Hour
	checkpointRetry = time.Minute // after one that failed: the node is new, or its disk full; and whether there is a newer log

	// How many batches a register names: one that is written anew goes to all neighbours at once.
	checkpointBatches = 120
)

// checkpointKey is where the n-th checkpoint of an authority is kept.
func checkpointKey(n int, authority mesh.NodeID) string {
	return replica.CheckpointPrefix + strconv.Itoa(n) + "/" + authority.String()
}

// checkpointNumber is the reverse; false: it is no such key.
func checkpointNumber(key string) (int, bool) {
	number, _, _ := strings.Cut(strings.TrimPrefix(key, replica.CheckpointPrefix), "/")
	n, err := strconv.ParseUint(number, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == number
}

// checkpoints makes this authority's checkpoints, and has those of all judged anew when there is a newer log, until ctx ends.
func (d *Daemon) checkpoints(ctx context.Context, r *replica.Replica) {
	var head [32]byte // the replica may have been opened with another
	var due time.Time
	for {
		if l := d.identity.Log(); l.Head() != head && r.Relearn(ctx) == nil {
			head = l.Head()
		}
		if now := d.now(); d.identity.Authority != nil && !now.Before(due) {
			n, err := d.checkpoint(ctx, r)
			switch {
			case err == nil:
				due = now.Add(checkpointEvery)
				d.log.Debug("checkpoint of the shared state", "written", n)
			case ctx.Err() == nil:
				d.log.Debug("no checkpoint of the shared state yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkpointRetry):
		}
	}
}

// checkpoint covers what this authority has of SVIDs that are over, and returns how many registers it wrote for that.
func (d *Daemon) checkpoint(ctx context.Context, r *replica.Replica) (written int, err error) {
	c, err := r.Cover(ctx)
	if err != nil {
		return 0, err
	}
	have := map[int][][32]byte{}
	for key, batches := range c.Own {
		if n, ok := checkpointNumber(key); ok {
			have[n] = batches
		}
	}
	anew := distribute(have, c.Over)
	for _, n := range slices.Sorted(maps.Keys(anew)) {
		value, err := d.identity.Authority.Checkpoint(anew[n])
		if err == nil {
			_, err = r.Put(ctx, []byte(checkpointKey(n, d.self)), value)
		}
		if err != nil {
			return written, fmt.Errorf("checkpoint %d: %w", n, err)
		}
		written++
	}
	return written, nil
}

// distribute returns which checkpoints are to be written anew, and with which batches, so that all that are wanted are in one of them. It
// writes little: batches are added to the last one, and to such as are half empty; one of which nothing is wanted any more is emptied.
func distribute(have map[int][][32]byte, want [][32]byte) map[int][][32]byte {
	wanted := make(map[[32]byte]bool, len(want))
	for _, b := range want {
		wanted[b] = true
	}
	left, last := map[int][][32]byte{}, 0
	for _, n := range slices.Sorted(maps.Keys(have)) {
		for _, b := range have[n] {
			if wanted[b] {
				left[n] = append(left[n], b)
				delete(wanted, b)
			}
		}
		last = n
	}
	missing := slices.DeleteFunc(slices.Clone(want), func(b [32]byte) bool { return !wanted[b] })
	anew := map[int][][32]byte{}
	for n := 0; len(missing) > 0; n++ {
		room := checkpointBatches - len(left[n])
		if n >= last && room > 0 || room >= checkpointBatches/2 {
			some := min(room, len(missing))
			anew[n] = slices.Concat(left[n], missing[:some])
			missing = missing[some:]
		}
	}
	for n := range have {
		if len(have[n]) > 0 && len(left[n]) == 0 && anew[n] == nil {
			anew[n] = [][32]byte{}
		}
	}
	return anew
}

// checkpoint returns the batches that what a member wrote as a checkpoint covers: an authority's only.
func (m *Membership) checkpoint(author mesh.NodeID, value []byte) ([][32]byte, error) {
	l := m.Log()
	if _, ok := l.Authority(author); !ok {
		return nil, fmt.Errorf("%w: %s wrote it", trust.ErrCheckpointAuthority, author)
	}
	return l.Covers(value)
}
