package replica

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/wire"
)

var errEnough = errors.New("enough")

// watch returns the first n lines of a watch.
func (m *member) watch(n int, req api.KVWatchRequest) (cs []api.KVChange) {
	m.tb.Helper()
	err := m.KVWatch(context.Background(), req, func(c api.KVChange) error {
		if cs = append(cs, c); len(cs) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		m.tb.Fatalf("watch of %+v: %v after %d lines", req, err, len(cs))
	}
	return cs
}

func lines(cs []api.KVChange) (s string) {
	for _, c := range cs {
		switch {
		case c.Reset:
			s += "reset "
		case c.Current:
			s += fmt.Sprintf("(%s=%s) ", c.Key, c.Value)
		case c.Deleted:
			s += fmt.Sprintf("%s- ", c.Key)
		default:
			s += fmt.Sprintf("%s=%s ", c.Key, c.Value)
		}
	}
	return s
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// A watch that goes on after a restart misses nothing and repeats nothing.
func TestWatchResumesAfterRestart(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	two := []api.Revision{}
	for i := range 5 {
		two = append(two, a.put(fmt.Sprintf("k%d", i), fmt.Sprint(i)).Revision)
	}
	a.put("other", "x")
	if _, err := a.KVDelete(t.Context(), []byte("k0")); err != nil {
		t.Fatal(err)
	}
	req := api.KVWatchRequest{Prefix: []byte("k"), From: two[1]}
	want(t, "before", lines(a.watch(4, req)), "k2=2 k3=3 k4=4 k0- ")
	a.close()
	a.open()
	defer a.close()
	cs := a.watch(4, req)
	want(t, "after", lines(cs), "k2=2 k3=3 k4=4 k0- ")
	if c := cs[0]; c.Author != a.id || c.Taken.IsZero() || c.Time.IsZero() || c.Revision != two[2] {
		t.Errorf("%+v", c)
	}
	req.From = cs[3].Revision
	next := a.put("k9", "9")
	cs = a.watch(1, req)
	want(t, "new", lines(cs), "k9=9 ")
	if cs[0].Revision != next.Revision {
		t.Errorf("revision %s, want %s", cs[0].Revision, next.Revision)
	}
}

// Revisions that mean nothing here are refused, and a watch without one shows what comes.
func TestWatchRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		of := b.put("k", "v").Revision
		last := a.put("k", "v").Revision
		nothing := func(api.KVChange) error { return errEnough }
		for rev, named := range map[api.Revision]error{
			of: errRevision, "": nil, "7": errRevision, "x.1": errRevision, last + "x": errRevision, last[:20] + ".1": errRevision, last + "0": errYetTo,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := a.KVWatch(ctx, api.KVWatchRequest{From: rev}, nothing)
			if named == nil && !errors.Is(err, context.DeadlineExceeded) || named != nil && (!errors.Is(err, named) || code(err) != api.CodeBadRequest) {
				t.Errorf("from %q: %v, want %v", rev, err, named)
			}
			cancel()
		}
		got := make(chan []api.KVChange)
		go func() { got <- a.watch(2, api.KVWatchRequest{Prefix: []byte("p"), Current: true}) }()
		synctest.Wait()
		a.put("p1", "1")
		a.put("q", "1")
		a.put("p2", "2")
		want(t, "what comes", lines(<-got), "p1=1 p2=2 ")
	})
}

// A watch tells a neighbour's changes, what stands first if it is asked to, and goes on from there.
func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		for i := range 300 {
			if _, err := a.Put(t.Context(), fmt.Appendf(nil, "x0t/%03d", i), []byte("v")); err != nil {
				t.Fatal(err)
			}
		}
		c := connect(a, b)
		defer c.cut()
		agree(t, 10*time.Second, a, b)
		var got []api.KVChange
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- b.Subscribe(ctx, []byte("x0t/"), func(c api.KVChange) error { got = append(got, c); return nil })
		}()
		synctest.Wait()
		if len(got) != 300 || !got[0].Current || string(got[299].Key) != "x0t/299" {
			t.Fatalf("%d lines", len(got))
		}
		if _, err := a.Put(t.Context(), []byte("x0t/new"), []byte("v")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want(t, "the change", lines(got[300:]), "x0t/new=v ")
		if c := got[300]; c.Author != a.id || c.Revision[:24] == a.journal.revision(1)[:24] {
			t.Errorf("%+v", c)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A watcher that is too slow for the journal is told what stands now, and holds nothing up.
func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		a.journal.room = 4
		var got []api.KVChange
		hold, ended := make(chan struct{}), make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ended <- a.KVWatch(ctx, api.KVWatchRequest{}, func(c api.KVChange) error {
				got = append(got, c)
				<-hold
				return nil
			})
		}()
		synctest.Wait()
		a.put("first", "1")
		synctest.Wait()
		for i := range 10 {
			a.put(fmt.Sprintf("k%d", i%3), fmt.Sprint(i))
		}
		close(hold)
		synctest.Wait()
		want(t, "lines", lines(got), "first=1 reset (first=1) (k0=9) (k1=7) (k2=8) ")
		a.put("last", "x")
		synctest.Wait()
		want(t, "then", lines(got[6:]), "last=x ")
		// Who breaks off among the lines that say what stands begins with them again.
		from := got[3].Revision
		want(t, "resumed", lines(a.watch(6, api.KVWatchRequest{From: from})), "reset (first=1) (k0=9) (k1=7) (k2=8) (last=x) ")
		cancel()
		<-ended
	})
}

// A watch whose place the journal has lost is told so also where nothing stands any more, and told again until it is behind a change.
func TestWatchOfALostJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		defer a.close()
		a.in(func(time.Time) { a.journal.room = 3 })
		from := a.put("p/one", "1").Revision
		if _, err := a.KVDelete(t.Context(), []byte("p/one")); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			a.put("other", fmt.Sprint(i))
		}
		req := api.KVWatchRequest{Prefix: []byte("p/"), From: from}
		cs := a.watch(1, req)
		if c := cs[0]; !c.Reset || c.Current || c.Key != nil || !c.Author.IsZero() || !c.Time.IsZero() || !c.Taken.Equal(time.Now()) {
			t.Errorf("%+v", c)
		}
		req.From = cs[0].Revision
		got := make(chan []api.KVChange)
		go func() { got <- a.watch(2, req) }()
		synctest.Wait()
		a.put("p/two", "2")
		cs = <-got
		want(t, "from there", lines(cs), "reset p/two=2 ")
		req.From = cs[1].Revision
		a.put("p/three", "3")
		want(t, "behind a change", lines(a.watch(1, req)), "p/three=3 ")
		want(t, "what stands, asked for", lines(a.watch(2, api.KVWatchRequest{Prefix: req.Prefix, Current: true})), "(p/three=3) (p/two=2) ")
	})
}

// The log is the newest changes, the oldest first.
func TestLog(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	defer a.close()
	for i := range 5 {
		a.put("k", fmt.Sprint(i))
		a.put("l", fmt.Sprint(i))
	}
	var cs []api.KVChange
	if err := a.KVLog(t.Context(), api.KVLogRequest{Prefix: []byte("k"), Limit: 3}, func(c api.KVChange) error { cs = append(cs, c); return nil }); err != nil {
		t.Fatal(err)
	}
	want(t, "log", lines(cs), "k=2 k=3 k=4 ")
	if err := a.KVLog(t.Context(), api.KVLogRequest{}, func(api.KVChange) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Error(err)
	}
	if err := a.KVLog(t.Context(), api.KVLogRequest{Limit: -1}, nil); code(err) != api.CodeBadRequest {
		t.Error(err)
	}
}

// The journal keeps to its bounds, in numbers and in bytes, and what it writes and removes is what it has.
func TestJournalBounded(t *testing.T) {
	d := newDomain(t)
	id := d.td.Name()
	j := newJournal(mustNode("a"), 1)
	disk := map[string][]byte{}
	add := func(n, size int) {
		var cs []crdt.Change
		for i := range n {
			cs = append(cs, crdt.Change{Kind: wire.EntryRegister, Key: fmt.Appendf(nil, "%s/%d", id, i), Value: crdt.Value{Bytes: make([]byte, size), Dot: wire.Dot{Author: mustNode("b")}}})
		}
		lines, over, _ := j.add(time.Unix(1, 0), append(cs, crdt.Change{Kind: wire.EntryCounter, Key: []byte("counters are not in it")}))
		for _, p := range append(lines, over...) {
			if p.Value == nil {
				delete(disk, string(p.Key))
			} else if disk[string(p.Key)] = p.Value; len(p.Value) > 4<<20 {
				t.Fatalf("a line of %d bytes", len(p.Value))
			}
		}
		j.landed(j.newest())
		if len(j.changes) > maxChanges || j.bytes > maxChangeBytes {
			t.Fatalf("%d changes, %d bytes", len(j.changes), j.bytes)
		}
		if len(disk) != len(j.lines) {
			t.Fatalf("%d lines on disk, %d known", len(disk), len(j.lines))
		}
	}
	for range 500 {
		add(256, 8)
	}
	if j.first == 1 || len(j.changes) < maxChanges-256 {
		t.Errorf("%d changes from %d", len(j.changes), j.first)
	}
	for range 30 {
		add(5, 1<<20)
	}
	if j.bytes < maxChangeBytes-8<<20 || len(j.changes) > 64 {
		t.Errorf("%d changes, %d bytes", len(j.changes), j.bytes)
	}
	if _, _, _, lost := j.after(j.first-2, nil, 1); !lost {
		t.Error("what was given up is not said to be")
	}
	if es, _, _, lost := j.after(j.first-1, nil, 1); lost || es[0].n != j.first {
		t.Error("the first that is left cannot be read")
	}
}

// Numbers that were given up are left out, also when the journal is read again.
func TestJournalVoid(t *testing.T) {
	cs := func(key string) []crdt.Change {
		return []crdt.Change{{Kind: wire.EntryRegister, Key: []byte(key), Value: crdt.Value{Dot: wire.Dot{Author: mustNode("b")}}}}
	}
	j := newJournal(mustNode("a"), 1)
	one, _, _ := j.add(time.Unix(1, 0), cs("one"))
	_, _, first := j.add(time.Unix(1, 0), cs("given up"))
	three, _, _ := j.add(time.Unix(1, 0), cs("three"))
	j.void(first, 1)
	j.landed(j.newest())
	again := newJournal(mustNode("a"), 1)
	for i, v := range [][]byte{one[0].Value, three[0].Value} {
		c, err := parseLine(v)
		if err != nil || !again.load([]uint64{1, 3}[i], c) {
			t.Fatal(err)
		}
	}
	again.durable = 3
	for _, j := range []*journal{&j, &again} {
		es, to, _, _ := j.after(0, nil, 10)
		if len(es) != 2 || es[0].n != 1 || es[1].n != 3 || to != 3 {
			t.Errorf("%+v to %d", es, to)
		}
	}
	if again.load(3, nil) || again.load(0, nil) || again.load(maxChanges+5, nil) {
		t.Error("a line out of its place is taken")
	}
}

func FuzzLine(f *testing.F) {
	f.Add(appendLine(nil, []change{{key: []byte("k"), value: []byte("v"), author: mustNode("a"), taken: 5, at: 7}, {key: []byte("k"), gone: true, author: mustNode("b"), taken: 5}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, err := parseLine(b)
		if err != nil {
			if !errors.Is(err, errLine) {
				t.Error(err)
			}
			return
		}
		again, err := parseLine(appendLine(nil, cs))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(cs) {
			t.Errorf("%v, %v", again, err)
		}
	})
}
