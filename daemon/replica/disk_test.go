package replica

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/host/store"
	"x0tta6bl4/wire"
)

// While the disk fails, writes are refused and none of them is there; what neighbours brought before that is written when it
// works again, and neighbours are read on.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		c := connect(a, b)
		defer c.cut()
		first := a.put("before", "1").Revision
		agree(t, time.Second, a, b)
		if err := a.store.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.KVPut(t.Context(), []byte("lost"), nil); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), store.ErrClosed.Error()) {
			t.Errorf("put: %v", err)
		}
		b.put("from b", "2")
		b.put("from b", "3")
		time.Sleep(5 * time.Second)
		if _, err := a.KVPut(t.Context(), []byte("lost"), nil); code(err) != api.CodeUnavailable {
			t.Errorf("put: %v", err)
		}
		var logged []api.KVChange
		if err := a.KVLog(t.Context(), api.KVLogRequest{}, func(c api.KVChange) error { logged = append(logged, c); return nil }); err != nil {
			t.Fatal(err)
		}
		want(t, "the log shows what is on disk", lines(logged), "before=1 ")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := a.KVWatch(ctx, api.KVWatchRequest{From: first}, func(c api.KVChange) error {
			return fmt.Errorf("a watch shows %s", c.Key)
		}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if a.get("lost") != "-" || a.get("before") != "1" {
			t.Errorf("%q %q", a.get("lost"), a.get("before"))
		}
		if ws := a.info().Warnings; len(ws) != 1 || !strings.Contains(ws[0], store.ErrClosed.Error()) || a.counter("disk_failures") == 0 {
			t.Errorf("warnings %q", ws)
		}
		again, damage, err := store.Open(a.cfg.Path)
		if err != nil || damage != nil {
			t.Fatal(damage, err)
		}
		if err := a.do(t.Context(), func(time.Time) { a.store = again }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		a.put("after", "4")
		agree(t, 5*time.Second, a, b)
		if ws := a.info().Warnings; len(ws) != 0 {
			t.Errorf("warnings %q", ws)
		}
		digest := a.info().Digest
		want(t, "the journal", lines(a.watch(3, api.KVWatchRequest{From: first})), "from b=2 from b=3 after=4 ")
		a.close()
		a.open()
		if i := a.info(); i.Digest != digest || len(i.Warnings) > 0 {
			t.Errorf("opened again: %+v", i)
		}
		want(t, "the journal, opened again", lines(a.watch(3, api.KVWatchRequest{From: first})), "from b=2 from b=3 after=4 ")
	})
}

// While the disk fails no neighbour is read further; then all comes.
func TestDiskBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		id := d.identity(mustNode("z"), time.Hour)
		s := meet(t, a, "z", true)
		synctest.Wait()
		if err := a.store.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.KVPut(t.Context(), []byte("lost"), nil); code(err) != api.CodeUnavailable {
			t.Fatal(err)
		}
		s.send(wire.StateChain{Chain: id.Chain})
		for i := range 20 {
			s.send(piece(t, id, "z", fmt.Sprint(i), "v", time.Now()))
			synctest.Wait()
		}
		if n := a.info().Entries; n > 1 {
			t.Errorf("%d entries were taken", n)
		}
		again, damage, err := store.Open(a.cfg.Path)
		if err != nil || damage != nil {
			t.Fatal(damage, err)
		}
		if err := a.do(t.Context(), func(time.Time) { a.store = again }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		if n := a.info().Entries; n != 20 {
			t.Errorf("%d entries", n)
		}
		_ = s.end()
	})
}

// A file with changed bytes is noticed and said, the neighbour gives the rest again, and the replica goes on as a new
// incarnation with a new journal.
func TestDamagedFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		c := connect(a, b)
		for i := range 50 {
			a.put(fmt.Sprintf("a/%d", i), strings.Repeat("v", 300))
			b.put(fmt.Sprintf("b/%d", i), strings.Repeat("w", 300))
		}
		agree(t, 10*time.Second, a, b)
		before := a.info()
		rev := a.put("last", "").Revision
		incarnation := a.incarnation(t)
		agree(t, 10*time.Second, a, b)
		c.cut()
		a.close()
		damage(t, a.cfg.Path, "a/7", "a/23", "b/9")
		a.open()
		if ws := a.info().Warnings; len(ws) == 0 || !strings.Contains(strings.Join(ws, ","), store.ErrDamaged.Error()) {
			t.Errorf("warnings %q", ws)
		}
		if n := a.info().Entries; n >= before.Entries || n == 0 {
			t.Errorf("%d entries of %d", n, before.Entries)
		}
		if a.incarnation(t) == incarnation {
			t.Error("it goes on as the same incarnation")
		}
		c = connect(a, b)
		defer c.cut()
		agree(t, time.Minute, a, b)
		a.put("a/1", "new")
		agree(t, time.Second, a, b)
		if n := a.counter("twin") + b.counter("equivocal"); n != 0 {
			t.Errorf("%d numbers were used twice", n)
		}
		cs := a.watch(102, api.KVWatchRequest{From: rev})
		if !cs[0].Reset || !cs[1].Current || !cs[101].Current {
			t.Errorf("a watch of the old journal: %s", lines(cs))
		}
	})
}

func (m *member) incarnation(t *testing.T) (n uint64) {
	t.Helper()
	if err := m.do(t.Context(), func(time.Time) {
		for _, p := range m.state.Begun() {
			n = be64(p.Value[1:])
		}
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func be64(b []byte) (n uint64) {
	for _, x := range b[:8] {
		n = n<<8 | uint64(x)
	}
	return n
}

// damage changes a file wherever it holds one of some texts.
func damage(t *testing.T, path string, texts ...string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		if !bytes.Contains(b, []byte(text)) {
			t.Fatalf("%q is not in the file", text)
		}
		b = bytes.ReplaceAll(b, []byte(text), bytes.Repeat([]byte{'#'}, len(text)))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A batch whose chain is gone is left out, said, and given again, unless it is this node's own chain.
func TestMissingChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b")
		defer a.close()
		defer b.close()
		c := connect(a, b)
		a.put("a", "1")
		b.put("b", "2")
		agree(t, 5*time.Second, a, b)
		c.cut()
		a.close()
		s, _, err := store.Open(a.cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		var failed error
		var gone []store.Pair
		for k := range s.All(&failed) {
			if k[0] == 'C' {
				gone = append(gone, store.Pair{Key: bytes.Clone(k)})
			}
		}
		if err := s.Write(gone); err != nil || len(gone) != 2 {
			t.Fatal(len(gone), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		a.open()
		if ws := a.info().Warnings; len(ws) != 1 || !strings.Contains(ws[0], "certificates") || a.get("a") != "1" || a.get("b") != "-" {
			t.Errorf("%+v", a.info())
		}
		c = connect(a, b)
		defer c.cut()
		agree(t, time.Minute, a, b)
		a.close()
		a.open()
		if i := a.info(); len(i.Warnings) > 0 || i.Entries != 2 {
			t.Errorf("%+v", i)
		}
	})
}

// What a newer version wrote is left as it is.
func TestNewerJournal(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	a.put("k", "v")
	a.close()
	s, _, err := store.Open(a.cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Write([]store.Pair{{Key: []byte("J"), Value: []byte{journalVersion + 1, 5}}}), s.Close()); err != nil {
		t.Fatal(err)
	}
	if r, err := Open(a.cfg); !errors.Is(err, crdt.ErrNewer) {
		t.Errorf("%v, %v", r, err)
	}
}

// The environment of a replica that is to be killed: its file, and the least value that it writes.
const (
	killedPath = "X0T_REPLICA_KILLED"
	killedFrom = "X0T_REPLICA_KILLED_FROM"
)

// TestMain runs the replica that is to be killed where a test has started one.
func TestMain(m *testing.M) {
	if path := os.Getenv(killedPath); path != "" {
		if err := toBeKilled(path, os.Getenv(killedFrom)); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// toBeKilled writes until it is killed, and says what was acknowledged.
func toBeKilled(path, from string) error {
	base, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	d, err := makeDomain()
	if err != nil {
		return err
	}
	id, err := d.issue(mustNode("a"), time.Hour)
	if err != nil {
		return err
	}
	r, err := Open(Config{Self: mustNode("a"), Domain: d.td, Path: path, Founder: true, Identity: func() Identity { return id }, Verify: d.verify})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var say sync.Mutex
	for w := range 8 {
		go func() {
			for i := base; ; i++ {
				key := fmt.Sprintf("%d/%d", w, i%50)
				wrote, err := r.KVPut(context.Background(), []byte(key), fmt.Append(nil, i))
				if err != nil {
					failed <- err
				}
				say.Lock()
				fmt.Printf("ACK %s %d %s\n", key, i, wrote.Revision)
				say.Unlock()
			}
		}()
	}
	return <-failed
}

// A process that is killed at any moment loses nothing that it acknowledged, neither entry nor line of the journal.
func TestKilled(t *testing.T) {
	path := t.TempDir() + "/state"
	acked := map[string]int{}
	for round := range 5 {
		var last string
		cmd := exec.Command(os.Args[0]) // #nosec G204 -- this test
		cmd.Env = append(os.Environ(), killedPath+"="+path, fmt.Sprintf("%s=%d", killedFrom, round*1_000_000))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 100+round*77 && lines.Scan(); {
			var key, rev string
			var i int
			if c, _ := fmt.Sscanf(lines.Text(), "ACK %s %d %s", &key, &i, &rev); c == 3 {
				acked[key], last = i, rev
				n++
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		d := newDomain(t)
		a := d.member(t, "a", func(c *Config) { c.Path = path })
		for key, i := range acked {
			var got int
			if _, err := fmt.Sscan(a.get(key), &got); err != nil || got < i {
				t.Errorf("round %d: %s is %d, %d was acknowledged", round, key, got, i)
			}
		}
		if ws := a.info().Warnings; len(ws) > 0 {
			t.Errorf("round %d: %q", round, ws)
		}
		if n, lost, err := a.journal.parse(api.Revision(last)); err != nil || lost || n > a.journal.shown() {
			t.Errorf("round %d: the journal ends at %d, %s was acknowledged: %v", round, a.journal.shown(), last, err)
		}
		a.close()
	}
}
