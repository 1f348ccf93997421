package daemon

import (
	"context"
	"fmt"
	"time"

	"x0tta6bl4/core/node"
)

// statusEvery is how often the service manager hears how the node is, at most.
const statusEvery = 10 * time.Second

// attend keeps the service manager told until ctx ends: how the node is, in the words of status, and, at half of the watchdog's time, that it
// lives. It lives if both loops answer: a process of which one hangs carries packets for a while and heals nothing, so
// it is better started anew.
func (d *Daemon) attend(ctx context.Context, status func(context.Context) string) {
	m := d.opt.Manager
	every := statusEvery
	if w := m.Watchdog(); w > 0 {
		every = min(every, w/2)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	said := ""
	for {
		if stuck := d.stuck(ctx, every); stuck == "" {
			d.tellManager(m.Alive())
			if line := status(ctx); line != "" && line != said {
				d.tellManager(m.Status(line))
				said = line
			}
		} else if ctx.Err() == nil {
			d.log.Error("a loop of the daemon does not answer; the service manager is not told that it lives", "loop", stuck, "waited", every)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// stuck returns the name of a loop that does not answer within a time, "" if both do.
func (d *Daemon) stuck(ctx context.Context, within time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if d.askFast(ctx, func(*node.Reflex) {}) != nil {
		return "fast"
	}
	if d.ask(ctx, func(*node.Control) {}) != nil {
		return "slow"
	}
	return ""
}

func (d *Daemon) statusLine(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, statusEvery)
	defer cancel()
	st, err := d.Status(ctx)
	if err != nil {
		return ""
	}
	line := fmt.Sprintf("%s of %s: %s, %d of %d links up, %d members", d.self, d.domain.Name(), st.Health, st.LinksUp, st.LinksTotal, st.Members)
	if len(st.Reasons) > 0 {
		line += "; " + st.Reasons[0]
	}
	return line
}

// tellManager notes what the service manager could not be told. There is nobody else to tell.
func (d *Daemon) tellManager(err error) {
	if err != nil {
		d.log.Warn("the service manager does not listen", "error", err)
	}
}
