package authority

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire/trust"
)

// Who comes in vain again and again has to wait, and each time is counted; another caller does not notice.
func TestGuessesAreLimitedAndCounted(t *testing.T) {
	w := newWorld(t)
	guess := func() error {
		tok := w.token(beta, nil)
		tok.Secret = append([]byte(nil), tok.Secret...)
		tok.Secret[0] ^= 1
		_, err := w.join(tok, nil)
		w.auth.mu.Lock()
		w.auth.reg.Tokens = map[string]*tokenEntry{}
		w.auth.mu.Unlock()
		return err
	}
	for i := range 4 {
		if err := guess(); !errors.Is(err, ErrTokenUnknown) {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	from, _ := w.server.caller(&callFrom{addr: w.addr})
	now := time.Now()
	left := 0
	for ; w.server.tries.left(from, false, now); left++ {
		w.server.tries.spend(from, false, now)
	}
	if left < triesBurst-4 || left > triesBurst {
		t.Errorf("%d attempts left after 4 of %d", left, triesBurst)
	}
	for range triesBurst { // the test may take long: nothing is to come back meanwhile
		w.server.tries.spend(from, false, now)
	}
	if err := guess(); !errors.Is(err, ErrBusy) {
		t.Fatalf("one guess more: %v", err)
	}
	for range 5 { // each is counted when the server is done with it, which the caller need not see
		<-w.done
	}
	if c := w.server.Counters(); c["join_failed"] != 4 || c["join_often"] != 1 || c["join_served"] != 0 {
		t.Errorf("counters %v", c)
	}
	// From another address, at the same time.
	if err := w.server.admit(&callFrom{addr: "198.51.100.7:1"}); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if err := w.server.admit(&callFrom{addr: netip.AddrPortFrom(mesh.Addr(td, gamma), 1).String()}); err != nil {
		t.Errorf("a member: %v", err)
	}
	// When it has waited it may try again.
	if !w.server.tries.left(from, false, now.Add(2*triesBurst*triesEvery)) {
		t.Error("it may never come again")
	}
}

// What is remembered of callers is bounded; while the memory is full, new strangers wait and members do not.
func TestTriesAreBounded(t *testing.T) {
	var tr tries
	now := time.Unix(0, 0)
	at := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	for i := range 2 * maxTriedFrom {
		tr.spend(at(i), false, now)
	}
	if len(tr.full) != maxTriedFrom {
		t.Errorf("%d callers are remembered", len(tr.full))
	}
	if tr.left(at(1<<20), false, now) || !tr.left(at(1<<20), true, now) || !tr.left(at(1), false, now) {
		t.Error("who is new waits, a member and one that came once do not")
	}
	if now = now.Add(time.Minute); !tr.left(at(1<<20), false, now) || len(tr.full) != 0 {
		t.Errorf("%d callers are remembered a minute later", len(tr.full))
	}
}

// One stranger holds a share of the places for exchanges that are carried on, and no more.
func TestRelayPlacesOfOneCaller(t *testing.T) {
	w := newWorld(t)
	s := &Server{Self: beta, Source: w.source}
	s.setup()
	var free []func()
	take := func(addr string) bool {
		done, ok := s.beginRelay(&callFrom{addr: addr})
		if ok {
			free = append(free, done)
		}
		return ok
	}
	for i := range maxRelaysFrom {
		if !take(fmt.Sprintf("192.0.2.7:%d", i+1)) {
			t.Fatalf("no place for the exchange %d of one caller", i)
		}
	}
	if take("192.0.2.7:99") {
		t.Error("one caller holds more than its share")
	}
	for i := range maxRelays - maxRelaysFrom {
		if !take(fmt.Sprintf("198.51.100.%d:1", i)) {
			t.Error("another caller has no place")
		}
	}
	if take("203.0.113.1:1") {
		t.Errorf("more than %d at once", maxRelays)
	}
	for _, done := range free {
		done()
	}
	if len(s.relayed) != 0 || !take("192.0.2.7:99") {
		t.Errorf("places are not given back: %v", s.relayed)
	}
}

// Who connects and says nothing, or one byte now and then, is out when the time for that is over.
func TestSlowCallersEnd(t *testing.T) {
	good := trust.Preamble{Purpose: trust.PurposeJoin, Authority: alpha}.Append(nil)
	for _, tt := range []struct {
		name string
		say  []byte
		most time.Duration
	}{
		{"nothing", nil, maxPreamble},
		{"a byte a second, never a preamble", good[:4], maxPreamble},
		{"a preamble, then a byte a second", append(good[:len(good):len(good)], 0x16, 3, 1, 2, 0), maxExchange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				var got Exchange
				s := &Server{Self: alpha, Authority: w.auth, Source: w.source, Clock: w.clock.now, Done: func(x Exchange) { got = x }}
				s.setup()
				began := time.Now()
				go func() { _, _ = io.Copy(io.Discard, ours) }()
				go func() {
					for _, b := range tt.say {
						if _, err := ours.Write([]byte{b}); err != nil {
							return
						}
						if len(tt.say) < len(good) {
							time.Sleep(time.Second)
						}
					}
				}()
				s.handle(t.Context(), theirs)
				if took := time.Since(began); took > tt.most || got.Err == nil || s.Counters()["join_failed"] != 1 {
					t.Errorf("it was held for %v, at most %v; %v", took, tt.most, got.Err)
				}
				if len(s.conns) != 0 {
					t.Error("it still counts")
				}
				ours.Close()
			})
		})
	}
}
