package replica

import (
	"errors"
	"fmt"
	"time"
)

const closeWait = 5 * time.Second // for the disk

var errDisk = errors.New("the disk does not answer")

// Close ends all sessions, writes what is on its way to the disk, and closes the file. It waits a few seconds for a disk that does not
// answer, and tries once more one that failed; then it says what is lost: changes that neighbours have given and can give again, and
// writes that were not acknowledged.
func (r *Replica) Close() error {
	if !r.box.post(func(time.Time) { r.closed = true }) {
		return ErrClosed
	}
	<-r.ended
	r.others.Wait()
	closed := make(chan error, 1)
	go func() { closed <- r.store.Close() }()
	if errors.Is(r.lost, errDisk) {
		return r.lost
	}
	if err := <-closed; r.lost == nil {
		return err
	}
	return r.lost
}

func (r *Replica) cancelAll() {
	for _, s := range r.sessions {
		s.cancel(ErrClosed)
	}
}

// drain goes on answering, and takes nothing new, until all is on disk or it is known what is not.
func (r *Replica) drain() error {
	d := &r.disk
	d.put(r, nil, nil)
	patience := time.NewTimer(closeWait)
	defer patience.Stop()
	for again := true; len(d.flights) > 0; {
		if d.failing != nil && d.out == 0 {
			if !again {
				return fmt.Errorf("%s: %w", d.waiting(), d.failing)
			}
			again = false
			d.again(r)
		}
		select {
		case <-r.box.wake:
		case <-patience.C:
			return fmt.Errorf("%s: %w after %v", d.waiting(), errDisk, closeWait)
		}
		for _, f := range r.box.take() {
			f(r.cfg.Now())
		}
	}
	return nil
}
