package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// maxTold is how many values that cannot be taken up the log names.
const maxTold = 256

// tuning is the part of the configuration that changes while the daemon runs.
type tuning struct {
	*decrees
	look    chan struct{}         // holds a token while there may be news
	now     atomic.Pointer[tuned] // nil: what the file says
	changes atomic.Uint64         // of keys

	mu   sync.Mutex
	told map[string]bool // values that the log has named
}

func newTuning(log func() *trust.Log) tuning {
	return tuning{decrees: decreesOn(configTopic, log), look: make(chan struct{}, 1), told: map[string]bool{}}
}

// news has the loop look at what is shared.
func (t *tuning) news() {
	select {
	case t.look <- struct{}{}:
	default:
	}
}

// tuned returns the configuration in effect.
func (d *Daemon) tuned() *tuned {
	if t := d.tuning.now.Load(); t != nil {
		return t
	}
	return tune(d.self, d.opt.Config, d.opt.Given, nil)
}

// configured returns the configuration in effect, without where it is from.
func (d *Daemon) configured() config.Config {
	if t := d.tuning.now.Load(); t != nil {
		return t.Config
	}
	return d.opt.Config
}

// tuneLoop follows what nodes share of their configuration until ctx ends.
func (d *Daemon) tuneLoop(ctx context.Context, r *replica.Replica) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		d.following.keep(ctx, d.log, "changes of the configuration", func() error { return d.tuning.follow(ctx, r, d.settingChanged) })
	})
	d.following.keep(ctx, d.log, "the configuration", func() error { return d.retuneLoop(ctx, r) })
}

// retuneLoop takes up what is shared whenever there may be news, until it cannot be read or ctx ends.
func (d *Daemon) retuneLoop(ctx context.Context, r *replica.Replica) error {
	for {
		if err := d.retune(ctx, r); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.tuning.look:
		}
	}
}

// settingChanged has the loop look at what changed for this node, or says that this version cannot.
func (d *Daemon) settingChanged(name string, c api.KVChange) {
	key, n, ok := parseSetting(name)
	if !ok || !n.IsZero() && n != d.self {
		return // of others, or of those whom a later version knows
	}
	if err := config.CheckShareable(key); err != nil {
		if len(c.Value) > 0 {
			d.tellSetting(api.ConfigSetting{Key: key, Node: n, Author: c.Author, Time: c.Time, Note: cannot(err)})
		}
		return
	}
	d.tuning.news()
}

// tellSetting logs once that a value is not taken up.
func (d *Daemon) tellSetting(s api.ConfigSetting) {
	t := &d.tuning
	id := fmt.Sprintf("%s/%s/%s/%d", s.Key, s.Node, s.Author, s.Time.UnixMilli())
	t.mu.Lock()
	known := t.told[id] || len(t.told) >= maxTold
	if !known {
		t.told[id] = true
	}
	t.mu.Unlock()
	if !known {
		d.log.Warn("a shared value of the configuration is ignored", "key", s.Key, "by", s.Author, "cause", s.Note)
	}
}

// retune reads what is shared for this node and takes it up.
func (d *Daemon) retune(ctx context.Context, r *replica.Replica) error {
	shared := map[string]*decree{}
	for _, key := range config.Shareable() {
		for _, n := range []mesh.NodeID{{}, d.self} {
			name := settingName(key, n)
			newest, err := d.tuning.newest(ctx, r, name)
			if err != nil {
				return err
			}
			shared[name] = newest
		}
	}
	next := tune(d.self, d.opt.Config, d.opt.Given, shared)
	for _, s := range next.bad {
		d.tellSetting(s)
	}
	d.takeUp(next)
	return nil
}

// takeUp makes a configuration the one in effect. Only the loop that calls retune calls it.
func (d *Daemon) takeUp(next *tuned) {
	was := d.configured()
	d.tuning.now.Store(next)
	quieter := next.Log.Level > was.Log.Level
	if d.opt.Relog != nil && !quieter {
		d.opt.Relog(next.Log)
	}
	d.sayChanges(was, next)
	if d.opt.Relog != nil && quieter { // what changed is said first
		d.opt.Relog(next.Log)
	}
	if a := d.identity.Authority; a != nil && next.Identity.TTL != was.Identity.TTL {
		ttl, err := issuingTTL(d.store.Dir, next.Config)
		if err == nil {
			err = a.SetTTL(ttl)
		}
		if err != nil {
			d.log.Error("the life of SVIDs stays as it was", "error", err)
		}
	}
	d.reroute(was.Routing, next.Routing)
}

// sayChanges logs what has another value than before, and why.
func (d *Daemon) sayChanges(was config.Config, next *tuned) {
	for _, key := range slices.Sorted(maps.Keys(next.keys)) {
		before, now := was.Value(key), next.Value(key)
		if before == now {
			continue
		}
		d.tuning.changes.Add(1)
		o := next.keys[key]
		by := o.last
		if o.shared != nil {
			by = o.shared.Author
		}
		d.log.Info("the configuration changed", "key", key, "from", before, "to", now, "source", o.source, "by", by)
	}
}
