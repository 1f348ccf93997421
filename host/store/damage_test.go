package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// sample writes a store with some history and returns its file, what it holds, and all that it ever held.
func sample(t testing.TB) (file []byte, want map[string]string, ever map[line]bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	rnd := rand.New(rand.NewPCG(7, 7))
	want, ever = map[string]string{}, map[line]bool{}
	for range 40 {
		var pairs []Pair
		for range 20 {
			k, v := fmt.Sprintf("key %03d", rnd.IntN(500)), strings.Repeat(fmt.Sprint(rnd.IntN(1000)), 1+rnd.IntN(40))
			pairs = append(pairs, Pair{[]byte(k), []byte(v)})
			want[k] = v
			ever[line{k, v}] = true
		}
		if err := s.Write(pairs); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file, want, ever
}

// line is a key with a value.
type line struct{ k, v string }

// damaged opens a damaged copy: whatever is damaged, there is no panic, nothing is read that was never written, and nothing is
// missing or old without being said. What the store says to have kept, it has kept; it can be written, and is sound the next time.
func damaged(t *testing.T, file []byte, want map[string]string, ever map[line]bool) (said bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	got := contents(t, s)
	for k, v := range got {
		if !ever[line{k, v}] {
			t.Fatalf("%q reads %.20q, which was never written", k, v)
		}
	}
	if d == nil && !maps.Equal(got, want) {
		t.Fatalf("%d pairs of %d, and nothing is said", len(got), len(want))
	}
	if d != nil {
		kept, err := os.ReadFile(d.Kept)
		if !errors.Is(d.Reason, ErrDamaged) || d.Good != len(got) || err != nil || !bytes.Equal(kept, file) {
			t.Fatalf("%v: %d pairs, %d bytes kept of %d, %v", d, len(got), len(kept), len(file), err)
		}
	}
	if err := s.Write([]Pair{{[]byte("new"), []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, path)
	if n := len(contents(t, s)); n != len(got)+1 {
		t.Fatalf("%d pairs, then %d", len(got), n)
	}
	mustClose(t, s)
	return d != nil
}

// A file of which only the beginning is there, as when a disk lost what came last.
func TestTruncated(t *testing.T) {
	file, want, ever := sample(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	said := 0
	for i := range 60 {
		n := rnd.IntN(len(file))
		if i < 20 {
			n = i * os.Getpagesize()
		}
		if n > 0 && damaged(t, file[:min(n, len(file))], want, ever) {
			said++
		}
	}
	if said < 20 {
		t.Errorf("%d files were said to be damaged", said)
	}
}

// A file with some other bytes than were written: one bit, a whole sector, or a page of an earlier time.
func TestChangedBytes(t *testing.T) {
	file, want, ever := sample(t)
	rnd := rand.New(rand.NewPCG(1, 3))
	said := 0
	for i := range 300 {
		b := bytes.Clone(file)
		switch i % 3 {
		case 0:
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		case 1:
			at := rnd.IntN(len(b)/512) * 512
			for k := range 512 {
				b[at+k] = byte(rnd.Uint32())
			}
		case 2:
			page := os.Getpagesize()
			copy(b[rnd.IntN(len(b)/page)*page:], b[rnd.IntN(len(b)/page)*page:][:page])
		}
		if damaged(t, b, want, ever) {
			said++
		}
	}
	if said < 50 {
		t.Errorf("%d files were said to be damaged", said)
	}
}

// The two beginnings of the file are written in turn: where the newer one is not there, the store is what it was one write
// before; where it is torn, which no disk does within a sector, that is said.
func TestTornCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	for i := range 5 {
		if err := s.Write([]Pair{{[]byte{'k', byte(i)}, []byte("v")}}); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.ReadFile(path)
	if err := s.Write([]Pair{{[]byte("last"), []byte("v")}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	after, _ := os.ReadFile(path)
	page := os.Getpagesize()
	for n := 0; n <= 2*page; n += 64 { // so much of both beginnings got there, all else did
		torn := append(bytes.Clone(after[:n]), after[n:]...)
		copy(torn[n:2*page], before[n:2*page])
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		s, d, err := Open(path)
		if err != nil || d != nil && n%512 == 0 {
			t.Fatalf("%d bytes: %v, %v", n, err, d)
		}
		if got := contents(t, s); len(got) != 5 && len(got) != 6 {
			t.Fatalf("%d bytes: %v", n, got)
		}
		mustClose(t, s)
	}
}

const crashEnv = "X0T_STORE_CRASH"

// TestMain runs the store that is to be killed where a test has started one.
func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		crashWriter(path)
	}
	os.Exit(m.Run())
}

// crashWriter writes for ever: batch i is pairs i.0 to i.9 and replaces those of batch i-5. It says what is done.
func crashWriter(path string) {
	s, d, err := Open(path)
	if err != nil || d != nil {
		fmt.Println("error", err, d)
		os.Exit(1)
	}
	first := 0
	for k := range s.All(&err) {
		n, _ := strconv.Atoi(strings.Split(string(k), ".")[0])
		first = max(first, n+1)
	}
	out := make(chan int, 1)
	go func() {
		for i := range out {
			fmt.Println(i)
		}
	}()
	for i := first; ; i++ {
		var pairs []Pair
		for n := range 10 {
			pairs = append(pairs, Pair{fmt.Appendf(nil, "%06d.%d", i, n), bytes.Repeat([]byte{byte(i)}, 700)})
			if i >= 5 {
				pairs = append(pairs, Pair{fmt.Appendf(nil, "%06d.%d", i-5, n), nil})
			}
		}
		if err := s.Queue(pairs, func(err error) {
			if err == nil {
				out <- i
			}
		}); err != nil {
			os.Exit(1)
		}
	}
}

// A process that is killed while it writes loses nothing of which it said that it is done, and nothing is half there.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	rnd := rand.New(rand.NewPCG(1, 4))
	acked := -1
	for round := range 12 {
		cmd := exec.Command(os.Args[0]) // #nosec G204 -- this test
		cmd.Env = append(os.Environ(), crashEnv+"="+path)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(pipe)
		for range 1 + rnd.IntN(60) {
			if !lines.Scan() {
				t.Fatalf("round %d: the writer ended: %v", round, cmd.Wait())
			}
			if acked, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatalf("round %d: %q", round, lines.Text())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it died
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked = n
			}
		}
		_, _ = io.Copy(io.Discard, pipe)
		_ = cmd.Wait()
		whole(t, path, acked)
	}
}

// whole checks that the store holds exactly the last five batches, up to one that is not before acked.
func whole(t *testing.T, path string, acked int) {
	t.Helper()
	s := mustOpen(t, path)
	defer mustClose(t, s)
	got := contents(t, s)
	last := -1
	for k := range got {
		n, _ := strconv.Atoi(strings.Split(k, ".")[0])
		last = max(last, n)
	}
	if last < acked {
		t.Fatalf("batch %d was done, the last one there is %d", acked, last)
	}
	for i := max(0, last-4); i <= last; i++ {
		for n := range 10 {
			k := fmt.Sprintf("%06d.%d", i, n)
			if got[k] != strings.Repeat(string([]byte{byte(i)}), 700) {
				t.Fatalf("%s is not whole", k)
			}
			delete(got, k)
		}
	}
	if len(got) > 0 {
		t.Fatalf("%d pairs are left that were removed", len(got))
	}
}
