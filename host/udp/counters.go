package udp

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

type counters struct {
	frames, quic, quicDropped, garbage, truncated, receiveErrors, sent, sendErrors, noInterface, receivedBytes, sentBytes atomic.Uint64

	newcomers, newcomersLimited, waited atomic.Uint64
	runs, runsRefused                   atomic.Uint64

	read   [classes]atomic.Uint64 // datagrams, by the queue that they came by
	kernel [classes]kernelDrops
}

// Counters returns what was received, sent and dropped so far, by name.
func (s *Socket) Counters() map[string]uint64 {
	return map[string]uint64{
		"udp_frames":            s.count.frames.Load(),
		"udp_quic":              s.count.quic.Load(),
		"udp_quic_dropped":      s.count.quicDropped.Load(),
		"udp_garbage":           s.count.garbage.Load(),
		"udp_truncated":         s.count.truncated.Load(),
		"udp_receive_errors":    s.count.receiveErrors.Load(),
		"udp_received_bytes":    s.count.receivedBytes.Load(), // of whole datagrams, whatever is in them
		"udp_sent":              s.count.sent.Load(),
		"udp_sent_bytes":        s.count.sentBytes.Load(),
		"udp_runs":              s.count.runs.Load(),        // calls that sent several
		"udp_runs_refused":      s.count.runsRefused.Load(), // that the kernel did not take: sent one by one
		"udp_send_errors":       s.count.sendErrors.Load(),
		"udp_no_interface":      s.count.noInterface.Load(),
		"udp_newcomers":         s.count.newcomers.Load(),        // Initials of strangers that QUIC was given
		"udp_newcomers_limited": s.count.newcomersLimited.Load(), // and those that came faster than it takes them
		"udp_hellos":            s.count.read[calm].Load(),       // hellos that want no answer
		"udp_hellos_waited":     s.count.waited.Load(),           // and those of them that waited to be collected

		// What the kernel dropped: what the rules refuse, and what found its class's queue full.
		"udp_refused":           s.dropped(refused),
		"udp_overflow_frames":   s.dropped(framed),
		"udp_overflow_hellos":   s.dropped(calm),
		"udp_overflow_quic":     s.dropped(acquainted),
		"udp_overflow_newcomer": s.dropped(strange) + s.dropped(expected),
	}
}

// kernelDrops extends the kernel's counter of 32 bits.
type kernelDrops struct {
	mu    sync.Mutex
	last  uint32
	total uint64
}

func (s *Socket) dropped(c class) uint64 {
	p, k := s.ports[c], &s.count.kernel[c]
	if p == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if n, ok := p.drops(); ok {
		k.total += uint64(n - k.last)
		k.last = n
	}
	return k.total
}

// drops returns how many datagrams the kernel has dropped for this socket, modulo 2^32 (sock_diag(7), SK_MEMINFO_DROPS).
func (p *endpoint) drops() (n uint32, ok bool) {
	const dropsAt = 8
	_ = p.control(func(fd int) error {
		var info [dropsAt + 1]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0) // #nosec G103 -- two variables for the call
		n, ok = info[dropsAt], errno == 0 && size == uint32(unsafe.Sizeof(info))
		return nil
	})
	return n, ok
}
