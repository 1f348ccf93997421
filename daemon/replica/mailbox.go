package replica

import (
	"sync"
	"time"
)

// mailbox is what others want the loop to do. To put something in never waits, since the store must not wait for a loop that
// may wait for it: what is in it is bounded by how much each of them has out.
type mailbox struct {
	mu     *sync.Mutex
	queue  []func(now time.Time)
	closed bool
	wake   chan struct{}
}

func newMailbox() mailbox { return mailbox{mu: new(sync.Mutex), wake: make(chan struct{}, 1)} }

// post reports false when the loop has ended and f will not be called.
func (m *mailbox) post(f func(now time.Time)) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

func (m *mailbox) take() []func(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queue
	m.queue = nil
	return q
}

// close returns what is in it still.
func (m *mailbox) close() []func(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.queue
}
