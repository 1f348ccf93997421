package replica

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/wire"
)

// slowSigner signs when it is let, and counts.
type slowSigner struct {
	crypto.Signer
	let chan error
	n   int
}

func (s *slowSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := <-s.let; err != nil {
		return nil, err
	}
	s.n++
	return s.Signer.Sign(rand, digest, opts)
}

func slowMember(t *testing.T, d *domain) (*member, *slowSigner) {
	id := d.identity(mustNode("a"), 1000e9)
	s := &slowSigner{Signer: id.Signer, let: make(chan error)}
	return d.member(t, "a", func(c *Config) { c.Identity = func() Identity { return Identity{id.Chain, s} } }), s
}

// Writes that come while one is signed and written are signed together.
func TestSignedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, signer := slowMember(t, newDomain(t))
		var all sync.WaitGroup
		revisions := make([]api.Revision, 301)
		put := func(i int) {
			all.Go(func() { revisions[i] = a.put(fmt.Sprintf("k%d", i), "v").Revision })
		}
		put(0)
		synctest.Wait()
		for i := 1; i <= 300; i++ {
			put(i)
		}
		synctest.Wait()
		if n := a.info().Entries; n != 0 {
			t.Errorf("%d entries without a signature", n)
		}
		for range 1 + (300+wire.MaxBatch-1)/wire.MaxBatch {
			signer.let <- nil
		}
		all.Wait()
		seen := map[api.Revision]bool{}
		for _, r := range revisions {
			seen[r] = true
		}
		if signer.n != 3 || a.info().Entries != 301 || len(seen) != 301 {
			t.Errorf("%d signatures, %d entries, %d revisions", signer.n, a.info().Entries, len(seen))
		}
		a.close()
	})
}

// A write that cannot be signed is answered so, and nothing of it is left.
func TestSignerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, signer := slowMember(t, newDomain(t))
		go func() { signer.let <- errors.New("the token is gone") }()
		if _, err := a.KVPut(t.Context(), []byte("k"), nil); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "the token is gone") {
			t.Error(err)
		}
		go func() { signer.let <- nil }()
		a.put("k", "v")
		a.close()
	})
}

// What waits is bounded in bytes; who gives up waiting holds nobody up.
func TestWaitingBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, signer := slowMember(t, newDomain(t))
		ctx, cancel := context.WithCancel(t.Context())
		value := make([]byte, api.MaxValue)
		refused := make(chan error, 100)
		for i := range 70 {
			go func() {
				_, err := a.KVPut(ctx, fmt.Appendf(nil, "%d", i), value)
				refused <- err
			}()
		}
		synctest.Wait()
		if n := len(refused); n < 5 || n > 8 {
			t.Errorf("%d are refused", n)
		}
		for range len(refused) {
			if err := <-refused; code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "wait") {
				t.Error(err)
			}
		}
		cancel()
		if err := <-refused; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(signer.let)
		a.put("after", "v")
		a.close()
	})
}

// Two restores at a time are one too many.
func TestOneRestoreAtATime(t *testing.T) {
	d := newDomain(t)
	a := d.member(t, "a")
	defer a.close()
	b, _ := a.snapshot()
	a.restore.Lock()
	if _, err := a.restored(b); code(err) != api.CodeConflict {
		t.Error(err)
	}
	a.restore.Unlock()
	if _, err := a.restored(b); err != nil {
		t.Error(err)
	}
}

// A replica that is full of other keys takes those without which the mesh cannot go on.
func TestFullOfUsersKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a", func(c *Config) {
			c.MaxBytes = 64 << 10
			c.Vital = func(key []byte) bool { return strings.HasPrefix(string(key), "x0t/log/") }
		})
		defer a.close()
		s := meet(t, a, "relay", true)
		for i := range 5 {
			name := fmt.Sprint("z", i)
			id := d.identity(mustNode(name), time.Hour)
			s.send(wire.StateChain{Chain: id.Chain})
			for k := range 20 {
				s.send(piece(t, id, name, fmt.Sprint(name, k), strings.Repeat("v", 400), time.Now()))
			}
			synctest.Wait()
		}
		_ = s.end()
		if a.counter("full") == 0 {
			t.Fatalf("it is not full: %+v", a.info())
		}
		if _, err := a.KVPut(t.Context(), []byte("k"), make([]byte, 2<<10)); code(err) != api.CodeTooLarge {
			t.Errorf("a user's key: %v", err)
		}
		if _, err := a.Put(t.Context(), []byte("x0t/other/a"), make([]byte, 2<<10)); code(err) != api.CodeTooLarge {
			t.Errorf("a key that is not vital: %v", err)
		}
		if _, err := a.Put(t.Context(), []byte("x0t/log/a"), make([]byte, 2<<10)); err != nil {
			t.Error(err)
		}
	})
}
