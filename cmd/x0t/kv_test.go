package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"x0tta6bl4/api"
)

// serveKeys serves a shared state and makes it the one that commands ask.
func serveKeys(t *testing.T, s api.StateBackend) {
	t.Helper()
	isolate(t)
	socket := filepath.Join(shortDir(t), "x0t.sock")
	t.Setenv("X0T_SOCKET", socket)
	serveOptions(t, api.ServerOptions{Socket: socket, Backend: fake{}, State: s})
}

func TestEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"app/colour": "app/colour", "a b": "a b", `"quoted"`: `"quoted"`, `back\slash`: `back\\slash`, `\"`: `\\"`, "\x00\xff": `\x00\xff`, "\x1b[2J": `\x1b[2J`,
		"two\nlines\t": `two\nlines\t`, "ключ": "ключ", "right-to-left\u202e": `right-to-left\u202e`, "": "",
	} {
		if got := escaped([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// What is shown of a value is short, says whether it is all, and cuts no character in two.
func TestGlance(t *testing.T) {
	for in, want := range map[string]string{
		strings.Repeat("x", 60): strings.Repeat("x", 60), strings.Repeat("x", 61): strings.Repeat("x", 59) + "…",
		strings.Repeat("ж", 60): strings.Repeat("ж", 60), strings.Repeat("\x00", 20): strings.Repeat(`\x00`, 14) + `\x0…`,
		strings.Repeat("€", 1000): strings.Repeat("€", 59) + "…", "": "",
	} {
		if got := glance([]byte(in)); got != want {
			t.Errorf("%.20q: %s, want %s", in, got, want)
		}
	}
}

// Whatever a key or value is, it is shown on one line that is safe to print, and escaping can be undone.
func FuzzShown(f *testing.F) {
	f.Add([]byte("app/colour"))
	f.Add([]byte("\x00\xff\\\"\n"))
	f.Add(bytes.Repeat([]byte("€"), 90))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []string{escaped(b), glance(b)} {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
				t.Errorf("%q is shown as %q", b, s)
			}
		}
		if n := utf8.RuneCountInString(glance(b)); n > maxShown {
			t.Errorf("%q: %d characters", b, n)
		}
		if back, err := strconv.Unquote(`"` + strings.ReplaceAll(escaped(b), `"`, `\"`) + `"`); err != nil || back != string(b) {
			t.Errorf("%q is shown as %s, which reads as %q, %v", b, escaped(b), back, err)
		}
		for _, format := range []keyFormat{keyHex, keyBase64} {
			if back, err := format.bytes("KEY", format.show(b)); err != nil || !bytes.Equal(back, b) {
				t.Errorf("%s of %q: %q, %v", format, b, back, err)
			}
		}
	})
}

func TestFreshness(t *testing.T) {
	ago := msec(90_000)
	for _, tc := range []struct {
		f    api.Freshness
		want string
	}{
		{api.Freshness{Settled: true}, "no neighbour to compare with, never agreed with another yet"},
		{api.Freshness{Settled: true, Agreed: &ago}, "no neighbour to compare with, last agreed 1m30s ago"},
		{api.Freshness{Settled: true, Neighbours: 3, Agreeing: 1, Agreed: &ago}, "1 of 3 neighbours hold the same, last agreed 1m30s ago"},
		{api.Freshness{Settled: true, Neighbours: 3, Agreeing: 3, Agreed: &ago}, "all neighbours hold the same, last agreed 1m30s ago"},
		{api.Freshness{Neighbours: 1}, "this node has not learnt yet what others have, and does not write; 0 of 1 neighbours hold the same, never agreed with another yet"},
		{api.Freshness{Settled: true, Held: 2, Aside: 5, Uncovered: 7},
			"no neighbour to compare with, never agreed with another yet; entries that wait for their time: 2; entries set aside: 5; entries without the checkpoint they need: 7"},
	} {
		tc.f.Consistency = api.ConsistencyEventual
		if got := freshness(tc.f); got != "consistency: eventual; "+tc.want {
			t.Errorf("%+v: %s", tc.f, got)
		}
	}
}

// What a replica that is new, cut off or hurt says of itself.
func TestStateWithCares(t *testing.T) {
	serveKeys(t, &fakeShared{fresh: &api.Freshness{Consistency: api.ConsistencyEventual, Held: 3, Aside: 1, Uncovered: 2}})
	out, _, code := runArgs(t.Context(), "", "state")
	for _, want := range []string{"settled      no: it has not learnt", "neighbours   0, of which 0 hold the same; never agreed", "held         3 from the future", "aside        1 set aside", "uncovered    2 of SVIDs"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("no %q: %d\n%s", want, code, out)
		}
	}
}

// Keys and values of any bytes go and come as they are.
func TestAnyBytes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var key, value []byte
	s := &fakeShared{}
	s.put = func(k, v []byte) error { key, value = k, v; return nil }
	serveKeys(t, s)
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func() (string, string, int){
		"stdin, hex": func() (string, string, int) {
			return runArgs(t.Context(), string(all), "kv", "put", "--key-format", "hex", hex.EncodeToString(all), "-")
		},
		"file, base64": func() (string, string, int) {
			return runArgs(t.Context(), "", "kv", "put", "--key-format", "base64", base64.StdEncoding.EncodeToString(all), "--file", file)
		},
		"arguments": func() (string, string, int) { return runArgs(t.Context(), "", "kv", "put", string(all), string(all)) },
	} {
		key, value = nil, nil
		if _, errs, code := run(); code != exitDone || !bytes.Equal(key, all) || !bytes.Equal(value, all) {
			t.Errorf("%s: exit %d, %s; key %q, value %q", name, code, errs, key, value)
		}
	}
	s.entries = []api.KVEntry{{Key: all, Value: all, Time: noon, Author: alpha}}
	if out, errs, code := runArgs(t.Context(), "", "kv", "get", "--raw", string(all)); code != exitDone || out != string(all) {
		t.Errorf("get --raw: exit %d, %s; %q", code, errs, out)
	}
}

func TestTooLarge(t *testing.T) {
	n := -1
	serveKeys(t, &fakeShared{put: func(_, v []byte) error { n = len(v); return nil }})
	most := strings.Repeat("x", api.MaxValue)
	if _, errs, code := runArgs(t.Context(), most, "kv", "put", "k", "-"); code != exitDone || n != api.MaxValue {
		t.Errorf("the largest value: exit %d, %s, %d bytes", code, errs, n)
	}
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte(most+"x"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = -1
	for name, args := range map[string][]string{"stdin": {"-"}, "file": {"--file", file}, "file without end": {"--file", "/dev/zero"}} {
		_, errs, code := runArgs(t.Context(), most+"x", append([]string{"kv", "put", "k"}, args...)...)
		if code != exitFailed || !strings.Contains(errs, "1048576 bytes (1 MiB)") || n != -1 {
			t.Errorf("%s: exit %d, %s; %d bytes were written", name, code, errs, n)
		}
	}
	for key, says := range map[string]string{"": "the key is empty", most[:api.MaxKey+1]: "the key has 1025 bytes"} {
		if _, errs, code := runArgs(t.Context(), "", "kv", "get", key); code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("key of %d bytes: exit %d, %s", len(key), code, errs)
		}
	}
	if _, errs, code := runArgs(t.Context(), "", "kv", "put", "k", "--file", t.TempDir()); code != exitFailed || !strings.Contains(errs, "is a directory") {
		t.Errorf("a directory: exit %d, %s", code, errs)
	}
}

// A daemon without shared state says so, whatever is asked.
func TestNoSharedState(t *testing.T) {
	serveKeys(t, nil)
	for _, args := range [][]string{
		{"kv", "get", "k"}, {"kv", "put", "k", "v"}, {"kv", "delete", "k"}, {"kv", "list"}, {"kv", "log"}, {"kv", "watch"}, {"kv", "watch", "--current"},
		{"state"}, {"state", "snapshot", filepath.Join(t.TempDir(), "s")}, {"state", "restore", "-"},
	} {
		if _, errs, code := runArgs(t.Context(), "", args...); code != exitFailed || !strings.Contains(errs, "keeps no shared state") {
			t.Errorf("%v: exit %d, %s", args, code, errs)
		}
	}
}

func TestKeyCompletion(t *testing.T) {
	serveKeys(t, fakeKeys())
	for _, c := range []struct{ typed, want string }{
		{"kv get app/|", "app/colour app/empty app/logo"}, // a page of the fake
		{"kv delete app/t|", "app/text"},
		{"kv put app/colour |", ""},
		{"kv list app/c|", "app/colour"},
		{"kv get |", "app/colour app/empty"}, // of the first page; those that are escaped or have spaces are left out
		{"kv get --key-format hex |", ""},
		{"kv get --key-format |", "base64 hex text"},
		{"kv |", "delete get list log put watch"},
		{"state |", "restore settle snapshot status verify"},
	} {
		got := completions(t, strings.Split(strings.TrimSuffix(c.typed, "|"), " ")...)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want && (c.want != "" || len(got) > 0) {
			t.Errorf("%s: %q, want %q", c.typed, got, c.want)
		}
	}
}

// scene is what one call of watch does: the lines it tells and how it ends.
type scene struct {
	lines []api.KVChange
	err   error
}

// A watch outlives its daemon: it says so once, asks every second, and goes on where it was.
func TestWatchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(rev string) api.KVChange {
			return api.KVChange{Revision: api.Revision(rev), Key: api.Bytes("k"), Value: api.Bytes(rev), Author: beta, Taken: noon}
		}
		stands := at("j.4")
		stands.Current = true
		reset := api.KVChange{Revision: "j.now", Taken: noon, Reset: true}
		none := scene{nil, fmt.Errorf("%w on /s", api.ErrNoDaemon)}
		scenes := []scene{
			{[]api.KVChange{at("j.2")}, api.Errorf(api.CodeUnavailable, "context canceled")}, none, none,
			{[]api.KVChange{at("j.3"), reset, stands}, fmt.Errorf("broke off: %w", io.ErrUnexpectedEOF)}, none,
			{[]api.KVChange{reset}, io.EOF}, {[]api.KVChange{reset, stands, at("j.5")}, nil}, {nil, nil},
		}
		var out, errs strings.Builder
		a := &app{out: &out, err: &errs, now: time.Now}
		ctx, cancel := context.WithCancel(t.Context())
		var asked []string
		begun := time.Now()
		format := keyText
		err := a.follow(ctx, &format, api.KVWatchRequest{From: "j.1"}, func(_ context.Context, req api.KVWatchRequest, opened func(api.Freshness), each func(api.KVChange) error) error {
			asked = append(asked, fmt.Sprintf("%s,%v", req.From, req.Current))
			s := scenes[len(asked)-1]
			if errors.Is(s.err, api.ErrNoDaemon) {
				return s.err
			}
			opened(api.Freshness{Consistency: api.ConsistencyEventual})
			for _, l := range s.lines {
				if err := each(l); err != nil {
					return err
				}
			}
			if len(asked) == len(scenes) {
				cancel()
			}
			return s.err
		})
		if err != nil || time.Since(begun) != 7*rewatchEvery {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		if got, want := strings.Join(asked, " "), "j.1,false j.2,false j.2,false j.2,false j.4,true j.4,true j.now,true j.5,false"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		said := errs.String()
		for line, n := range map[string]int{
			"x0t: context canceled\n": 1, "no x0t daemon answers": 0, "x0t: broke off: unexpected EOF\n": 1, "x0t: the daemon ended the watch\n": 1,
			"the daemon answers again; going on behind revision j.2\n": 1, "the daemon answers again; what stands is told anew\n": 2,
			"the daemon answers again; going on behind revision j.5\n": 1, "consistency: eventual": 5,
		} {
			if strings.Count(said, line) != n {
				t.Errorf("%q is not said %d times:\n%s", line, n, said)
			}
		}
		if n := strings.Count(out.String(), "j.now  -  reset   what was known is void"); n != 3 {
			t.Errorf("%d resets:\n%s", n, out.String())
		}
		if n := strings.Count(out.String(), "\n"); n != 8 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
	})
}

// A watch ends with an error where going on would not help.
func TestWatchGivesUp(t *testing.T) {
	full := errors.New("no space left")
	for name, tc := range map[string]struct {
		opens bool
		err   error
		out   io.Writer
		want  error
	}{
		"never began":        {false, fmt.Errorf("%w on /s", api.ErrNoDaemon), io.Discard, api.ErrNoDaemon},
		"not there":          {false, api.Errorf(api.CodeUnavailable, "none"), io.Discard, &api.Error{Code: api.CodeUnavailable}},
		"foreign revision":   {true, api.Errorf(api.CodeBadRequest, "none"), io.Discard, &api.Error{Code: api.CodeBadRequest}},
		"nowhere to write":   {true, io.EOF, failing{io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF}, // not the daemon's
		"another's language": {true, full, io.Discard, full},
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{out: tc.out, err: io.Discard, now: time.Now, json: true}
			format := keyText
			err := a.follow(t.Context(), &format, api.KVWatchRequest{}, func(_ context.Context, _ api.KVWatchRequest, opened func(api.Freshness), each func(api.KVChange) error) error {
				if tc.opens {
					opened(api.Freshness{})
				}
				if err := each(api.KVChange{}); err != nil {
					return err
				}
				return tc.err
			})
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// restarting is a shared state whose daemon ends after the first change of a watch.
type restarting struct {
	fakeShared
	end context.CancelFunc
}

func (r *restarting) KVWatch(ctx context.Context, req api.KVWatchRequest, emit func(api.KVChange) error) error {
	rev := api.Revision("j.17")
	if req.From == rev {
		rev = "j.18"
	}
	if err := emit(api.KVChange{Revision: rev, Key: api.Bytes("k"), Author: beta, Taken: noon}); err != nil {
		return err
	}
	r.end()
	<-ctx.Done()
	return ctx.Err()
}

// A real daemon that restarts is waited for. A watch without --from begins at a revision, and Ctrl-C ends it in order.
func TestWatchOverARestart(t *testing.T) {
	isolate(t)
	socket := filepath.Join(shortDir(t), "x0t.sock")
	begin := func(s *restarting) (ended <-chan error) {
		srv, err := api.Listen(api.ServerOptions{Socket: socket, Backend: fake{}, State: s})
		if err != nil {
			t.Error(err)
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		s.end = cancel
		done := make(chan error, 1)
		go func() { done <- srv.Serve(ctx) }()
		return done
	}
	first := begin(&restarting{})
	ctx, interrupt := context.WithCancel(t.Context())
	again := make(chan (<-chan error), 1)
	go func() {
		<-first
		s := &restarting{}
		again <- begin(s)
	}()
	out := &interrupting{after: "j.18", stop: interrupt}
	var errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: out, err: &errs, now: time.Now}
	code := a.run(ctx, []string{"kv", "watch", "--socket", socket})
	if code != exitDone || strings.Count(out.String(), "j.17") != 1 || !strings.Contains(errs.String(), "going on behind revision j.17") {
		t.Errorf("exit %d\n%s%s", code, out.String(), errs.String())
	}
	<-<-again
}

// interrupting stops when it has written something.
type interrupting struct {
	strings.Builder
	after string
	stop  context.CancelFunc
}

func (i *interrupting) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(i.after)) {
		i.stop()
	}
	return i.Builder.Write(b)
}

// A value that cannot be written whole is a failure, not a short value.
func TestRawFails(t *testing.T) {
	a := &app{out: failing{errors.New("no space left")}, err: io.Discard}
	if err := a.writeRaw([]byte("v")); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
}
