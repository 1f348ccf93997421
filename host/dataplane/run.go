package dataplane

import (
	"errors"
	"net/netip"
	"syscall"

	"x0tta6bl4/wire"
)

// sendRun sends frames of size bytes, the last may be shorter, on one path.
func (p *Plane) sendRun(path *outPath, run []byte, size int) bool {
	if path.first == nil || !path.first.usable {
		p.count.add(sendLinkDown, frames(run, size))
		return false
	}
	if size > wire.MaxFrame { // another path has fewer labels
		p.count.add(sendTooBig, frames(run, size))
		return false
	}
	return p.emitRun(path.first, run, size)
}

func frames(run []byte, size int) int { return (len(run) + size - 1) / size }

// emitRun seals frames of size bytes, the last may be shorter, for the link and sends them. It reports whether it did; if
// not, why not is counted.
func (p *Plane) emitRun(o *outLink, run []byte, size int) bool {
	n := frames(run, size)
	s := o.session
	switch {
	case s == nil || !s.tx.known():
		p.count.add(sendNoSession, n)
		return false
	case n == 1:
		return p.emit(o, run)
	case size > o.mtu:
		ok := false
		for at := 0; at < len(run); at += size {
			ok = p.emit(o, run[at:min(at+size, len(run)):min(at+size, len(run))]) || ok
		}
		return ok
	}
	c := s.counter.Add(uint64(n)) - uint64(n)
	for at := 0; at < len(run); at += size {
		wire.Seal(run[at:min(at+size, len(run))], &s.keys.Send, s.tx.value(), c)
		c++
	}
	if err := p.sendRunTo(o.remote, run, size); err != nil {
		p.count.add(sendFailed, n)
		if errors.Is(err, syscall.EMSGSIZE) && o.state.tooBig.allow(p.now()) {
			p.cb.TooBig(o.label, size)
		}
		return false
	}
	o.state.tx.addAll(n, len(run))
	return true
}

// oneByOne sends a run where the underlay takes single datagrams only.
func oneByOne(send func(netip.AddrPort, []byte) error) func(netip.AddrPort, []byte, int) error {
	return func(to netip.AddrPort, run []byte, size int) (err error) {
		for at := 0; at < len(run); at += size {
			err = errors.Join(err, send(to, run[at:min(at+size, len(run))]))
		}
		return err
	}
}
