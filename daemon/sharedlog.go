package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
	"x0tta6bl4/wire/trust"
)

// The authority log reaches members by the shared state: each authority puts the newest that it has under its own name, and
// every node follows those of the authorities that it knows, by the rules by which it follows the one of a renewal. A node
// that has no session yet gets it from the authority itself (host/authority).

const (
	logPrefix = replica.OwnPrefix + "authority-log/"

	logRetry = 5 * time.Second // after a put that failed: the node is new, or its disk full
	logCheck = time.Minute     // whether there is a newer log to put
)

// isVital says for which keys the shared state keeps room: without a newer authority log the mesh cannot go on, and what operators share
// may be what it takes to have it go on.
func isVital(key []byte) bool {
	return bytes.HasPrefix(key, []byte(logPrefix)) || bytes.HasPrefix(key, []byte(configPrefix))
}

func logKey(n mesh.NodeID) []byte { return []byte(logPrefix + n.String()) }

// mayWrite is the policy of the shared state: of the mesh's own keys everybody writes those registers that end in its name, and no
// other. It goes by what an entry says alone, so that all replicas judge alike, and takes prefixes that only a later version knows: who
// refused them would never agree with who has them. They count against the quota of who wrote them, as all keys do.
func mayWrite(w crdt.Write) error {
	if !replica.Own(w.Key) || w.Kind == wire.EntryRegister && bytes.HasSuffix(w.Key, []byte("/"+w.Author.String())) {
		return nil
	}
	return fmt.Errorf("%.80q is the mesh's own, and not %s's", w.Key, w.Author)
}

// publishLog keeps this authority's log in the shared state until ctx ends.
func (d *Daemon) publishLog(ctx context.Context, r *replica.Replica) {
	var done [32]byte
	for {
		wait := logCheck
		if l := d.identity.Log(); l.Head() != done {
			err := putLog(ctx, r, d.self, l)
			if err == nil {
				done = l.Head()
			} else {
				wait = logRetry
				d.log.Debug("the authority log is not in the shared state yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// putLog puts a log under the name of an authority unless it is there.
func putLog(ctx context.Context, r *replica.Replica, self mesh.NodeID, l *trust.Log) error {
	is, err := r.Get(ctx, logKey(self))
	if err != nil || is != nil && bytes.Equal(is.Value, l.Bytes()) {
		return err
	}
	_, err = r.Put(ctx, logKey(self), l.Bytes())
	return err
}

// followLogs takes up newer logs as they come, until ctx ends.
func (d *Daemon) followLogs(ctx context.Context, r *replica.Replica) {
	d.following.keep(ctx, d.log, "authority logs", func() error {
		return r.Subscribe(ctx, []byte(logPrefix), func(c api.KVChange) error {
			d.logChanged(ctx, r, c)
			return nil
		})
	})
}

// logChanged looks at what an authority wrote. What other members write there is not looked at.
func (d *Daemon) logChanged(ctx context.Context, r *replica.Replica, c api.KVChange) {
	if _, ok := d.identity.Log().Authority(c.Author); ok && !c.Deleted {
		d.followAll(ctx, r)
	}
}

// followAll looks at the logs of all authorities, and again at those of all that the newest one names.
func (d *Daemon) followAll(ctx context.Context, r *replica.Replica) {
	for again := true; again && ctx.Err() == nil; {
		again = false
		for _, a := range d.identity.Log().Authorities() {
			e, err := r.Get(ctx, logKey(a.Node))
			if err != nil || e == nil {
				continue
			}
			newer, err := d.identity.follow(e.Value)
			switch {
			case err == nil:
				again = again || newer
				if newer {
					d.log.Info("newer authority log", "of", a.Node, "entries", d.identity.Log().Len())
				}
			case errors.Is(err, trust.ErrLogForked):
				d.warn("authority log of " + a.Node.String() + " in the shared state: " + err.Error())
				fallthrough
			default:
				d.log.Error("authority log in the shared state refused", "of", a.Node, "error", err)
			}
		}
	}
}

// follow takes up a log of the own domain if it continues the known one, and reports whether it did. One that is older is no
// error.
func (m *Membership) follow(raw []byte) (newer bool, err error) {
	known := m.Log()
	if bytes.Equal(raw, known.Bytes()) {
		return false, nil
	}
	l, err := trust.ParseLog(raw)
	if err == nil {
		err = l.Verify(m.Domain, known.DomainKey())
	}
	if err == nil {
		err = m.adopt(l)
	}
	if errors.Is(err, trust.ErrLogRollback) {
		return false, nil
	}
	return err == nil && l.Head() != known.Head(), err
}
