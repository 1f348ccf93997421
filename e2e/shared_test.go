package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"x0tta6bl4/api"
)

// agreeLimit is more than a session of the shared state takes to compare, and to begin again after a link was lost.
const agreeLimit = 15 * time.Second

// put writes a key at a machine, which must acknowledge it.
func (m *machine) put(t *testing.T, key, value string) {
	t.Helper()
	if _, err := m.client.KVPut(t.Context(), []byte(key), []byte(value)); err != nil {
		t.Fatalf("put %q at %s: %v", key, m.id, err)
	}
}

// writable waits until a machine takes writes: it has learnt what others have.
func (m *machine) writable(t *testing.T) {
	t.Helper()
	eventually(t, agreeLimit, fmt.Sprintf("%s to take writes", m.id), func(ctx context.Context) error {
		info, err := m.client.State(ctx)
		if err == nil && !info.Settled {
			err = errors.New("it has not learnt what others have")
		}
		return err
	})
}

// values returns all that a machine holds of a prefix.
func (m *machine) values(ctx context.Context, prefix string) (map[string]string, error) {
	all := map[string]string{}
	for req := (api.KVListRequest{Prefix: []byte(prefix)}); ; {
		l, err := m.client.KVList(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, e := range l.Entries {
			all[string(e.Key)] = string(e.Value)
		}
		if l.After == nil {
			return all, nil
		}
		req.After = l.After
	}
}

// hold waits until every machine holds just what is wanted below a prefix, and all have the same digest.
func hold(t *testing.T, prefix string, want map[string]string, ms ...*machine) {
	t.Helper()
	eventually(t, agreeLimit, "agree on "+prefix, func(ctx context.Context) error {
		digest := ""
		for _, m := range ms {
			got, err := m.values(ctx, prefix)
			if err != nil {
				return err
			}
			if !maps.Equal(got, want) {
				return fmt.Errorf("%s holds %d keys, wanted are %d: %s", m.id, len(got), len(want), difference(got, want))
			}
			info, err := m.client.State(ctx)
			if err != nil {
				return err
			}
			if digest == "" {
				digest = info.Digest
			}
			if info.Digest != digest {
				return fmt.Errorf("%s has another digest than %s", m.id, ms[0].id)
			}
		}
		return nil
	})
}

// difference names a key in which two maps differ.
func difference(got, want map[string]string) string {
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			return fmt.Sprintf("%q is %.40q, not %.40q", k, g, v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			return fmt.Sprintf("%q is there: %.40q", k, v)
		}
	}
	return "none"
}

// cut takes a machine's end of a cable down, or up again.
func (m *machine) cut(t *testing.T, to *machine, down bool) {
	t.Helper()
	if err := m.do(func() error {
		l, err := netlink.LinkByName("to-" + to.id.String())
		if err != nil {
			return err
		}
		if down {
			return netlink.LinkSetDown(l)
		}
		return netlink.LinkSetUp(l)
	}); err != nil {
		t.Fatal(err)
	}
}

// What is written at one node is read and watched at all; both sides of a cut write, and agree after it.
func TestSharedState(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	for _, m := range n.machines {
		m.writable(t)
	}
	want := map[string]string{}
	watched := make(chan api.KVChange, 64)
	watching, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	opened := make(chan struct{})
	watch.Go(func() {
		_ = gamma.client.KVWatch(watching, api.KVWatchRequest{Prefix: []byte("t/")},
			func(api.Freshness) { close(opened) }, func(c api.KVChange) error {
				select {
				case watched <- c:
				case <-watching.Done():
				}
				return nil
			})
	})
	defer watch.Wait()
	defer stop()
	<-opened
	began := time.Now()
	alpha.put(t, "t/one", "from alpha")
	for c := range watched {
		if string(c.Key) == "t/one" && string(c.Value) == "from alpha" && c.Author == alpha.id {
			t.Logf("two links away it was seen after %s", time.Since(began).Round(100*time.Microsecond))
			break
		}
	}
	gamma.put(t, "t/two", "from gamma")
	want["t/one"], want["t/two"] = "from alpha", "from gamma"
	hold(t, "t/", want, n.machines...)

	beta.cut(t, gamma, true)
	eventually(t, 10*time.Second, "notice the cut", func(ctx context.Context) error {
		s, err := gamma.client.Status(ctx)
		if err == nil && s.LinksUp > 0 {
			err = errors.New("the link is up")
		}
		return err
	})
	for i := range 50 {
		l, r := fmt.Sprintf("t/left/%d", i), fmt.Sprintf("t/right/%d", i)
		alpha.put(t, l, "left")
		gamma.put(t, r, "right")
		want[l], want[r] = "left", "right"
	}
	alpha.put(t, "t/both", "left")
	gamma.put(t, "t/both", "right, later")
	want["t/both"] = "right, later"
	if _, err := alpha.client.KVDelete(t.Context(), []byte("t/two")); err != nil {
		t.Fatal(err)
	}
	delete(want, "t/two")
	if got, err := gamma.values(t.Context(), "t/left"); err != nil || len(got) != 0 {
		t.Fatalf("the cut does not cut: %v, %v", got, err)
	}
	beta.cut(t, gamma, false)
	hold(t, "t/", want, n.machines...)
}

// Nodes are killed at any moment while all of them write: what was acknowledged is there in the end, everywhere.
func TestSharedStateOfKilledNodes(t *testing.T) {
	need(t)
	n := newMesh(t, cables("alpha-beta beta-gamma"))
	for _, m := range n.machines {
		m.writable(t)
	}
	var mu sync.Mutex
	acknowledged := map[string]string{}
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for _, m := range n.machines {
		for w := range 3 {
			writers.Go(func() {
				for i := 0; writing.Err() == nil; i++ {
					k, v := fmt.Sprintf("kill/%s/%d/%d", m.id, w, i), strings.Repeat(fmt.Sprint(i), 1+i%50)
					if _, err := m.client.KVPut(writing, []byte(k), []byte(v)); err != nil {
						time.Sleep(20 * time.Millisecond) // it is being killed
						continue
					}
					mu.Lock()
					acknowledged[k] = v
					mu.Unlock()
				}
			})
		}
	}
	rnd := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for round := range 6 {
		time.Sleep(time.Duration(100+rnd.IntN(700)) * time.Millisecond)
		m := n.machines[round%len(n.machines)]
		m.kill()
		m.up(t)
		eventually(t, 20*time.Second, "start again", func(ctx context.Context) error {
			_, err := m.client.State(ctx)
			return err
		})
	}
	stop()
	writers.Wait()
	eventually(t, agreeLimit, "agree", func(ctx context.Context) error {
		for _, m := range n.machines {
			got, err := m.values(ctx, "kill/")
			if err != nil {
				return err
			}
			for k, v := range acknowledged {
				if got[k] != v {
					return fmt.Errorf("%s lacks %s, which was acknowledged", m.id, k)
				}
			}
		}
		return nil
	})
	if len(acknowledged) < 100 {
		t.Errorf("only %d writes were acknowledged", len(acknowledged))
	}
	t.Logf("%d writes acknowledged in 6 lives, all kept by all", len(acknowledged))
}

// A new node, and one that lost its state, get everything, and stand for nothing that they have not.
func TestSharedStateOfNewNodes(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta beta-gamma"))
	alpha, beta, gamma := n.at("alpha"), n.at("beta"), n.at("gamma")
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	alpha.writable(t) // it has nobody to learn from
	want := map[string]string{}
	for i := range 200 {
		k := fmt.Sprintf("new/%d", i)
		alpha.put(t, k, k)
		want[k] = k
	}
	if _, err := alpha.client.KVDelete(t.Context(), []byte("new/7")); err != nil {
		t.Fatal(err)
	}
	delete(want, "new/7")
	for i, m := range n.machines[1:] {
		n.join(m, n.machines[:i+1])
		m.up(t)
		n.converged(n.machines[:i+2]...)
	}
	hold(t, "new/", want, n.machines...)
	gamma.writable(t)
	gamma.put(t, "new/gamma", "mine")
	want["new/gamma"] = "mine"
	hold(t, "new/", want, n.machines...)

	gamma.stop(t)
	if err := os.RemoveAll(filepath.Join(gamma.state(), "shared")); err != nil {
		t.Fatal(err)
	}
	beta.put(t, "new/gamma", "beta's, later")
	want["new/gamma"] = "beta's, later"
	gamma.up(t)
	n.converged(n.machines...)
	hold(t, "new/", want, n.machines...)

	// All at once, and the founder lost its own: it learns as others do, and nobody's writes are gone.
	for _, m := range n.machines {
		m.stop(t)
	}
	if err := os.RemoveAll(filepath.Join(alpha.state(), "shared")); err != nil {
		t.Fatal(err)
	}
	alpha.up(t)
	eventually(t, 20*time.Second, "open the emptied state", func(ctx context.Context) error {
		_, err := alpha.client.State(ctx)
		return err
	})
	if _, err := alpha.client.KVPut(t.Context(), []byte("new/1"), []byte("of a founder that knows nothing")); err == nil {
		t.Error("a founder that lost its state writes before it has learnt what there is")
	}
	beta.up(t)
	gamma.up(t)
	n.converged(n.machines...)
	hold(t, "new/", want, n.machines...)
	alpha.writable(t)
}

// Where the shared state cannot be kept, that is said, nothing is acknowledged, and the mesh goes on.
func TestSharedStateOnABadDisk(t *testing.T) {
	need(t)
	n := lay(t, cables("alpha-beta"))
	alpha, beta := n.at("alpha"), n.at("beta")
	fill := beta.onDisk(t)
	n.found(alpha)
	alpha.up(t)
	n.converged(alpha)
	n.join(beta, []*machine{alpha})
	beta.up(t)
	n.converged(n.machines...)
	beta.writable(t)
	want := map[string]string{}
	for i := range 20 {
		k := fmt.Sprintf("disk/%d", i)
		beta.put(t, k, strings.Repeat("x", 1000))
		want[k] = strings.Repeat("x", 1000)
	}
	a, b := listen(t, alpha), listen(t, beta)
	t.Cleanup(func() { a.close(); b.close() })
	knockAll(t, 20*time.Second, a, b)

	t.Run("full", func(t *testing.T) {
		room := fill()
		failed := 0
		for i := range 2000 { // what the file has left takes some
			k := fmt.Sprintf("disk/full/%d", i)
			if _, err := beta.client.KVPut(t.Context(), []byte(k), make([]byte, 10_000)); err != nil {
				if !strings.Contains(err.Error(), "no space left") {
					t.Errorf("a put onto a full disk: %v", err)
				}
				if failed++; failed == 3 {
					break
				}
				continue
			}
			want[k] = string(make([]byte, 10_000))
		}
		if failed == 0 {
			t.Error("a full disk takes everything")
		}
		beta.says(t, 15*time.Second, "free some space")
		if !strings.Contains(string(beta.log()), "shared state: write to") {
			t.Errorf("the log says nothing of the shared state\n%s", tail(beta.log(), 10))
		}
		knockAll(t, 20*time.Second, a, b)
		room()
		eventually(t, 40*time.Second, "take writes again", func(ctx context.Context) error {
			_, err := beta.client.KVPut(ctx, []byte("disk/after"), []byte("x"))
			return err
		})
		want["disk/after"] = "x"
		beta.kill()
		beta.up(t)
		n.converged(n.machines...)
		eventually(t, agreeLimit, "hold what was acknowledged", func(ctx context.Context) error {
			got, err := beta.values(ctx, "disk/")
			for k, v := range want {
				if err == nil && got[k] != v {
					err = fmt.Errorf("%s is gone", k)
				}
			}
			return err
		})
		beta.says(t, 20*time.Second, "")
	})
	t.Run("no folder", func(t *testing.T) {
		beta.stop(t)
		shared := filepath.Join(beta.disk(), "state", "shared")
		if err := beta.do(func() error {
			return errors.Join(os.Rename(shared, shared+".away"), os.WriteFile(shared, nil, 0o600))
		}); err != nil {
			t.Fatal(err)
		}
		beta.up(t)
		n.converged(n.machines...)
		beta.says(t, 15*time.Second, "there is no shared state on this node")
		if _, err := beta.client.KVPut(t.Context(), []byte("disk/x"), nil); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("a put: %v", err)
		}
		knockAll(t, 20*time.Second, a, b)
		if err := beta.do(func() error {
			return errors.Join(os.Remove(shared), os.Rename(shared+".away", shared))
		}); err != nil {
			t.Fatal(err)
		}
		beta.says(t, 40*time.Second, "") // it tries again by itself
		if _, err := beta.client.KVPut(t.Context(), []byte("disk/again"), []byte("x")); err != nil {
			t.Error(err)
		}
	})
}
