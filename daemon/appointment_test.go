package daemon

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/alarm"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A hello that waits puts the loop's turn off as far as the silence of its neighbour was what the turn was for, and never
// beyond the loop's own next hello.
func TestHelloThatWaitsPutsATurnOff(t *testing.T) {
	bell, err := alarm.New()
	if err != nil {
		t.Fatal(err)
	}
	defer bell.Close()
	const steps = 4500                                            // of a millisecond; no size is confirmed then
	now := time.Now().Add(2*time.Second - steps*time.Millisecond) // what follows is ahead of the clock, however slow this machine is
	var ends [2]*node.Reflex
	for i := range ends {
		ends[i] = node.NewReflex(node.Config{Rand: rand.New(rand.NewPCG(1, uint64(i)))})
		ends[i].Step(now, node.LinkSet{
			Label: 1, Neighbour: mesh.MustNodeID("far"), Session: 1, Remote: netip.MustParseAddrPort("192.0.2.1:1"), MTU: wire.MaxFrame,
		})
	}
	var last node.SendHello // of the far end
	var carry func(from int, hellos []node.SendHello)
	carry = func(from int, hellos []node.SendHello) {
		for _, h := range hellos {
			if from == 1 {
				last = h
			}
			carry(1-from, ends[1-from].Step(now, node.HelloHeard{Label: 1, Hello: h.Hello, At: now}).Hellos)
		}
	}
	for range steps {
		for i, r := range ends {
			carry(i, r.Step(now, node.Tick{}).Hellos)
		}
		now = now.Add(time.Millisecond)
	}
	// The far end falls silent; our next hello is due later than the doubt.
	carry(1, ends[1].Step(now, node.Nudge{}).Hellos)
	for ms := range time.Duration(40) { // a jump would be a loop that came late, which doubts nobody
		ends[0].Step(now.Add(ms*time.Millisecond), node.Tick{})
	}
	ends[0].Step(now.Add(40*time.Millisecond), node.Nudge{})
	var a appointment
	a.make(bell, ends[0])
	due := a.time()
	other := node.HelloHeard{Label: 2, Hello: last.Hello, At: now}
	if a.putOff(bell, &other); a.time() != due {
		t.Error("a hello by another link puts the turn off")
	}
	late := node.HelloHeard{Label: 1, Hello: last.Hello, At: now.Add(50 * time.Millisecond)}
	late.Hello.Seq++
	a.putOff(bell, &late)
	if put := a.time(); !put.After(due) || put.After(due.Add(100*time.Millisecond)) {
		t.Errorf("the turn was due %v from now and is due %v", due.Sub(now), put.Sub(now))
	}
	if !bell.Wait() || time.Now().Before(a.time()) {
		t.Error("the alarm rang before the turn was due")
	}
}
