package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

var everyByte = func() (all Bytes) {
	for i := range 256 {
		all = append(all, byte(i))
	}
	return all
}()

// Keys and values of any bytes come back as they went, and every answer says how fresh it is.
func TestKVOverTheSocket(t *testing.T) {
	s := &fakeState{}
	c, _ := serveShared(t, s)
	ctx := t.Context()
	for i, tc := range []struct{ key, value Bytes }{
		{Bytes("app/colour"), Bytes("blue")}, {everyByte, everyByte}, {Bytes("a+b &=%/?#;"), Bytes("")}, {Bytes("<html>"), bytes.Repeat([]byte{'&'}, MaxValue)},
		{bytes.Repeat([]byte{0xff}, MaxKey), bytes.Repeat([]byte{0}, MaxValue)},
	} {
		wrote, err := c.KVPut(ctx, tc.key, tc.value)
		if err != nil || !reflect.DeepEqual(wrote, KVWritten{fresh(), noon, Revision(fmt.Sprintf("j.%d", i+1))}) {
			t.Fatalf("put %.20q: %+v, %v", tc.key, wrote, err)
		}
		want := KVGet{fresh(), &KVEntry{Key: tc.key, Value: tc.value, Time: noon, Author: beta}}
		got, err := c.KVGet(ctx, tc.key)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("get %.20q: %.100v, %v", tc.key, got, err)
		}
	}
	wrote, err := c.KVDelete(ctx, everyByte)
	if err != nil || wrote.Revision != "j.6" || wrote.Consistency != ConsistencyEventual {
		t.Errorf("delete: %+v, %v", wrote, err)
	}
	got, err := c.KVGet(ctx, everyByte)
	if err != nil || got.Entry != nil || !reflect.DeepEqual(got.Freshness, fresh()) {
		t.Errorf("a deleted key: %+v, %v", got, err)
	}
	info, err := c.State(ctx)
	want := StateInfo{Freshness: fresh(), Entries: 4, Bytes: 4711, Digest: "ab01", Warnings: List[string]{}}
	if err != nil || !reflect.DeepEqual(info, want) {
		t.Errorf("state: %+v, %v", info, err)
	}
}

// A program without our client gets bytes for JSON if it asks for them, and 404 where there is no value.
func TestKVRaw(t *testing.T) {
	s := &fakeState{kv: map[string][]byte{"bin": everyByte, "none": nil}}
	_, socket := serveShared(t, s)
	ask := func(key, accept string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/v1/kv?key="+key, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := NewClient(socket).http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	how := `{"consistency":"eventual","settled":true,"neighbours":2,"agreeing":1,"agreed_ago_ms":1500}`
	for _, accept := range []string{"application/octet-stream", "text/html, application/octet-stream;q=0.9"} {
		resp, body := ask("bin", accept)
		if body != string(everyByte) || resp.Header.Get("Content-Type") != mediaBytes || resp.Header.Get(freshnessHeader) != how {
			t.Errorf("%s: %q, %v", accept, body, resp.Header)
		}
	}
	if _, body := ask("none", mediaBytes); body != "" {
		t.Errorf("an empty value is %q", body)
	}
	for _, accept := range []string{"", "*/*", "application/json", "application/octet-stream-x"} {
		if resp, body := ask("none", accept); !strings.Contains(body, `"value":""`) || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %q, %v", accept, body, resp.Header)
		}
	}
	for _, accept := range []string{"", mediaBytes} {
		resp, body := ask("gone", accept)
		want := `{"error":{"code":"not_found","message":"no value at \"gone\" here"},` + how[1:] + "\n"
		if resp.StatusCode != 404 || body != want {
			t.Errorf("%q: %d %s, want %s", accept, resp.StatusCode, body, want)
		}
	}
}

// A daemon from before there was shared state has no such endpoint: that is not the same as no value.
func TestKVGetOfAnOldDaemon(t *testing.T) {
	c := answerWith(t, http.NotFoundHandler())
	if _, err := c.KVGet(t.Context(), []byte("k")); err == nil {
		t.Error("what is not JSON is no value")
	}
	c = answerWith(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, Errorf(CodeNotFound, "there is no GET /v1/kv"))
	}))
	if _, err := c.KVGet(t.Context(), []byte("k")); !errors.Is(err, &Error{Code: CodeNotFound}) {
		t.Errorf("no endpoint: %v", err)
	}
}

func TestKVTooLarge(t *testing.T) {
	s := &fakeState{}
	c, socket := serveShared(t, s)
	most := make([]byte, MaxValue)
	if _, err := c.KVPut(t.Context(), []byte("k"), most); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	if _, err := c.KVPut(t.Context(), []byte("k"), append(most, 0)); !errors.Is(err, &Error{Code: CodeTooLarge}) {
		t.Errorf("a byte more: %v", err)
	}
	for name, body := range map[string]io.Reader{
		"announced": bytes.NewReader(append(most, 0)), "in chunks": io.MultiReader(bytes.NewReader(append(most, 0))),
	} {
		resp, err := NewClient(socket).send(t.Context(), "PUT", "/v1/kv?key=k", body)
		if err != nil {
			t.Fatal(name, err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 413 || !strings.Contains(string(b), "1048576 bytes (1 MiB)") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, b)
		}
	}
	if n := len(s.journal); n != 1 {
		t.Errorf("%d values were written", n)
	}
}

func TestBadRequestsForShared(t *testing.T) {
	_, socket := serveShared(t, &fakeState{kv: map[string][]byte{"k": []byte("v")}})
	long := strings.Repeat("k", MaxKey+1)
	for _, tc := range []struct {
		name, method, path string
		status             int
		says               string
	}{
		{"control: get", "GET", "/v1/kv?key=k", 200, `"value":"v"`},
		{"control: list", "GET", "/v1/kv/list?prefix=k&after=a&limit=5&keys=false", 200, `"value":"v"`},
		{"control: log", "GET", "/v1/kv/log?prefix=k&limit=1", 200, `"freshness"`},
		{"control: state", "GET", "/v1/state", 200, `"digest":"ab01"`},
		{"no key", "GET", "/v1/kv", 400, "add ?key=KEY"},
		{"no key to write", "PUT", "/v1/kv", 400, "add ?key=KEY"},
		{"no key to delete", "DELETE", "/v1/kv", 400, "add ?key=KEY"},
		{"empty key", "GET", "/v1/kv?key=", 400, "the key is empty"},
		{"long key", "PUT", "/v1/kv?key=" + long, 400, "the key has 1025 bytes"},
		{"two keys", "DELETE", "/v1/kv?key=a&key=b", 400, "2 times"},
		{"unknown parameter", "GET", "/v1/kv?key=a&ttl=5", 400, "unknown parameter"},
		{"broken escape", "GET", "/v1/kv?key=%f", 400, "query"},
		{"wrong method", "POST", "/v1/kv?key=a", 404, "not_found"},
		{"long prefix", "GET", "/v1/kv/list?prefix=" + long, 400, "prefix has 1025 bytes"},
		{"long after", "GET", "/v1/kv/list?after=" + long, 400, "after has 1025 bytes"},
		{"limit 0", "GET", "/v1/kv/list?limit=0", 400, "from 1 to 10000"},
		{"limit too high", "GET", "/v1/kv/list?limit=10001", 400, "from 1 to 10000"},
		{"keys neither", "GET", "/v1/kv/list?keys=some", 400, "use true or false"},
		{"list with key", "GET", "/v1/kv/list?key=a", 400, "unknown parameter"},
		{"watch long prefix", "GET", "/v1/kv/watch?prefix=" + long, 400, "prefix has 1025 bytes"},
		{"watch long revision", "GET", "/v1/kv/watch?from=" + strings.Repeat("1", maxRevision+1), 400, "no revision"},
		{"watch current neither", "GET", "/v1/kv/watch?current=2", 400, "use true or false"},
		{"watch with limit", "GET", "/v1/kv/watch?limit=2", 400, "unknown parameter"},
		{"log limit", "GET", "/v1/kv/log?limit=-1", 400, "from 1 to 100000"},
		{"log long prefix", "GET", "/v1/kv/log?prefix=" + long, 400, "prefix has 1025 bytes"},
		{"log with from", "GET", "/v1/kv/log?from=j.1", 400, "unknown parameter"},
		{"state with parameter", "GET", "/v1/state?x=1", 400, "unknown parameter"},
		{"snapshot with parameter", "GET", "/v1/state/snapshot?x=1", 400, "unknown parameter"},
		{"restore with parameter", "POST", "/v1/state/restore?x=1", 400, "unknown parameter"},
		{"restore by GET", "GET", "/v1/state/restore", 404, "not_found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := raw(t, socket, tc.method, tc.path, "")
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.says) {
				t.Errorf("%d %s, want %d and %q", resp.StatusCode, b, tc.status, tc.says)
			}
		})
	}
}

// What the replica says of a failure arrives as it was said, whatever was asked.
func TestSharedFailures(t *testing.T) {
	wrong := Errorf(CodeUnavailable, "this replica has not learnt yet what others have").With("wait")
	s := &fakeState{err: wrong, snapshot: func(io.Writer) (SnapshotInfo, error) { return SnapshotInfo{}, wrong },
		restore: func(io.Reader) (RestoreResult, error) { return RestoreResult{}, wrong }}
	none, _ := serve(t, &fake{})
	c, _ := serveShared(t, s)
	for who, c := range map[string]*Client{"failing": c, "none": none} {
		for what, err := range failuresOf(t.Context(), c) {
			if !errors.Is(err, &Error{Code: CodeUnavailable}) || (who == "none") != strings.Contains(err.Error(), "keeps no shared state") {
				t.Errorf("%s, %s: %v", who, what, err)
			}
		}
	}
}

// failuresOf does everything that there is to be done with the shared state.
func failuresOf(ctx context.Context, c *Client) map[string]error {
	key, errs := []byte("k"), map[string]error{}
	_, errs["get"] = c.KVGet(ctx, key)
	_, errs["put"] = c.KVPut(ctx, key, nil)
	_, errs["delete"] = c.KVDelete(ctx, key)
	_, errs["list"] = c.KVList(ctx, KVListRequest{})
	errs["watch"] = c.KVWatch(ctx, KVWatchRequest{}, nil, func(KVChange) error { return nil })
	errs["log"] = c.KVLog(ctx, KVLogRequest{}, nil, func(KVChange) error { return nil })
	_, errs["state"] = c.State(ctx)
	_, errs["snapshot"] = c.StateSnapshot(ctx, io.Discard)
	_, errs["restore"] = c.StateRestore(ctx, strings.NewReader("x"))
	return errs
}

func TestKVListPages(t *testing.T) {
	s := &fakeState{kv: map[string][]byte{"a": []byte("1"), "b": nil, "\xff": []byte("3")}}
	c, _ := serveShared(t, s)
	req := KVListRequest{Prefix: []byte{0xff}, After: []byte{0xff, 0}, Limit: 7, Keys: true}
	if _, err := c.KVList(t.Context(), req); err != nil || !reflect.DeepEqual(s.asked, req) {
		t.Errorf("asked %+v, %v; want %+v", s.asked, err, req)
	}
	l, err := c.KVList(t.Context(), KVListRequest{Limit: 2})
	want := List[KVEntry]{{Bytes("a"), Bytes("1"), noon, alpha}, {Bytes("b"), Bytes(""), noon, alpha}}
	if err != nil || !reflect.DeepEqual(l.Entries, want) || string(l.After) != "b" || !reflect.DeepEqual(l.Freshness, fresh()) {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = c.KVList(t.Context(), KVListRequest{Limit: 2, After: l.After, Keys: true})
	if err != nil || !reflect.DeepEqual(l.Entries, List[KVEntry]{{Bytes("\xff"), nil, noon, alpha}}) || l.After != nil {
		t.Errorf("the last page, without values: %+v, %v", l, err)
	}
}

// A page of large values is cut to what an answer may be, and goes on where it was cut.
func TestKVListBounded(t *testing.T) {
	s := &fakeState{kv: map[string][]byte{}}
	for i := range 20 {
		s.kv[fmt.Sprintf("%02d", i)] = bytes.Repeat([]byte{'x'}, MaxValue)
	}
	c, _ := serveShared(t, s)
	var req KVListRequest
	var got []string
	for range 10 {
		l, err := c.KVList(t.Context(), req)
		if err != nil || len(l.Entries) > 8 {
			t.Fatalf("%d entries, %v", len(l.Entries), err)
		}
		for _, e := range l.Entries {
			got = append(got, string(e.Key))
		}
		if req.After = l.After; l.After == nil {
			break
		}
	}
	if len(got) != 20 || got[0] != "00" || got[19] != "19" {
		t.Errorf("%q", got)
	}
	if l, err := c.KVList(t.Context(), KVListRequest{Keys: true}); err != nil || len(l.Entries) != 20 {
		t.Errorf("keys alone: %d, %v", len(l.Entries), err)
	}
}

func TestKVWatch(t *testing.T) {
	changed := []KVChange{
		{Revision: "j.now", Taken: noon, Reset: true},
		{Revision: "j.1", Key: everyByte, Value: Bytes("x"), Time: noon, Author: beta, Taken: noon, Current: true},
		{Revision: "j.2", Key: Bytes("k"), Value: bytes.Repeat([]byte{'<'}, MaxValue), Time: noon, Author: beta, Taken: noon},
		{Revision: "j.3", Key: Bytes("k"), Deleted: true, Time: noon, Author: beta, Taken: noon},
	}
	ended := make(chan error, 1)
	s := &fakeState{watch: func(ctx context.Context, _ KVWatchRequest, emit func(KVChange) error) error {
		for _, c := range changed {
			if err := emit(c); err != nil {
				return err
			}
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	c, _ := serveShared(t, s)
	var got []KVChange
	var heads []Freshness
	stop := errors.New("enough")
	req := KVWatchRequest{Prefix: []byte{0, 0xff}, From: "j.0", Current: true}
	err := c.KVWatch(t.Context(), req, func(f Freshness) { heads = append(heads, f) }, func(c KVChange) error {
		if got = append(got, c); len(got) == len(changed) {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || !reflect.DeepEqual(got, changed) || !reflect.DeepEqual(heads, []Freshness{fresh()}) {
		t.Errorf("%v; %d changes, heads %+v", err, len(got), heads)
	}
	if !reflect.DeepEqual(s.asked, req) {
		t.Errorf("the backend was asked %+v", s.asked)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the backend's context ended by %v", err)
	}
}

// A watch says that it began although nothing changes.
func TestKVWatchOfNothing(t *testing.T) {
	asked := make(chan KVWatchRequest, 1)
	c, _ := serveShared(t, &fakeState{watch: func(ctx context.Context, req KVWatchRequest, _ func(KVChange) error) error {
		asked <- req
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	opened := 0
	if _, err := c.KVPut(ctx, []byte("k"), nil); err != nil {
		t.Fatal(err)
	}
	err := c.KVWatch(ctx, KVWatchRequest{}, func(Freshness) { opened++; cancel() }, func(KVChange) error { return nil })
	if opened != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("opened %d times, %v", opened, err)
	}
	if got, want := <-asked, (KVWatchRequest{Prefix: []byte{}, From: "j.1"}); !reflect.DeepEqual(got, want) {
		t.Errorf("the backend was asked %+v: what comes before it begins would be missed", got)
	}
}

func TestKVWatchFails(t *testing.T) {
	foreign := Errorf(CodeBadRequest, "revision x.9 is of another replica").With("leave out from")
	for n, status := range map[int]int{0: 400, 1: 200} {
		s := &fakeState{watch: func(_ context.Context, _ KVWatchRequest, emit func(KVChange) error) error {
			for range n {
				_ = emit(KVChange{Revision: "j.1", Key: Bytes("k")})
			}
			return foreign
		}}
		c, socket := serveShared(t, s)
		if resp := raw(t, socket, "GET", "/v1/kv/watch?from=x.9", ""); resp.StatusCode != status {
			t.Errorf("after %d lines: status %d, want %d", n, resp.StatusCode, status)
		}
		seen := 0
		err := c.KVWatch(t.Context(), KVWatchRequest{From: "x.9"}, nil, func(KVChange) error { seen++; return nil })
		if !errors.Is(err, &Error{Code: CodeBadRequest}) || !strings.Contains(err.Error(), "leave out from") || seen != n {
			t.Errorf("after %d lines: %d seen, %v", n, seen, err)
		}
	}
}

func TestKVLog(t *testing.T) {
	s := &fakeState{}
	c, _ := serveShared(t, s)
	for _, key := range []string{"a/1", "b", "a/2"} {
		if _, err := c.KVPut(t.Context(), []byte(key), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	req := KVLogRequest{Prefix: []byte("a/"), Limit: 9}
	var f Freshness
	opened := func(head Freshness) { f = head }
	err := c.KVLog(t.Context(), req, opened, func(c KVChange) error { got = append(got, string(c.Key)); return nil })
	if err != nil || strings.Join(got, " ") != "a/1 a/2" || !reflect.DeepEqual(f, fresh()) || !reflect.DeepEqual(s.asked, req) {
		t.Errorf("%q, %+v, %v; asked %+v", got, f, err, s.asked)
	}
	f = Freshness{}
	err = c.KVLog(t.Context(), KVLogRequest{Prefix: []byte("none")}, opened, func(KVChange) error { return errors.New("a change") })
	if err != nil || !reflect.DeepEqual(f, fresh()) {
		t.Errorf("an empty log: %+v, %v", f, err)
	}
	s.log = func(context.Context, KVLogRequest, func(KVChange) error) error { return Errorf(CodeTimeout, "slow") }
	if err = c.KVLog(t.Context(), req, nil, nil); !errors.Is(err, &Error{Code: CodeTimeout}) {
		t.Errorf("a log that fails: %v", err)
	}
}

// The names of fields are a promise to programs. Whoever changes this test breaks them.
func TestFieldNamesOfShared(t *testing.T) {
	ago := Millis(time.Second)
	f := Freshness{Agreed: &ago, Held: 1, Aside: 1, Uncovered: 1}
	const freshNames = "agreed_ago_ms agreeing aside consistency held neighbours settled uncovered"
	names := func(more string) string {
		return strings.Join(sortedFields(freshNames+" "+more), " ")
	}
	for name, tc := range map[string]struct {
		v    any
		want string
	}{
		"get":      {KVGet{f, &KVEntry{}}, names("entry")},
		"entry":    {KVEntry{Key: Bytes("k"), Value: Bytes{}}, "author key time value"},
		"written":  {KVWritten{Freshness: f}, names("revision time")},
		"list":     {KVList{Freshness: f, After: Bytes("k")}, names("after entries revision")},
		"change":   {KVChange{Key: Bytes("k"), Value: Bytes("v"), Deleted: true, Current: true, Author: beta, Time: noon}, "author current deleted key revision taken time value"},
		"reset":    {KVChange{Revision: "j.now", Taken: noon, Reset: true}, "reset revision taken"},
		"state":    {StateInfo{Freshness: f}, names("bytes digest entries warnings")},
		"snapshot": {SnapshotInfo{}, "digest domain entries node time"},
		"restored": {RestoreResult{}, "full future known older refused snapshot taken uncovered unvouched"},
		"head":     {changesHead{}, "freshness"},
		"absent":   {absent{NoValue(nil), f}, names("error")},
	} {
		b, err := json.Marshal(tc.v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(sortedKeys(m), " "); got != tc.want {
			t.Errorf("%s has fields\n%s, want\n%s", name, got, tc.want)
		}
	}
}
