package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh"
)

// Load is one TCP connection between applications on two nodes that goes on through everything.
type Load struct {
	From    mesh.NodeID `json:"from"`
	To      mesh.NodeID `json:"to"`
	Wanted  float64     `json:"wanted_bps"`  // what was offered
	Goodput float64     `json:"goodput_bps"` // what arrived, over the whole time
	Broken  int         `json:"broken"`      // connections that ended, and were made anew
	Stall   int64       `json:"stall_ms"`    // the longest time in which nothing arrived
}

const (
	loadPort  = 7422
	loadTurn  = 20 * time.Millisecond // between two writes
	loadRetry = 200 * time.Millisecond
)

// load is one Load in the making.
type load struct {
	Load
	lab   *Lab
	dst   netip.AddrPort
	bytes atomic.Int64
	last  atomic.Int64 // when something arrived, since began
	began time.Time
	wg    sync.WaitGroup
	mu    sync.Mutex // guards what of Load changes
}

// startLoad begins to send so many bits a second from one node to another, until ctx ends.
func (l *Lab) startLoad(ctx context.Context, from, to mesh.NodeID, rate mesh.BitsPerSecond) (*load, error) {
	st, err := l.Status(ctx, to)
	if err != nil {
		return nil, err
	}
	x := &load{Load: Load{From: from, To: to, Wanted: float64(rate)}, lab: l, began: time.Now(), dst: netip.AddrPortFrom(st.Address, loadPort)}
	var listener net.Listener
	err = l.nodes[to].space.do(func() (err error) {
		listener, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", loadPort))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load to %s: %w", to, err)
	}
	x.wg.Go(func() { <-ctx.Done(); listener.Close() })
	x.wg.Go(func() { x.receive(ctx, listener) })
	x.wg.Go(func() { x.send(ctx, rate) })
	return x, nil
}

// receive takes one connection after the other; the sender never has two.
func (x *load) receive(ctx context.Context, listener net.Listener) {
	for ctx.Err() == nil {
		c, err := listener.Accept()
		if err != nil {
			continue // the listener was closed, or a connection ended before it was taken
		}
		x.wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				x.arrived(n)
			}
		})
	}
}

func (x *load) arrived(n int) {
	x.bytes.Add(int64(n))
	x.waited()
}

// waited ends a time in which nothing arrived.
func (x *load) waited() {
	now := int64(time.Since(x.began))
	gap := (now - x.last.Swap(now)) / int64(time.Millisecond)
	x.mu.Lock()
	x.Stall = max(x.Stall, gap)
	x.mu.Unlock()
}

// send keeps a connection and writes to it at the rate that is wanted. What a stall held up is not sent later.
func (x *load) send(ctx context.Context, rate mesh.BitsPerSecond) {
	chunk := make([]byte, max(1, int64(float64(rate)/8*loadTurn.Seconds())))
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			x.mu.Lock()
			x.Broken++
			x.mu.Unlock()
		}
		c, err := x.dial()
		if err != nil {
			_ = sleep(ctx, loadRetry)
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		for next := time.Now(); err == nil; _ = sleep(ctx, time.Until(next)) {
			_, err = c.Write(chunk)
			if next = next.Add(loadTurn); time.Since(next) > loadTurn {
				next = time.Now()
			}
		}
		stop()
		c.Close()
	}
}

// dial begins to connect, from inside the sender's namespace: there the socket is made, and the first write waits until it
// is connected.
func (x *load) dial() (c net.Conn, err error) {
	fd := -1
	err = x.lab.nodes[x.From].space.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "load")
	defer f.Close() // the connection has its own
	to := &unix.SockaddrInet6{Port: int(x.dst.Port()), Addr: x.dst.Addr().As16()}
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, err
	}
	return net.FileConn(f)
}

// report returns what was, once the context of the load has ended.
func (x *load) report() Load {
	x.wg.Wait()
	x.waited() // what stalled last may have stalled for good
	x.mu.Lock()
	defer x.mu.Unlock()
	x.Goodput = float64(8*x.bytes.Load()) / time.Since(x.began).Seconds()
	return x.Load
}
