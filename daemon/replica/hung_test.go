package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/host/store"
	"x0tta6bl4/wire"
)

// changes returns pairs that the loop takes for changes of its own to be written.
func changes(i int) []store.Pair {
	return []store.Pair{{Key: fmt.Appendf(nil, "X%06d", i), Value: []byte{1}}}
}

// While the disk does not answer, the loop does: reads, how it is, watches; what is more than the store has room for waits, and
// is written in its order when the disk answers again.
func TestDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		defer a.close()
		a.put("k", "v")
		let := a.hold()
		const n = 3000
		var order []int
		a.in(func(time.Time) {
			for i := range n {
				a.disk.put(a.Replica, changes(i), func(_ time.Time, err error) {
					if err != nil {
						t.Error(err)
					}
					order = append(order, i)
				})
			}
		})
		a.in(func(now time.Time) {
			if a.disk.out > maxOut || !a.disk.behind() {
				t.Errorf("%d flights are in the store's hands, behind %v", a.disk.out, a.disk.behind())
			}
		})
		if a.get("k") != "v" || a.info().Entries != 1 || a.counter("writes") != 1 {
			t.Error("it does not answer as before")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.KVPut(ctx, []byte("late"), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write: %v", err)
		}
		let()
		synctest.Wait()
		if a.put("k", "w"); len(order) != n {
			t.Fatalf("%d of %d are written", len(order), n)
		}
		for i := range order {
			if order[i] != i {
				t.Fatalf("%d is written as number %d", order[i], i)
			}
		}
		a.in(func(time.Time) {
			if d := &a.disk; len(d.flights)+d.sent+d.out+d.bytes != 0 {
				t.Errorf("%d flights, %d sent, %d out, %d bytes", len(d.flights), d.sent, d.out, d.bytes)
			}
		})
	})
}

// While the disk does not answer, no neighbour and no snapshot brings more than may wait.
func TestDiskThatHangsHoldsOthersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		b := d.member(t, "b")
		defer b.close()
		const n = 1500
		for i := range n {
			b.put(fmt.Sprint(i), "v")
		}
		var snapshot bytes.Buffer
		if _, err := b.Snapshot(t.Context(), &snapshot); err != nil {
			t.Fatal(err)
		}
		id := d.identity(mustNode("z"), time.Hour)
		s := meet(t, a, "z", true)
		let := a.hold()
		restored := make(chan error, 1)
		go func() {
			_, err := a.Restore(t.Context(), &snapshot)
			restored <- err
		}()
		go func() {
			s.send(wire.StateChain{Chain: id.Chain})
			for i := range n {
				s.send(piece(t, id, "z", fmt.Sprintf("z%d", i), "v", time.Now()))
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if i := a.info(); i.Entries < maxFlights/2 || i.Entries > 2*maxFlights+maxRestoring+2 {
			t.Errorf("%d entries were taken", i.Entries)
		}
		let()
		if err := <-restored; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if i := a.info(); i.Entries != 2*n {
			t.Errorf("%d entries of %d", i.Entries, 2*n)
		}
		_ = s.end()
	})
}

// A replica is closed within a bounded time, whatever its disk does, and says what was not written.
func TestCloseWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		let := a.hold()
		a.in(func(time.Time) { a.disk.put(a.Replica, changes(1), nil) })
		begin := time.Now()
		err := a.Close()
		if took := time.Since(begin); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "1 changes of 8 bytes") || took > closeWait {
			t.Errorf("after %v: %v", took, err)
		}
		let()
		synctest.Wait()
		a.open()
		a.close()
	})
}

// What failed before is tried once more when the replica is closed; then its end says that it is lost.
func TestCloseWhileTheDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		fail := func() {
			if err := a.store.Close(); err != nil {
				t.Fatal(err)
			}
			a.in(func(time.Time) { a.disk.put(a.Replica, changes(1), nil) })
			synctest.Wait()
		}
		fail()
		if err := a.Close(); !errors.Is(err, store.ErrClosed) || !strings.Contains(err.Error(), "1 changes of 8 bytes") {
			t.Error(err)
		}
		a.open()
		fail()
		again, _, err := store.Open(a.cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		a.in(func(time.Time) { a.store = again })
		if err := a.Close(); err != nil {
			t.Errorf("closed with a disk that works again: %v", err)
		}
		again, _, err = store.Open(a.cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = again.Close() }()
		var failed error
		for k := range again.All(&failed) {
			if bytes.Equal(k, changes(1)[0].Key) {
				return
			}
		}
		t.Error("what had failed is not on disk", failed)
	})
}
