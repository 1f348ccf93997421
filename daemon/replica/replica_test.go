package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/core/crdt"
	"x0tta6bl4/mesh"
)

// Two replicas that meet have the same, whoever wrote it, and a write reaches the other at once.
func TestTwoAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b", notFounder)
		defer a.close()
		defer b.close()
		a.put("one", "1")
		c := connect(a, b)
		defer c.cut()
		agree(t, 5*time.Second, a, b)
		time.Sleep(5 * time.Second) // b knows that it has all only when it has heard so
		b.put("two", "2")
		if _, err := a.KVDelete(t.Context(), []byte("one")); err != nil {
			t.Fatal(err)
		}
		if took := agree(t, time.Second, a, b); took > 100*time.Millisecond {
			t.Errorf("a write took %v", took)
		}
		for _, m := range []*member{a, b} {
			if m.get("one") != "-" || m.get("two") != "2" {
				t.Errorf("%s: %q %q", m.id, m.get("one"), m.get("two"))
			}
		}
		time.Sleep(5 * time.Second)
		if i := b.info(); i.Neighbours != 1 || i.Agreeing != 1 || i.Agreed == nil || i.Agreed.Duration() > 5*time.Second || !i.Settled || len(i.Warnings) > 0 {
			t.Errorf("%+v", i)
		}
	})
}

// Five in a line that is cut in the middle: both sides write, and agree when it is whole.
func TestFiveAgreeAfterAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		var ms []*member
		for i := range 5 {
			ms = append(ms, d.member(t, fmt.Sprintf("n%d", i)))
			defer ms[i].close()
		}
		var cs []*connection
		for i := range 4 {
			cs = append(cs, connect(ms[i], ms[i+1]))
		}
		ms[0].put("shared", "before")
		agree(t, 10*time.Second, ms...)
		cs[1].cut()
		for i := range 300 {
			ms[0].put(fmt.Sprintf("left/%d", i), "x")
			ms[4].put(fmt.Sprintf("right/%d", i), "y")
		}
		ms[0].put("shared", "left")
		time.Sleep(time.Second)
		ms[4].put("shared", "right")
		agree(t, 10*time.Second, ms[:2]...)
		agree(t, 10*time.Second, ms[2:]...)
		if ms[1].get("shared") != "left" || ms[2].get("shared") != "right" || ms[0].get("right/0") != "-" {
			t.Error("the cut did not cut")
		}
		cs[1] = connect(ms[1], ms[2])
		agree(t, 30*time.Second, ms...)
		for _, m := range ms {
			if m.get("shared") != "right" || m.get("left/299") != "x" || m.get("right/299") != "y" {
				t.Errorf("%s: %q", m.id, m.get("shared"))
			}
		}
		for _, c := range cs {
			c.cut()
		}
	})
}

// What was acknowledged is there when the replica is opened again, and it goes on as itself.
func TestReopened(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	for i := range 20 {
		a.put(fmt.Sprintf("key/%d", i), "v")
	}
	a.put("key/3", "w")
	before := a.info()
	a.close()
	if _, err := a.KVPut(t.Context(), []byte("k"), nil); code(err) != api.CodeUnavailable || !errors.Is(err, ErrClosed) {
		t.Errorf("a closed replica: %v", err)
	}
	a.open()
	defer a.close()
	after := a.info()
	if after.Digest != before.Digest || len(after.Warnings) > 0 || a.get("key/3") != "w" {
		t.Errorf("%+v, before %+v", after, before)
	}
	a.put("key/4", "x")
	if n := a.counter("chains"); n != 1 {
		t.Errorf("%d chains", n)
	}
}

// A replica that has not learnt yet what others have writes nothing.
func TestUnsettledRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a"), d.member(t, "b", notFounder)
		defer a.close()
		defer b.close()
		if _, err := b.KVPut(t.Context(), []byte("k"), []byte("v")); code(err) != api.CodeUnavailable || !errors.Is(err, crdt.ErrUnsettled) {
			t.Errorf("put: %v", err)
		}
		if b.info().Settled {
			t.Error("it says that it is settled")
		}
		c := connect(a, b)
		defer c.cut()
		agree(t, 5*time.Second, a, b)
		time.Sleep(5 * time.Second)
		b.put("k", "v")
	})
}

// Where no settled replica is left an operator settles one. It stays so, and settles the others.
func TestSettledByTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a, b := d.member(t, "a", notFounder), d.member(t, "b", notFounder)
		defer a.close()
		defer b.close()
		c := connect(a, b)
		time.Sleep(time.Hour)
		if a.info().Settled || b.info().Settled {
			t.Fatal("two that know nothing settled each other")
		}
		if err := a.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		agree(t, 5*time.Second, a, b)
		time.Sleep(5 * time.Second)
		b.put("k", "v")
		c.cut()
		a.close()
		a.open()
		a.put("k", "w")
	})
}

// What a user may not write, and limits.
func TestRefusals(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a", func(c *Config) {
		c.May = func(w crdt.Write) error {
			if strings.HasPrefix(string(w.Key), "no/") {
				return errors.New("policy says so")
			}
			return nil
		}
	})
	defer a.close()
	for _, c := range []struct {
		key, value string
		want       api.Code
	}{
		{"", "", api.CodeBadRequest},
		{strings.Repeat("k", api.MaxKey+1), "", api.CodeBadRequest},
		{"k", strings.Repeat("v", api.MaxValue+1), api.CodeTooLarge},
		{"x0t/config", "", api.CodeForbidden},
		{"\x00config", "", api.CodeForbidden},
		{"no/way", "", api.CodeForbidden},
		{strings.Repeat("k", api.MaxKey), strings.Repeat("v", api.MaxValue), ""},
		{"x0t", "", ""},
	} {
		if _, err := a.KVPut(t.Context(), []byte(c.key), []byte(c.value)); code(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("put %.20q of %d bytes: %v, want %q", c.key, len(c.value), err, c.want)
		}
	}
	if _, err := a.KVDelete(t.Context(), []byte("x0t/config")); code(err) != api.CodeForbidden {
		t.Errorf("delete: %v", err)
	}
	if _, err := a.KVGet(t.Context(), nil); code(err) != api.CodeBadRequest {
		t.Errorf("get: %v", err)
	}
	if _, err := a.KVList(t.Context(), api.KVListRequest{Limit: -1}); code(err) != api.CodeBadRequest {
		t.Errorf("list: %v", err)
	}
	if _, err := a.Put(t.Context(), []byte("x0t/config"), []byte("v")); err != nil || a.get("x0t/config") != "v" {
		t.Errorf("the daemon's own put: %v", err)
	}
}

// Without an SVID, or with one that is not valid, nothing is written: others would refuse it for good.
func TestNoIdentityNoWrite(t *testing.T) {
	d := newDomain(t)
	id := Identity{}
	a := d.member(t, "a", func(c *Config) { c.Identity = func() Identity { return id } })
	defer a.close()
	try := func(what string) {
		t.Helper()
		if _, err := a.KVPut(t.Context(), []byte("k"), nil); code(err) != api.CodeUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	try("none")
	id = d.identity(a.id, -time.Minute)
	try("expired")
	id = d.identity(mesh.MustNodeID("b"), time.Hour)
	try("another's")
	id = d.identity(a.id, time.Hour)
	id.Signer = d.key
	try("another key")
	if n := a.counter("unsigned"); n != 3 {
		t.Errorf("%d unsigned", n)
	}
	id = d.identity(a.id, time.Hour)
	a.put("k", "v")
}

// A list goes on where its page ended, and has room for large values.
func TestList(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	defer a.close()
	for i := range 10 {
		a.put(fmt.Sprintf("p/%d", i), strings.Repeat("v", 1<<20))
	}
	w := a.put("q", "")
	var keys []string
	pages := 0
	for req := (api.KVListRequest{Prefix: []byte("p/"), Limit: 100}); ; pages++ {
		l, err := a.KVList(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		if l.Revision != w.Revision || l.Consistency != api.ConsistencyEventual {
			t.Errorf("revision %s, want %s", l.Revision, w.Revision)
		}
		for _, e := range l.Entries {
			keys = append(keys, string(e.Key))
		}
		if req.After = l.After; l.After == nil {
			break
		}
	}
	if len(keys) != 10 || pages != 1 || keys[9] != "p/9" {
		t.Errorf("%d pages more, %q", pages, keys)
	}
	if l, _ := a.KVList(context.Background(), api.KVListRequest{Keys: true}); len(l.Entries) != 11 || l.Entries[0].Value != nil || l.After != nil {
		t.Errorf("keys: %d entries, after %q", len(l.Entries), l.After)
	}
	if l, _ := a.KVList(context.Background(), api.KVListRequest{Prefix: []byte("q")}); len(l.Entries) != 1 || l.Entries[0].Value == nil {
		t.Errorf("an empty value: %+v", l.Entries)
	}
	if l, _ := a.KVList(context.Background(), api.KVListRequest{Limit: 3}); len(l.Entries) != 3 || string(l.After) != "p/2" {
		t.Errorf("%d entries, after %q", len(l.Entries), l.After)
	}
}
