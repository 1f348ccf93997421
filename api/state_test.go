package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// serveShared is serve for a daemon with shared state.
func serveShared(t *testing.T, s StateBackend) (*Client, string) {
	t.Helper()
	return serveOptions(t, ServerOptions{Backend: &fake{}, State: s})
}

// answerWith is a client of a daemon that answers by h.
func answerWith(t *testing.T, h http.Handler) *Client {
	t.Helper()
	path := filepath.Join(socketDir(t), "s")
	l, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(l) }()
	c := NewClient(path)
	t.Cleanup(func() {
		c.Close()
		_ = srv.Close()
	})
	return c
}

func sortedFields(s string) []string {
	f := strings.Fields(s)
	slices.Sort(f)
	return f
}

func TestSnapshotAndRestore(t *testing.T) {
	big := make([]byte, 3<<20)
	_, _ = rand.Read(big)
	info := SnapshotInfo{Domain: "example.mesh", Node: alpha, Time: noon, Entries: 12, Digest: "ab"}
	var restored []byte
	s := &fakeState{
		snapshot: func(w io.Writer) (SnapshotInfo, error) {
			_, err := io.Copy(w, bytes.NewReader(big))
			return info, err
		},
		restore: func(r io.Reader) (_ RestoreResult, err error) {
			restored, err = io.ReadAll(r)
			return RestoreResult{info, 1, 2, 3, 4, 5, 6, 7, 8}, err
		},
	}
	c, _ := serveShared(t, s)
	var got bytes.Buffer
	if i, err := c.StateSnapshot(t.Context(), &got); err != nil || i != info || !bytes.Equal(got.Bytes(), big) {
		t.Errorf("snapshot: %+v, %d bytes, %v", i, got.Len(), err)
	}
	if r, err := c.StateRestore(t.Context(), &got); err != nil || r != (RestoreResult{info, 1, 2, 3, 4, 5, 6, 7, 8}) || !bytes.Equal(restored, big) {
		t.Errorf("restore: %+v, %d bytes, %v", r, len(restored), err)
	}
	s.snapshot = func(io.Writer) (SnapshotInfo, error) { return info, nil }
	if i, err := c.StateSnapshot(t.Context(), io.Discard); err != nil || i != info {
		t.Errorf("a snapshot of no bytes: %+v, %v", i, err)
	}
}

// A snapshot that fails is an error to the client, however much of it came.
func TestTornSnapshot(t *testing.T) {
	for _, n := range []int{1, 100_000} {
		c, socket := serveShared(t, &fakeState{snapshot: func(w io.Writer) (SnapshotInfo, error) {
			_, _ = w.Write(make([]byte, n))
			return SnapshotInfo{}, Errorf(CodeInternal, "the disk is on fire")
		}})
		// Another's client does not know our trailer: HTTP itself tells it.
		resp, err := NewClient(socket).send(t.Context(), "GET", "/v1/state/snapshot", nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("torn after %d bytes: %v", n, err)
		}
		if i, err := c.StateSnapshot(t.Context(), io.Discard); err == nil || i != (SnapshotInfo{}) {
			t.Errorf("torn after %d bytes: %+v, %v", n, i, err)
		}
	}
	c := answerWith(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half") }))
	if _, err := c.StateSnapshot(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "whole") {
		t.Errorf("without its last word: %v", err)
	}
	full := errors.New("no space left")
	c, _ = serveShared(t, &fakeState{snapshot: func(w io.Writer) (SnapshotInfo, error) {
		_, err := w.Write(make([]byte, 1<<20))
		return SnapshotInfo{}, err
	}})
	if _, err := c.StateSnapshot(t.Context(), failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("nowhere to write: %v", err)
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

// To settle a node is one question, and an error of the replica is told.
func TestSettle(t *testing.T) {
	s := &fakeState{}
	c, _ := serveShared(t, s)
	if info, err := c.StateSettle(t.Context()); err != nil || s.asked != "settle" || info.Digest != "ab01" {
		t.Errorf("%+v, %v, asked %v", info, err, s.asked)
	}
	s.err = Errorf(CodeUnavailable, "the disk is full")
	if _, err := c.StateSettle(t.Context()); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
}

// A restore flows: the daemon has the first bytes before the client has the last ones.
func TestRestoreStreams(t *testing.T) {
	first := make(chan struct{})
	s := &fakeState{restore: func(r io.Reader) (RestoreResult, error) {
		if _, err := io.ReadFull(r, make([]byte, 8)); err != nil {
			return RestoreResult{}, err
		}
		close(first)
		_, err := io.Copy(io.Discard, r)
		return RestoreResult{Taken: 1}, err
	}}
	c, _ := serveShared(t, s)
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(make([]byte, 8))
		<-first
		_, _ = w.Write(make([]byte, 1<<20))
		_ = w.Close()
	}()
	if res, err := c.StateRestore(t.Context(), r); err != nil || res.Taken != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

// A snapshot that is refused, or cannot be read any further, is refused or torn: the client says why.
func TestRestoreFails(t *testing.T) {
	ended := make(chan error, 1)
	s := &fakeState{restore: func(r io.Reader) (RestoreResult, error) {
		_, err := io.ReadFull(r, make([]byte, 8))
		if err == nil {
			err = Errorf(CodeBadRequest, "the snapshot is of domain other.mesh")
		}
		ended <- err
		return RestoreResult{}, err
	}}
	c, _ := serveShared(t, s)
	_, err := c.StateRestore(t.Context(), io.LimitReader(zeros{}, 64<<20))
	if !errors.Is(err, &Error{Code: CodeBadRequest}) || !strings.Contains(err.Error(), "other.mesh") {
		t.Errorf("refused early: %v", err)
	}
	<-ended
	gone := errors.New("the stick was pulled")
	_, err = c.StateRestore(t.Context(), io.MultiReader(strings.NewReader("abc"), failingReader{gone}))
	if !errors.Is(err, gone) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the daemon took what was cut off for whole")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// The shared state is not for monitoring.
func TestSharedNotOverTCP(t *testing.T) {
	h := NewPublicHandler(&fake{status: wholeStatus()}, nil)
	for _, path := range []string{"/v1/kv?key=k", "/v1/kv/list", "/v1/kv/watch", "/v1/kv/log", "/v1/state", "/v1/state/snapshot", "/v1/counters"} {
		req := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost"+path, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if want := map[bool]int{true: 200, false: 404}[path == "/v1/counters"]; w.Code != want {
			t.Errorf("%s is answered with %d, want %d", path, w.Code, want)
		}
	}
}

// When the daemon ends, a watch ends with an error that says so.
func TestWatchEndsWithTheDaemon(t *testing.T) {
	s := &fakeState{watch: func(ctx context.Context, _ KVWatchRequest, emit func(KVChange) error) error {
		_ = emit(KVChange{Revision: "j.1", Key: Bytes("k")})
		<-ctx.Done()
		return ctx.Err()
	}}
	path := filepath.Join(socketDir(t), "s")
	srv, err := Listen(ServerOptions{Socket: path, Backend: &fake{}, State: s, Listen: netip.AddrPort{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	c := NewClient(path)
	defer c.Close()
	err = c.KVWatch(t.Context(), KVWatchRequest{}, nil, func(KVChange) error { cancel(); return nil })
	if !errors.Is(err, &Error{Code: CodeUnavailable}) {
		t.Errorf("watch: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBytesJSON(t *testing.T) {
	for in, want := range map[string]Bytes{`"a\tb"`: Bytes("a\tb"), `{"base64":"AP8="}`: {0, 255}, `""`: {}, `{"base64":""}`: {}} {
		var b Bytes
		if err := b.UnmarshalJSON([]byte(in)); err != nil || !reflect.DeepEqual(b, want) {
			t.Errorf("%s: %v, %v", in, b, err)
		}
	}
	for _, in := range []string{`5`, `{}`, `{"base64":"?"}`, `{"base64":"","x":1}`, `"\x"`} {
		var b Bytes
		if err := b.UnmarshalJSON([]byte(in)); err == nil {
			t.Errorf("%s is read as %q", in, b)
		}
	}
}
