package replica

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/api"
)

func (m *member) snapshot() ([]byte, api.SnapshotInfo) {
	m.tb.Helper()
	var b bytes.Buffer
	info, err := m.Snapshot(context.Background(), &b)
	if err != nil {
		m.tb.Fatal(err)
	}
	return b.Bytes(), info
}

func (m *member) restored(b []byte) (api.RestoreResult, error) {
	return m.Restore(context.Background(), bytes.NewReader(b))
}

// resum writes the hash at the end of a snapshot anew, as somebody who changed it would.
func resum(b []byte) []byte {
	b = bytes.Clone(b)
	sum := sha256.Sum256(b[:len(b)-32])
	return append(b[:len(b)-32], sum[:]...)
}

// A snapshot brings another replica to the same state, once.
func TestSnapshot(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	defer a.close()
	for i := range 300 {
		a.put(fmt.Sprintf("k/%d", i), "v")
	}
	for i := range 10 {
		a.put(fmt.Sprintf("k/%d", i), "w")
	}
	a.put("large", strings.Repeat("x", api.MaxValue))
	if _, err := a.KVDelete(t.Context(), []byte("k/9")); err != nil {
		t.Fatal(err)
	}
	b, info := a.snapshot()
	if info.Entries != 301 || info.Domain != "lab.internal" || info.Node != a.id || info.Digest != a.info().Digest || info.Time.IsZero() {
		t.Errorf("%+v", info)
	}
	c := d.member(t, "c")
	defer c.close()
	res, err := c.restored(b)
	if err != nil || res.Taken != 301 || res.Known != 0 || res.Refused != 0 || res.Snapshot != info || c.info().Digest != info.Digest {
		t.Errorf("%+v, %v", res, err)
	}
	if c.get("k/3") != "w" || c.get("k/9") != "-" || c.counter("chains") != 1 {
		t.Errorf("%q", c.get("k/3"))
	}
	c.put("k/3", "newer")
	if res, err = c.restored(b); err != nil || res.Taken != 0 || res.Known != 301 || c.get("k/3") != "newer" {
		t.Errorf("%+v, %v", res, err)
	}
	c.close()
	c.open()
	if c.get("k/4") != "w" || c.get("k/3") != "newer" || len(c.info().Warnings) > 0 {
		t.Errorf("opened again: %q %+v", c.get("k/3"), c.info())
	}
}

// A snapshot of a replica without anything is one.
func TestSnapshotEmpty(t *testing.T) {
	d := newDomain(t)
	a, c := d.member(t, "a"), d.member(t, "c")
	defer a.close()
	defer c.close()
	b, _ := a.snapshot()
	if res, err := c.restored(b); err != nil || res.Taken+res.Known+res.Refused != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// Of what is torn, changed, of another domain or of a newer version, nothing is taken, and the error says which it is.
func TestSnapshotRefused(t *testing.T) {
	d := newDomain(t)
	a, c := d.member(t, "a"), d.member(t, "c")
	defer a.close()
	defer c.close()
	for i := range 3 {
		a.put(fmt.Sprintf("k/%d", i), "v")
	}
	good, _ := a.snapshot()
	refused := func(what string, b []byte, named ...error) {
		t.Helper()
		res, err := c.restored(b)
		ok := false
		for _, n := range named {
			ok = ok || errors.Is(err, n)
		}
		if !ok || code(err) != api.CodeBadRequest || res.Taken > 0 {
			t.Errorf("%s: %+v, %v, want %v", what, res, err, named)
		}
		if n := c.info().Entries; n > 0 {
			t.Fatalf("%s: %d entries were taken", what, n)
		}
	}
	for n := range len(good) {
		if n < len(snapshotMagic)+1 {
			refused("almost nothing", good[:n], ErrNotSnapshot)
		} else {
			refused(fmt.Sprintf("%d bytes", n), good[:n], ErrSnapshotTorn)
		}
	}
	for n := range len(good) {
		b := bytes.Clone(good)
		b[n] ^= 1 << (n % 8)
		refused(fmt.Sprintf("byte %d", n), b, ErrSnapshotChanged, ErrSnapshotTorn, ErrNotSnapshot, ErrSnapshotNewer)
	}
	refused("something behind", append(bytes.Clone(good), 0), ErrSnapshotChanged)
	b := bytes.Clone(good)
	b[len(snapshotMagic)]++
	refused("newer", b, ErrSnapshotNewer)
	b = bytes.Clone(good)
	b[len(snapshotMagic)+1+1+len("lab.internal")+1+len("a")+8+7]++
	refused("another number of entries", resum(b), ErrSnapshotChanged)
	b = bytes.Clone(good)
	b[len(snapshotMagic)+2] = 'x'
	refused("another domain", resum(b), ErrSnapshotDomain)
	// The same of a replica of another domain is refused for that only.
	other := d.member(t, "o", func(c *Config) { c.Domain = spiffeid.RequireTrustDomainFromString("other.internal") })
	defer other.close()
	if _, err := other.restored(good); !errors.Is(err, ErrSnapshotDomain) {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(c.cfg.Path), restoreTemplate))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if res, err := c.restored(good); err != nil || res.Taken != 3 {
		t.Errorf("the good one: %+v, %v", res, err)
	}
}

// Entries whose author did not make them are refused one batch at a time, the others count.
func TestSnapshotForged(t *testing.T) {
	d := newDomain(t)
	a, c := d.member(t, "a"), d.member(t, "c")
	defer a.close()
	defer c.close()
	a.put("one", "first value")
	a.put("two", "other value")
	b, _ := a.snapshot()
	forged := resum(bytes.Replace(b, []byte("first value"), []byte("worst value"), 1))
	res, err := c.restored(forged)
	if err != nil || res.Taken != 1 || res.Refused != 1 || c.get("one") != "-" || c.get("two") != "other value" {
		t.Errorf("%+v, %v", res, err)
	}
	d.setDistrust(true)
	e := d.member(t, "e")
	defer e.close()
	if res, err := e.restored(b); err != nil || res.Taken != 0 || res.Unvouched != 2 || res.Refused+res.Known != 0 || e.counter("unproven") != 2 {
		t.Errorf("%+v, %v", res, err)
	}
}

// A snapshot that no state of this size could make is not kept on disk for long.
func TestSnapshotTooLarge(t *testing.T) {
	d := newDomain(t)
	a, c := d.member(t, "a"), d.member(t, "c", func(c *Config) { c.MaxBytes = 100 })
	defer a.close()
	defer c.close()
	a.put("k", strings.Repeat("v", 1000))
	b, _ := a.snapshot()
	if _, err := c.restored(b); !errors.Is(err, ErrSnapshotLarge) || code(err) != api.CodeTooLarge {
		t.Error(err)
	}
}

func FuzzSnapshot(f *testing.F) {
	d := newDomain(f)
	a := d.member(f, "a")
	defer a.close()
	a.put("k", "v")
	good, _ := a.snapshot()
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if len(b) > 40 {
			b = resum(b)
		}
		_, err := a.spool(t.Context(), bytes.NewReader(b), &out)
		if err == nil && !bytes.Equal(out.Bytes(), b) {
			t.Error("what was verified is not what is kept")
		}
		if err != nil && code(snapshotRefusal(err)) != api.CodeBadRequest {
			t.Errorf("%v has no name", err)
		}
	})
}
