package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Bounds of the queue, and of what is written at once.
const (
	maxQueued     = 1 << 10
	maxGroup      = 4 << 10 // pairs
	maxGroupBytes = 8 << 20
)

// request is pairs that are to be written together.
type request struct {
	pairs []Pair
	size  int
	done  func(error)
}

// Write writes pairs together and returns when they are on disk. What several callers write at the same time shares the
// wait for the disk. After an error nothing of it is written, nor of what comes after it, with the same error, until Resume: nothing
// overtakes. The pairs must not be changed before it returns.
func (s *Store) Write(pairs []Pair) error {
	answer := make(chan error, 1)
	if err := s.Queue(pairs, func(err error) { answer <- err }); err != nil {
		return err
	}
	return <-answer
}

// Queue does the same without waiting for the disk: done is called, on the store's own goroutine and in the order of the calls,
// when the pairs are on disk or cannot be; it must not use the store. Queue waits while there is no room. An error says that done
// will not be called.
func (s *Store) Queue(pairs []Pair, done func(error)) error {
	r := request{pairs: pairs, done: done}
	for _, p := range pairs {
		if len(p.Key) == 0 || len(p.Key) > MaxKey || len(p.Value) > MaxValue {
			return fmt.Errorf("%w: a key of %d bytes, at most %d; a value of %d, at most %d", ErrPair, len(p.Key), MaxKey, len(p.Value), MaxValue)
		}
		r.size += len(p.Key) + len(p.Value)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	s.writes <- r
	return nil
}

// Resume ends what an error began: what is written from now on is tried again. Whoever calls it has had the answers to all that was
// queued before.
func (s *Store) Resume() { s.failed.Store(nil) }

// Close writes what is queued and closes the file. It returns the error after which nothing more was written, if there was one.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return ErrClosed
	}
	close(s.writes)
	<-s.ended
	err := s.db.Close()
	if failed := s.failed.Load(); failed != nil {
		err = errors.Join(*failed, err)
	}
	return err
}

// run writes what is queued, as much at once as has come meanwhile.
func (s *Store) run() {
	defer close(s.ended)
	for first := range s.writes {
		group := s.gather(first)
		err := s.commit(group)
		for _, r := range group {
			r.done(err)
		}
	}
}

// commit writes a group, unless one before it could not be written.
func (s *Store) commit(group []request) error {
	if failed := s.failed.Load(); failed != nil {
		return *failed
	}
	err := guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			for _, r := range group {
				if err := apply(tx, r.pairs); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		err = fmt.Errorf("write to %s: %w", s.db.Path(), err)
		s.failed.Store(&err)
	}
	return err
}

func (s *Store) gather(first request) []request {
	group := []request{first}
	for n, size := len(first.pairs), first.size; n < maxGroup && size < maxGroupBytes; {
		select {
		case r, ok := <-s.writes:
			if !ok {
				return group
			}
			group = append(group, r)
			n, size = n+len(r.pairs), size+r.size
		default:
			return group
		}
	}
	return group
}

// apply writes pairs and keeps the sum.
func apply(tx *bbolt.Tx, pairs []Pair) error {
	b, head := tx.Bucket(pairsBucket), tx.Bucket(headBucket)
	all, ok := readSum(head)
	if !ok {
		return fmt.Errorf("%w: its head is not one", ErrDamaged)
	}
	for _, p := range pairs {
		if old := b.Get(p.Key); len(old) >= 4 {
			all.take(old)
		}
		if p.Value == nil {
			if err := b.Delete(p.Key); err != nil {
				return err
			}
			continue
		}
		v := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(p.Value)), crcOf(p.Key, p.Value))
		v = append(v, p.Value...)
		if err := b.Put(p.Key, v); err != nil {
			return err
		}
		all.add(v)
	}
	return errors.Join(head.Delete(mendedKey), all.put(head))
}
