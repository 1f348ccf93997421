package daemon

import (
	"context"
	"sync"

	"x0tta6bl4/mesh"
)

// turns is the queue of a worker that serves many: one job of each that has any, then one of each again. So whoever has
// a thousand jobs waits for the others as they wait for him. The lsdb bounds how many jobs one neighbour has here.
type turns struct {
	mu    sync.Mutex
	jobs  map[mesh.NodeID][]func()
	order []mesh.NodeID // whose turn it is, each once
	ready chan struct{} // holds a token while there may be a job
}

func newTurns() *turns {
	return &turns{jobs: map[mesh.NodeID][]func(){}, ready: make(chan struct{}, 1)}
}

// put appends a job of one client's and never blocks.
func (t *turns) put(of mesh.NodeID, job func()) {
	t.mu.Lock()
	if len(t.jobs[of]) == 0 {
		t.order = append(t.order, of)
	}
	t.jobs[of] = append(t.jobs[of], job)
	t.mu.Unlock()
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// take returns the next job, nil if there is none.
func (t *turns) take() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		return nil
	}
	of := t.order[0]
	t.order = t.order[1:]
	job := t.jobs[of][0]
	if rest := t.jobs[of][1:]; len(rest) > 0 {
		t.jobs[of] = rest
		t.order = append(t.order, of)
	} else {
		delete(t.jobs, of)
	}
	return job
}

// work runs jobs until ctx ends.
func (t *turns) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.ready:
		}
		for job := t.take(); job != nil && ctx.Err() == nil; job = t.take() {
			job()
		}
	}
}
