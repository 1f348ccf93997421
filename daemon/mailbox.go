package daemon

import "sync"

// mailbox is an unbounded queue between two loops of this process, of which neither may ever wait for the other.
// What is put in comes from a loop that is itself bounded, so the queue is too.
type mailbox[T any] struct {
	mu    sync.Mutex
	queue []T
	ready chan struct{} // holds a token while the queue may be non-empty
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{ready: make(chan struct{}, 1)} }

// put appends values and never blocks.
func (m *mailbox[T]) put(vs ...T) {
	if len(vs) == 0 {
		return
	}
	m.mu.Lock()
	m.queue = append(m.queue, vs...)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// take returns all that is there, in order.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	vs := m.queue
	m.queue = nil
	return vs
}
