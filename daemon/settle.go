package daemon

import (
	"context"
	"runtime/debug"
	"time"
)

// startTime is how long after the start of a daemon what it does is that of its start.
const startTime = 10 * time.Second

// settle gives the heap back, once, that only the start needed.
func (d *Daemon) settle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(startTime):
		debug.FreeOSMemory()
	}
}
