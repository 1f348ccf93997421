// Package tuntest is the in-memory twin of package tun: what a test injects is read as if the host had sent it, and
// what is written can be taken as if by the host. It uses buffered channels only, so it works under synctest.
package tuntest

import (
	"fmt"
	"net"
	"sync"
)

const queue = 1024

// Device is a TUN interface without a kernel. Read, Write, Close and Name are those of tun.Device.
type Device struct {
	name string
	in   chan []byte
	out  chan []byte
	done chan struct{}
	once sync.Once
}

// New returns an open device.
func New(name string) *Device {
	return &Device{
		name: name,
		in:   make(chan []byte, queue),
		out:  make(chan []byte, queue),
		done: make(chan struct{}),
	}
}

// Name returns the name given to New.
func (d *Device) Name() string { return d.name }

// Inject makes a copy of p the next packet to Read. It waits while 1024 packets are unread.
func (d *Device) Inject(p []byte) error {
	return d.put(d.in, p)
}

// Written returns the channel of the packets that were written. A Write waits while 1024 are not taken.
func (d *Device) Written() <-chan []byte { return d.out }

// Read waits for an injected packet; what exceeds b is lost.
func (d *Device) Read(b []byte) (int, error) {
	select {
	case <-d.done:
		return 0, d.closed()
	default:
	}
	select {
	case p := <-d.in:
		return copy(b, p), nil
	case <-d.done:
		return 0, d.closed()
	}
}

// Write hands a copy of p to Written.
func (d *Device) Write(p []byte) (int, error) {
	if err := d.put(d.out, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *Device) put(to chan<- []byte, p []byte) error {
	select {
	case <-d.done:
		return d.closed()
	default:
	}
	select {
	case to <- append([]byte(nil), p...):
		return nil
	case <-d.done:
		return d.closed()
	}
}

func (d *Device) closed() error { return fmt.Errorf("tun %s: %w", d.name, net.ErrClosed) }

// Close ends waiting calls, with an error that wraps net.ErrClosed. What was written can still be taken.
func (d *Device) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}
