package flow

import "time"

// Configure makes the flow do from now on what it would do if it had been made with cfg.
func (f *Flow) Configure(now time.Time, cfg Config) {
	if cfg == f.cfg {
		return
	}
	f.cfg = cfg
	if !cfg.Protect {
		f.pair, f.kept, f.hot, f.hotUntil = nil, nil, false, time.Time{}
	}
	if cfg.Spread == SpreadOff {
		f.gather(now)
		for _, r := range f.routes {
			r.eased = false
		}
	}
	f.choose(now)
}
