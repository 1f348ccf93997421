package lab

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
)

// shaperOf makes a seeded shaper under one kind of fault.
func shaperOf(own time.Duration, k Kind, p fault.Param) *shaper {
	s := &shaper{own: int64(own), random: rand.New(rand.NewPCG(1, 2)).Float64} // #nosec G404
	s.set(condition{}.with(k, p))
	return s
}

// fed is what became of frames that came one every so often.
type fed struct {
	due    []time.Duration // of those that were not dropped
	order  []int           // their numbers, by the time at which they leave
	copies int
}

func feed(s *shaper, frames, size int, every time.Duration) fed {
	var f fed
	type out struct {
		due int64
		i   int
	}
	var outs []out
	for i := range frames {
		due, copies := s.admit(int64(i)*int64(every), make([]byte, size))
		f.copies += copies
		if copies > 0 {
			outs = append(outs, out{due, i})
			f.due = append(f.due, time.Duration(due)-time.Duration(i)*every)
		}
	}
	slices.SortStableFunc(outs, func(a, b out) int { return int(a.due - b.due) })
	for _, o := range outs {
		f.order = append(f.order, o.i)
	}
	return f
}

// within reports whether n of all can be had by chance p: five standard deviations, which is once in a million runs.
func within(n, all int, p float64) bool {
	return math.Abs(float64(n)-float64(all)*p) <= 5*math.Sqrt(float64(all)*p*(1-p))+1
}

func TestShaper(t *testing.T) {
	const frames, own = 10_000, 5 * time.Millisecond
	ms := time.Millisecond
	t.Run("nothing", func(t *testing.T) {
		f := feed(shaperOf(own, fault.Cut, fault.Param{}), frames, 100, ms)
		if len(f.due) != frames || slices.Min(f.due) != own || slices.Max(f.due) != own || !slices.IsSorted(f.order) {
			t.Errorf("%d frames, %s to %s", len(f.due), slices.Min(f.due), slices.Max(f.due))
		}
	})
	t.Run("loss", func(t *testing.T) {
		s := shaperOf(own, fault.Loss, fault.Param{P: 0.1})
		f := feed(s, frames, 100, ms)
		if lost := frames - len(f.due); !within(lost, frames, 0.1) || s.count.Lost != uint64(lost) {
			t.Errorf("%d of %d lost, counted %d", lost, frames, s.count.Lost)
		}
	})
	t.Run("delay", func(t *testing.T) {
		f := feed(shaperOf(own, fault.Delay, fault.Param{D: 20 * ms}), 100, 100, ms)
		if slices.Min(f.due) != own+20*ms || slices.Max(f.due) != own+20*ms {
			t.Errorf("%s to %s", slices.Min(f.due), slices.Max(f.due))
		}
	})
	t.Run("jitter", func(t *testing.T) {
		f := feed(shaperOf(own, fault.Jitter, fault.Param{D: 20 * ms}), frames, 100, ms)
		if m := percentile(f.due, 50); m < own+5*ms || m > own+18*ms {
			t.Errorf("median %s", m)
		}
		if slices.Min(f.due) > own+3*ms || slices.Max(f.due) < own+17*ms || slices.Max(f.due) > own+20*ms {
			t.Errorf("%s to %s", slices.Min(f.due), slices.Max(f.due))
		}
		if !slices.IsSorted(f.order) {
			t.Error("frames overtook each other")
		}
	})
	t.Run("rate", func(t *testing.T) {
		s := shaperOf(own, fault.Rate, fault.Param{Rate: 1_000_000}) // 125 frames of 1000 bytes a second
		f := feed(s, 4000, 1000, ms)
		if n := len(f.due); n < 495 || n > 540 { // four seconds' worth and what still waits
			t.Errorf("%d frames passed", n)
		}
		// 32 KiB at 1 Mbit/s are 262 ms.
		if worst := slices.Max(f.due); worst < 250*ms || worst > 290*ms || s.count.Limited == 0 {
			t.Errorf("waited %s at most; %+v", worst, s.count)
		}
	})
	t.Run("a rate that suffices", func(t *testing.T) {
		f := feed(shaperOf(own, fault.Rate, fault.Param{Rate: 8_100_000}), 4000, 1000, ms)
		if len(f.due) != 4000 || slices.Max(f.due) > own+ms {
			t.Errorf("%d frames passed, the last after %s", len(f.due), slices.Max(f.due))
		}
	})
	t.Run("reorder", func(t *testing.T) {
		s := shaperOf(own, fault.Reorder, fault.Param{P: 0.25})
		f := feed(s, frames, 100, ms)
		if len(f.due) != frames || !within(int(s.count.Reordered), frames, 0.25) || slices.IsSorted(f.order) {
			t.Errorf("%d frames, %d reordered", len(f.due), s.count.Reordered)
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		s := shaperOf(own, fault.Duplicate, fault.Param{P: 0.25})
		f := feed(s, frames, 100, ms)
		if !within(f.copies-frames, frames, 0.25) || !slices.IsSorted(f.order) {
			t.Errorf("%d copies of %d", f.copies, frames)
		}
	})
	t.Run("mtu", func(t *testing.T) {
		s := shaperOf(own, fault.MTU, fault.Param{MTU: 1300})
		small, large := feed(s, 10, 1300+etherHeader, ms), feed(s, 10, 1301+etherHeader, ms)
		if len(small.due) != 10 || len(large.due) != 0 || s.count.Oversize != 10 {
			t.Errorf("%d and %d passed, %+v", len(small.due), len(large.due), s.count)
		}
	})
	t.Run("an end", func(t *testing.T) {
		s := shaperOf(own, fault.Delay, fault.Param{D: time.Second})
		s.admit(0, make([]byte, 100))
		s.set(condition{})
		if due, _ := s.admit(1, make([]byte, 100)); due != 1+int64(own) {
			t.Errorf("a frame after the fault is due at %s", time.Duration(due))
		}
	})
}

// Two faults on one link hold both, and a limit is the tighter of two.
func TestConditionsAdd(t *testing.T) {
	c := condition{}.with(fault.Loss, fault.Param{P: 0.5}).with(fault.Loss, fault.Param{P: 0.5}).
		with(fault.Delay, fault.Param{D: 1}).with(fault.Delay, fault.Param{D: 2}).
		with(fault.Rate, fault.Param{Rate: 5}).with(fault.Rate, fault.Param{Rate: 9}).
		with(fault.MTU, fault.Param{MTU: 1400}).with(fault.MTU, fault.Param{MTU: 1300})
	if want := (condition{Loss: 0.75, Delay: 3, Rate: 5, MTU: 1300}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
}

// frameOf wraps a payload as it is on a link.
func frameOf(v6 bool, proto byte, payload []byte) []byte {
	f := make([]byte, etherHeader)
	if v6 {
		f[12], f[13] = 0x86, 0xdd
		f = append(f, make([]byte, ipv6Header)...)
		f[etherHeader], f[etherHeader+6] = 0x60, proto
	} else {
		f[12], f[13] = 0x08, 0x00
		f = append(f, make([]byte, 20)...)
		f[etherHeader], f[etherHeader+9] = 0x45, proto
	}
	return append(append(f, make([]byte, udpHeader)...), payload...)
}

// payloadOf is a mesh frame as docs/protocol.md draws it: type, hop index, labels, then, for a part, what it is of.
func payloadOf(first, hop byte, part ...byte) []byte {
	p := make([]byte, 60)
	p[0], p[1], p[2] = first, hop, 2
	copy(p[25:], part)
	return p
}

func TestForwarded(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct {
			what    string
			proto   byte
			payload []byte
			want    bool
		}{
			{"data of a relay", 17, payloadOf(0x30, 1), true},
			{"data of its own", 17, payloadOf(0x30, 0), false},
			{"a hello", 17, payloadOf(0x31, 0), false},
			{"a handshake on its way", 17, payloadOf(0x33, 1), false},
			{"a part of a relay's data", 17, payloadOf(0x34, 0, 0, 1), true},
			{"a part of its own data", 17, payloadOf(0x34, 0, 0, 0), false},
			{"a part of a handshake", 17, payloadOf(0x34, 0, 3, 1), false},
			{"QUIC", 17, payloadOf(0x40, 1), false},
			{"TCP", 6, payloadOf(0x30, 1), false},
			{"nothing", 17, nil, false},
			{"a short part", 17, payloadOf(0x34, 0, 0, 1)[:26], false},
		} {
			if got := forwarded(frameOf(v6, c.proto, c.payload)); got != c.want {
				t.Errorf("%s, IPv6 %v: %v", c.what, v6, got)
			}
		}
	}
	later := frameOf(false, 17, payloadOf(0x30, 1))
	later[etherHeader+7] = 1 // a fragment that is not the first: no UDP header is in it
	if forwarded(later) {
		t.Error("a later fragment was taken for a frame")
	}
}

func FuzzForwarded(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		f.Add(frameOf(v6, 17, payloadOf(0x30, 1)))
		f.Add(frameOf(v6, 17, payloadOf(0x34, 0, 0, 1)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if forwarded(frame) && len(frame) < etherHeader+20+udpHeader+2 {
			t.Errorf("%x is too short to be data", frame)
		}
	})
}

// The relay process answers every order, also those that make no sense.
func TestRelayObeys(t *testing.T) {
	ours, theirs, err := packetPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	r := &relay{ports: make([]port, 2)}
	ask := func(order string) answer {
		t.Helper()
		if _, err := ours.Write([]byte(order)); err != nil {
			t.Fatal(err)
		}
		if err := r.obey(int(theirs.Fd())); err != nil {
			t.Fatal(err)
		}
		return read(t, ours)
	}
	if a := ask(`{"port":1,"set":{"loss":0.5}}`); a.Error != "" || a.Now.Loss != 0.5 || r.ports[1].cond.Loss != 0.5 {
		t.Errorf("%+v", a)
	}
	if a := ask(`{"port":1}`); a.Error != "" || a.Now.Loss != 0.5 {
		t.Errorf("asked only: %+v", a)
	}
	for _, bad := range []string{`{"port":2}`, `{"port":-1}`, `what?`} {
		if a := ask(bad); a.Error == "" {
			t.Errorf("%s: %+v", bad, a)
		}
	}
	ours.Close()
	if err := ignoreEOF(r.obey(int(theirs.Fd()))); err != nil {
		t.Errorf("a controller that is gone: %v", err)
	}
	theirs.Close()
}

func read(t *testing.T, f *os.File) answer {
	t.Helper()
	b := make([]byte, frameRoom)
	n, err := f.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(b[:n], &a); err != nil {
		t.Fatal(err)
	}
	return a
}
