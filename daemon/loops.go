package daemon

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The two loops of docs/protocol.md. Each owns one machine of core/node; nothing else touches it. The fast one waits
// for nobody: what it tells the slow one goes through a mailbox, what it hears it takes from a bounded channel
// that drops, and its effects are sends that do not block.

// control runs the slow loop until ctx ends.
func (d *Daemon) control(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-d.events:
			d.stepControl(ev)
		case <-d.reports.ready:
			for _, ev := range d.reports.take() {
				d.stepControl(ev)
			}
		case ask := <-d.asks:
			ask(d.core)
		case <-timer.C:
			d.stepControl(node.Tick{})
		}
		timer.Reset(max(0, d.core.Deadline().Sub(d.now())))
	}
}

// fast runs the fast loop until ctx ends. It sleeps in its alarm and nowhere else, and everybody who has something for
// it rings: a select over channels would wake a second thread at each turn, and a node at rest does little but turns.
func (d *Daemon) fast(ctx context.Context) {
	defer context.AfterFunc(ctx, d.alarm.Ring)()
	d.alarm.Set(0)
	for d.alarm.Wait() && ctx.Err() == nil {
		due, began := d.turnAt.time(), time.Now()
		d.wake(due)
		d.collect()
		d.wake(began) // it may have stood still since
		d.takeIn(d.now(), due)
		for _, ask := range d.asksFast.take() {
			ask(d.reflex)
		}
		d.gather()
		d.turnAt.make(d.alarm, d.reflex)
	}
}

// wake begins a turn of the fast loop that was due at a time. A turn that comes late, whatever began it, means that
// this process did not run: silence that was noticed in it says nothing of the links.
func (d *Daemon) wake(due time.Time) {
	late := time.Duration(0)
	if !due.IsZero() {
		late = time.Since(due)
	}
	if late > d.hello/2 {
		d.stepReflex(node.Late{By: late})
	}
	d.standstill(late)
}

func (d *Daemon) stepReflex(ev node.ReflexEvent) { d.effect(d.reflex.Step(d.now(), ev)) }

// effect does what the fast machine wants done.
func (d *Daemon) effect(out node.ReflexEffects) {
	if out.Publish != nil {
		d.table.Store(out.Publish)
		d.plane.Publish(out.Publish)
		d.shared.meetings.look()
	}
	for _, h := range out.Hellos {
		d.plane.SendHello(h.Label, h.Hello, h.Size)
	}
	for _, p := range out.Probes {
		d.sendProbe(p)
	}
	for _, dial := range out.Dial {
		d.dialPeer(dial)
	}
	d.reports.put(out.Report...)
}

// post hands an event to the slow loop; it waits when that one is behind, which holds back the connection that
// the event came from and nothing else.
func (d *Daemon) post(ev node.ControlEvent) {
	select {
	case d.events <- ev:
	case <-d.done:
	}
}

// tell hands a frame's event to the fast loop; if that one is behind by its whole queue the event is dropped,
// as a frame may be.
func (d *Daemon) tell(ev node.ReflexEvent) {
	select {
	case d.frames <- ev:
		d.alarm.Ring()
	default:
		d.framesDropped.Add(1)
	}
}

// helloHeard hands a neighbour's hello to the fast loop. One that wants no answer, on a link that is not down, changes
// nothing now: it waits for the loop's next turn, which the loop's own hellos bring soon. It carries the time at which
// it came, and waking the loop for each would be most of the work of a node at rest.
func (d *Daemon) helloHeard(label mesh.Label, h wire.Hello, at time.Time) {
	ev := node.HelloHeard{Label: label, Hello: h, At: at}
	if l, ok := d.table.Load().Link(label); ok && l.Usable && !h.Probe {
		select {
		case d.calm <- ev:
			d.turnAt.putOff(d.alarm, &ev)
			return
		default:
		}
	}
	d.tell(ev)
}

// ask runs f on the slow loop, between two events, and waits for it.
func (d *Daemon) ask(ctx context.Context, f func(*node.Control)) error {
	return ask(ctx, d.done, d.asks, f)
}

// askFast runs f on the fast loop and waits for it.
func (d *Daemon) askFast(ctx context.Context, f func(*node.Reflex)) error {
	var claimed atomic.Bool // by the loop, which runs f, or by us, who gave up
	ran := make(chan struct{})
	d.asksFast.put(func(r *node.Reflex) {
		if claimed.CompareAndSwap(false, true) {
			f(r)
			close(ran)
		}
	})
	d.alarm.Ring()
	select {
	case <-ran:
		return nil
	case <-ctx.Done():
	case <-d.done:
	}
	if claimed.CompareAndSwap(false, true) {
		return cmp.Or(ctx.Err(), context.Canceled)
	}
	<-ran
	return nil
}

func ask[M any](ctx context.Context, over <-chan struct{}, loop chan<- func(M), f func(M)) error {
	answered := make(chan struct{})
	select {
	case loop <- func(m M) { f(m); close(answered) }:
		<-answered
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-over:
		return context.Canceled
	}
}
