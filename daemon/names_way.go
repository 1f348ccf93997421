package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/config"
	"x0tta6bl4/host/resolver"
)

// clean removes what an earlier life left because it was killed, but for what has been set again.
func (n *names) clean(ctx context.Context, d *Daemon) {
	for _, w := range n.stale {
		if w == n.taken() {
			continue
		}
		if err := w.Undo(ctx); err != nil {
			d.log.Error("names of an earlier life were not removed", "resolver", w.Name(), "error", err)
		}
	}
	n.stale = nil
}

// keep sets the best way that works, and finds out whether the machine's resolver knows the names then.
func (n *names) keep(ctx context.Context, d *Daemon) {
	table, err := d.nameTable()
	if err != nil {
		return // openNames has tried
	}
	var why []string
	var now way
	for _, w := range n.ways {
		if err := n.try(ctx, w, table); err != nil {
			why = append(why, w.Name()+": "+strings.ReplaceAll(err.Error(), "\n", ": "))
			continue
		}
		now = w
		break
	}
	if ctx.Err() != nil {
		return
	}
	if was := n.taken(); was != nil && was != now {
		n.undo(ctx, was, d)
	}
	known := n.status.Resolves // of this goroutine, as what follows
	if at := time.Now(); now != nil || n.taken() != nil || at.Sub(n.looked) >= othersEvery {
		known, n.looked = n.knownHere(ctx, table), at
	}
	if ctx.Err() == nil {
		n.note(now, known, why, d)
	}
}

// try sets one way. One by which the node's server is asked waits for that.
func (n *names) try(ctx context.Context, w way, table resolver.Names) error {
	if err := w.Fit(ctx); err != nil {
		return err
	}
	if w.Asks() && !n.server.Serving() {
		return errors.Join(errNoServer, n.server.Err())
	}
	return w.Set(ctx, table)
}

var errNoServer = errors.New("the node's own DNS does not answer")

func (n *names) taken() way {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

func (n *names) undo(ctx context.Context, w way, d *Daemon) {
	if err := w.Undo(ctx); err != nil {
		d.log.Error("names were not removed", "resolver", w.Name(), "error", err)
	}
}

// leave takes the names away at the end.
func (n *names) leave(ctx context.Context, d *Daemon) {
	if w := n.taken(); w != nil {
		n.undo(ctx, w, d)
	}
}

// pause is how long the resolver is left alone now.
func (n *names) pause() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.misses == 1 {
		return ownNameAgain
	}
	return resolverEvery
}

// knownHere asks the machine's resolver for this node's own name. Who answers may be another than we have told.
func (n *names) knownHere(ctx context.Context, table resolver.Names) bool {
	ctx, cancel := context.WithTimeout(ctx, ownNameTime)
	defer cancel()
	as, err := n.lookup(ctx, n.status.Name+".")
	return err == nil && slices.Contains(as, table.Server)
}

// note remembers how names are known now, and tells when that is another way than before.
func (n *names) note(now way, known bool, why []string, d *Daemon) {
	n.mu.Lock()
	was := n.status
	n.now = now
	s := &n.status
	s.Resolves, s.Note = known, ""
	if n.misses++; known {
		n.misses = 0
	}
	switch {
	case now != nil:
		s.Resolver = now.Name()
		if n.misses > 1 {
			s.Note = fmt.Sprintf("the machine's resolver does not know %s, although %s was set; getent hosts %s shows what it says, x0t doctor why",
				s.Name, now.Name(), s.Name)
		}
	case known:
		s.Resolver = api.ResolverOther
	default:
		s.Resolver, s.Note = api.ResolverNone, remedyOf(n.mode, why)
	}
	is := *s
	n.mu.Unlock()
	switch {
	case is.Resolver == was.Resolver && is.Resolves == was.Resolves && is.Note == was.Note:
	case is.Note != "":
		d.log.Warn("the machine's resolver does not know the members", "resolver", is.Resolver, "cause", is.Note)
	case is.Resolves:
		d.log.Info("the machine's resolver knows the members", "resolver", is.Resolver, "zone", is.Zone)
	}
}

// remedyOf says why there is no way, and what to do.
func remedyOf(m config.DNSMode, why []string) string {
	s := strings.Join(why, "; ")
	if strings.Contains(s, resolver.ErrForbidden.Error()) {
		return s + "; let this service set the resolver: x0t service install writes the rules for polkit"
	}
	if m == config.DNSAuto {
		return s + "; run systemd-resolved, or let x0t write /etc/hosts, or have the resolver ask the node about its zone (docs/operating.md)"
	}
	return s + "; choose another dns.mode, or auto"
}
