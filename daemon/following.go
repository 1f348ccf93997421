package daemon

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// followRetry is how long after a failure something of the shared state is followed again, and for how long it must be for all to be well.
const followRetry = 5 * time.Second

// following is what this node follows in the shared state and cannot read at present. The zero value is ready.
type following struct {
	mu    sync.Mutex
	fails map[string]error // by what it is
}

// keep calls follow, which returns only when it fails or ctx ends, again and again until ctx ends.
func (f *following) keep(ctx context.Context, log *slog.Logger, what string, follow func() error) {
	for ctx.Err() == nil {
		ended := make(chan error, 1)
		go func() { ended <- follow() }()
		var err error
		select {
		case err = <-ended:
		case <-time.After(followRetry):
			f.note(log, what, nil)
			err = <-ended
		}
		if ctx.Err() != nil {
			return
		}
		f.note(log, what, err)
		select {
		case <-ctx.Done():
		case <-time.After(followRetry):
		}
	}
}

// note remembers how it went with something, and says it when it is news.
func (f *following) note(log *slog.Logger, what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.fails[what]
	if err == nil {
		if delete(f.fails, what); was != nil {
			log.Info("the shared state is followed again", "what", what)
		}
		return
	}
	if was == nil || was.Error() != err.Error() {
		log.Error("the shared state is not followed", "what", what, "error", err, "next_try_in", followRetry.String())
	}
	if f.fails == nil {
		f.fails = map[string]error{}
	}
	f.fails[what] = err
}

// troubles says what an operator should know of it.
func (f *following) troubles() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(f.fails)) {
		all = append(all, what+" in the shared state cannot be followed; what changes there has no effect here: "+f.fails[what].Error())
	}
	return all
}
