package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/host/disk"
)

// How the state directory is looked after.
const (
	stateCheck = 5 * time.Second
	stateLow   = 1 << 20 // bytes free; a node writes some ten kilobytes, and the next one to write may be another program
	spaceKey   = ""      // under which the file system's own trouble is kept, which no file's name is
)

// keeper is the state directory together with what could not be written to it. Whoever writes is told himself; the
// keeper makes it known to the operator, for as long as it lasts. Safe for concurrent use.
type keeper struct {
	*disk.Dir

	mu       sync.Mutex
	log      *slog.Logger      // nil = silent
	troubles map[string]string // by file: why its last write failed
	waiting  map[string][]byte // files that are written as soon as that is possible
}

func newKeeper(d *disk.Dir) *keeper {
	return &keeper{Dir: d, troubles: map[string]string{}, waiting: map[string][]byte{}}
}

// Write is disk.Dir's, and notes how it went.
func (k *keeper) Write(name string, b []byte) error {
	err := k.Dir.Write(name, b)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.waiting, name) // older than b
	k.note(name, err)
	return err
}

// Keep writes b now or, if that fails, as soon as Look finds that it can be. Of several that wait for one name the last
// is written.
func (k *keeper) Keep(name string, b []byte) {
	err := k.Write(name, b)
	if err == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting[name] = b
}

// note remembers a trouble or its end; it is called with mu held.
func (k *keeper) note(name string, err error) {
	was, had := k.troubles[name]
	if err == nil {
		delete(k.troubles, name)
		if had && k.log != nil {
			k.log.Info("the state can be written again", "file", name, "state", k.Path())
		}
		return
	}
	if k.troubles[name] = err.Error(); k.troubles[name] != was && k.log != nil {
		k.log.Error("the state cannot be written", "file", name, "error", err)
	}
}

// Troubles says what of the state could not be written, sorted by file.
func (k *keeper) Troubles() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(k.troubles)) {
		all = append(all, k.troubles[name])
	}
	return all
}

// Look finds out how the state directory is: whether there is room, and, where a write failed, whether one would succeed
// now. If so it writes what waits. The troubles of files for which nothing waits end with that: whoever wrote them was
// told and tries again himself.
func (k *keeper) Look() {
	space, err := k.Space()
	switch {
	case err != nil:
	case space.ReadOnly:
		err = fmt.Errorf("%w: %s: the file system is mounted read-only; mount it writable", disk.ErrUnwritable, k.Path())
	case space.Free < stateLow:
		err = fmt.Errorf("the file system of %s has less than %d KiB left; free some space", k.Path(), stateLow>>10)
	}
	k.mu.Lock()
	k.note(spaceKey, err)
	failed := len(k.troubles) > 0 && !(len(k.troubles) == 1 && err != nil)
	waiting := maps.Clone(k.waiting)
	k.mu.Unlock()
	if !failed || k.Probe() != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		k.retry(name, waiting[name])
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(k.troubles)) {
		if _, waits := k.waiting[name]; !waits && name != spaceKey {
			k.note(name, nil)
		}
	}
}

// retry writes b unless something newer was written or waits meanwhile.
func (k *keeper) retry(name string, b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now, waits := k.waiting[name]; !waits || string(now) != string(b) {
		return
	}
	err := k.Dir.Write(name, b)
	if err == nil {
		delete(k.waiting, name)
	}
	k.note(name, err)
}

// stateLoop looks after the state directory until ctx ends.
func (d *Daemon) stateLoop(ctx context.Context) {
	t := time.NewTicker(stateCheck)
	defer t.Stop()
	for d.store.Look(); ; d.store.Look() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// flush does what was still queued when the loops ended, so that no write is lost by an end in order.
func (d *Daemon) flush() {
	for _, job := range d.jobs.take() {
		job()
	}
	d.store.Look()
}
