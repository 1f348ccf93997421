package udp

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// cameCall is what a socket's Came said, and how many frames followed.
type cameCall struct {
	at     time.Time
	few    bool
	frames int
}

// listenForTimes returns a socket whose reader waits, with its first frame in hand, until release is closed.
func listenForTimes(t *testing.T, share shareFunc) (s *Socket, first, release chan struct{}, calls func() []cameCall) {
	t.Helper()
	first, release = make(chan struct{}), make(chan struct{})
	all, flushed, begun := []cameCall(nil), make(chan []cameCall, 64), false
	s, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{
		Came: func(at time.Time, few, _ bool) { all = append(all, cameCall{at: at, few: few}) },
		Frame: func(_ *Socket, _ netip.AddrPort, _ []byte) {
			if all[len(all)-1].frames++; !begun {
				begun = true
				close(first)
				<-release
			}
		},
		Flush: func() { flushed <- all; all = nil },
	}, share)
	check(t, err)
	t.Cleanup(func() { s.Close() })
	return s, first, release, func() []cameCall { return receiveFrom(t, flushed) }
}

// Frames are known to have come when they came, not when they were read; and whether more than a few waited.
func TestFramesWaited(t *testing.T) {
	for name, tt := range map[string]struct {
		frames int
		joined bool
		few    bool
	}{"few": {3, false, true}, "many": {3 * joinedBatch, false, false}, "a run": {40, true, true}} {
		t.Run(name, func(t *testing.T) {
			// The kernel begins to stamp some time after it was asked to, if nobody on the machine had before; until then
			// a datagram has the time at which it is read.
			deadline := time.Now().Add(5 * time.Second)
			for {
				early, late, few := framesWaited(t, tt.frames, tt.joined)
				if late && time.Now().Before(deadline) {
					continue
				}
				if early || late || few != tt.few {
					t.Errorf("%d frames: too early %v, too late %v, few %v", tt.frames, early, late, few)
				}
				return
			}
		})
	}
}

// framesWaited has frames wait for some milliseconds, and reports whether some were said to have come before they were sent, or
// when they were read, and whether all were few.
func framesWaited(t *testing.T, n int, joined bool) (early, late, few bool) {
	t.Helper()
	s, first, release, calls := listenForTimes(t, (*group).share)
	a, _ := open(t, "127.0.0.1:0")
	to := at("127.0.0.1", s)
	check(t, a.Send(to, frameOf(7, 100)))
	<-first
	before := time.Now()
	if joined {
		check(t, a.SendRun(to, bytes.Repeat(frameOf(7, 100), n), 100))
	}
	for i := range n {
		if !joined {
			check(t, a.Send(to, frameOf(7, 100+i%2)))
		}
	}
	after := time.Now()
	for time.Since(after) < 5*time.Millisecond {
	}
	close(release)
	if got := calls(); len(got) != 1 || !got[0].few || got[0].frames != 1 {
		t.Fatalf("the first: %+v", got)
	}
	few = true
	for frames := 0; frames < n; {
		for _, c := range calls() {
			frames += c.frames
			early = early || c.at.Before(before.Add(-time.Millisecond))
			late = late || c.at.After(after.Add(time.Millisecond))
			few = few && c.few
		}
	}
	return early, late, few
}

// Where the kernel does not sort, frames have times as well.
func TestFramesWaitedUnsorted(t *testing.T) {
	s, first, release, calls := listenForTimes(t, unsorted)
	a, _ := open(t, "127.0.0.1:0")
	before := time.Now()
	check(t, a.Send(at("127.0.0.1", s), frameOf(7, 100)))
	<-first
	close(release)
	if got := calls(); len(got) != 1 || got[0].at.Before(before.Add(-time.Millisecond)) || got[0].at.After(time.Now()) {
		t.Errorf("%+v", got)
	}
}
