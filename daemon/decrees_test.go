package daemon

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

const allHave = "routing.protect/" + forAll

// What a member writes that is no authority counts nowhere, however new it is, and is counted; the very same entry counts when the
// log names its author, and no longer when it does not.
func TestOnlyAuthoritiesDecree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha, beta := m.node("alpha", "", nil), m.node("beta", "", nil)
		m.link(alpha, beta)
		alpha.decree(allHave, "[all]")
		m.rest()
		beta.decree(allHave, "[]")
		beta.decree("routing.k/alpha", "1")
		m.rest()
		for _, n := range m.nodes {
			n.has("routing.protect", `["all"]`, "shared")
			n.has("routing.k", "3", "default")
			if got := n.tuning.ignored.Load(); got != 2 {
				t.Errorf("%s ignored %d changes, want 2", n.self, got)
			}
			if s, err := n.ConfigShared(t.Context()); err != nil || len(s.Settings) != 1 || s.Ignored != 2 || s.Settings[0].Author != alpha.self {
				t.Errorf("%s knows of %+v, %v", n.self, s, err)
			}
		}
		m.admit("beta")
		for _, n := range m.nodes {
			n.has("routing.protect", "[]", "shared")
			if s, err := n.ConfigShared(t.Context()); err != nil || len(s.Settings) != 2 || s.Ignored != 0 || s.Settings[1].Author != beta.self {
				t.Errorf("%s knows of %+v, %v", n.self, s, err)
			}
		}
		alpha.has("routing.k", "1", "shared_node")
		beta.has("routing.k", "3", "default")
		m.revoke("beta")
		for _, n := range m.nodes {
			n.has("routing.protect", `["all"]`, "shared")
			n.has("routing.k", "3", "default")
		}
	})
}

// A register that ends in an authority's name and that another wrote is not the authority's, also where a replica took it.
func TestDecreeUnderAnothersName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		careless := func(c *replica.Config) { c.May = nil }
		m := newRealm(t, "alpha")
		alpha, beta := m.node("alpha", "", careless), m.node("beta", "", careless)
		m.link(alpha, beta)
		if _, err := beta.shared.replica.Put(t.Context(), beta.tuning.key(allHave, alpha.self), []byte("[all]")); err != nil {
			t.Fatal(err)
		}
		m.rest()
		for _, n := range m.nodes {
			n.tuning.news()
			n.has("routing.protect", "[]", "default")
			if s, err := n.ConfigShared(t.Context()); err != nil || len(s.Settings) != 0 || s.Ignored != 1 || n.tuning.ignored.Load() != 1 {
				t.Errorf("%s knows of %+v, %v", n.self, s, err)
			}
		}
		alpha.decree(allHave, "[all]")
		m.rest()
		beta.has("routing.protect", `["all"]`, "shared")
	})
}

// A node that is no authority says who is, and writes nothing.
func TestDecreeAtAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha", "gamma")
		alpha, beta := m.node("alpha", "", nil), m.node("beta", "", nil)
		m.link(alpha, beta)
		for what, err := range map[string]error{
			"set": second(beta.ConfigSet(t.Context(), api.ConfigTarget{Key: "routing.k"}, []byte("1"))), "unset": second(beta.ConfigUnset(t.Context(), api.ConfigTarget{Key: "routing.k"})),
		} {
			if codeOf(err) != api.CodeNotAuthority || !strings.HasSuffix(err.Error(), "do it on alpha or gamma") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if info, err := beta.shared.replica.State(t.Context()); err != nil || info.Entries != 0 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// Of two decrees of one name the later one is the newer; of two of the same moment every node takes the same, in whatever order it reads.
func TestNewerDecree(t *testing.T) {
	now := mesh.HybridAt(time.Now()) + 1
	a, b, early := &decree{author: testAlpha, at: now}, &decree{author: testBeta, at: now}, &decree{author: testBeta, at: now - 1}
	for _, tc := range []struct{ one, other, want *decree }{{nil, a, a}, {a, b, b}, {b, a, b}, {a, early, a}, {early, a, a}} {
		if got := newer(tc.one, tc.other); got != tc.want {
			t.Errorf("of %+v and %+v it is %+v", tc.one, tc.other, got)
		}
	}
}

// What an authority sets knowing another's value takes its place, also if the other's clock was ahead, so that both are dated with the
// same millisecond.
func TestDecreeBehindAFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha", "gamma")
		alpha := m.node("alpha", "", nil)
		gamma := m.node("gamma", "", func(c *replica.Config) { c.Now = func() time.Time { return time.Now().Add(50 * time.Second) } })
		m.link(alpha, gamma)
		first := gamma.decree("routing.k/"+forAll, "2")
		m.rest()
		for _, tc := range []struct{ value, want string }{{"4", "4"}, {"", "3"}} {
			if at := alpha.decree("routing.k/"+forAll, tc.value); !at.Equal(first) {
				t.Fatalf("dated %v, not %v: this tests nothing", at, first)
			}
			m.rest()
			for _, n := range m.nodes {
				if got := n.configured().Value("routing.k"); got != tc.want {
					t.Errorf("after %q by alpha %s has routing.k %s", tc.value, n.self, got)
				}
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// A list of what authorities wrote is bounded, and says so; what nobody may write is walked past.
func TestListOfDecreesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "", nil)
		for i := range mostDecrees + 1 {
			alpha.decree(fmt.Sprintf("future.key%04d/%s", i, forAll), "x")
		}
		s, err := alpha.ConfigShared(t.Context())
		if err != nil || len(s.Settings) != mostDecrees || !s.More {
			t.Errorf("%d settings, more: %t, %v", len(s.Settings), s.More, err)
		}
		if n := len(alpha.tuning.told); n != maxTold {
			t.Errorf("the log has named %d values, want %d", n, maxTold)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "", func(c *replica.Config) { c.Vital = nil }) // one of the release before
		for i := range 6 {
			alpha.decree(fmt.Sprintf("future.key%04d/%s", i, forAll), strings.Repeat("x", api.MaxValue))
		}
		if s, err := alpha.ConfigShared(t.Context()); err != nil || len(s.Settings) != 5 || !s.More {
			t.Errorf("%d large settings, more: %t, %v", len(s.Settings), s.More, err)
		}
	})
}

// An authority whose quota of other keys is full can still share, and take back.
func TestConfigurationOfAFullState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "", func(c *replica.Config) { c.MaxBytes = 256 << 10 })
		for _, size := range []int{4 << 10, 0} {
			var err error
			for i := 0; err == nil; i++ {
				_, err = alpha.shared.replica.KVPut(t.Context(), fmt.Appendf(nil, "%d/%d", size, i), make([]byte, size))
			}
			if codeOf(err) != api.CodeTooLarge {
				t.Fatal(err)
			}
		}
		if _, err := alpha.ConfigSet(t.Context(), api.ConfigTarget{Key: "routing.k"}, []byte("2")); err != nil {
			t.Error(err)
		}
		alpha.has("routing.k", "2", "shared")
		if _, err := alpha.ConfigUnset(t.Context(), api.ConfigTarget{Key: "routing.k"}); err != nil {
			t.Error(err)
		}
		alpha.has("routing.k", "3", "default")
	})
}

// However much an authority shares, there is room for its log; and what it takes back makes room for more.
func TestDecreesLeaveRoomForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newRealm(t, "alpha")
		alpha := m.node("alpha", "", nil)
		r, n := alpha.shared.replica, 0
		share := func(name string, value []byte) error {
			return second(alpha.tuning.put(t.Context(), r, alpha.self, name+"/"+forAll, value))
		}
		for _, size := range []int{60 << 10, 1} {
			var err error
			for ; err == nil; n++ {
				err = share(fmt.Sprint("future.key", n), make([]byte, size))
			}
			if codeOf(err) != api.CodeTooLarge || !strings.Contains(err.Error(), "take something back") {
				t.Fatal(err)
			}
		}
		if _, err := r.Put(t.Context(), logKey(alpha.self), make([]byte, trust.MaxLog)); err != nil {
			t.Errorf("after %d decrees: %v", n, err)
		}
		for what, err := range map[string]error{
			"taking back": share("future.key0", nil), "of another": share("another", nil), "more": share("future.key1", make([]byte, 61<<10)),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}
