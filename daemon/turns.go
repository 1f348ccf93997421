package daemon

import (
	"context"
	"sync"

	"x0tta6bl4/mesh"
)

// turns is the queue of a worker that serves many: one job of each neighbour that brought any, then one of each again, and of one
// neighbour's jobs one about each node in the same way. So whoever brings a thousand jobs waits for the others as they wait for
// him, and a thousand about one node hold up no other node's. The lsdb bounds how many jobs one neighbour has here.
type turns struct {
	mu    sync.Mutex
	all   rota[*rota[func()]]
	ready chan struct{} // holds a token while there may be a job
}

// rota is what is queued for some names, and whose turn it is.
type rota[T any] struct {
	of    map[mesh.NodeID][]T
	order []mesh.NodeID // each name that has something, once
}

func (r *rota[T]) put(n mesh.NodeID, x T) {
	if len(r.of[n]) == 0 {
		r.order = append(r.order, n)
	}
	r.of[n] = append(r.of[n], x)
}

// take returns the next thing, and whose it was. There must be one.
func (r *rota[T]) take() (mesh.NodeID, T) {
	n := r.order[0]
	r.order = r.order[1:]
	x := r.of[n][0]
	if rest := r.of[n][1:]; len(rest) > 0 {
		r.of[n] = rest
		r.order = append(r.order, n)
	} else {
		delete(r.of, n)
	}
	return n, x
}

func newRota[T any]() rota[T] { return rota[T]{of: map[mesh.NodeID][]T{}} }

func newTurns() *turns { return &turns{all: newRota[*rota[func()]](), ready: make(chan struct{}, 1)} }

// put appends a job that a neighbour brought, about a node, and never blocks.
func (t *turns) put(by, about mesh.NodeID, job func()) {
	t.mu.Lock()
	if len(t.all.of[by]) == 0 {
		r := newRota[func()]()
		t.all.put(by, &r)
	}
	t.all.of[by][0].put(about, job)
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
	if len(t.all.order) == 0 {
		return nil
	}
	by, jobs := t.all.take()
	_, job := jobs.take()
	if len(jobs.order) > 0 {
		t.all.put(by, jobs)
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
