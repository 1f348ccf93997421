package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"x0tta6bl4/core/node"
)

// labClockEnv names a unix socket by which a lab makes the clock of this daemon wrong: a real clock can be set only for
// the whole machine. Without the variable there is no such socket and the clock is the machine's.
const labClockEnv = "X0T_LAB_CLOCK"

// Limits of the socket.
const (
	labClockMost = 1000 * 24 * time.Hour // how wrong the clock can be
	labClockLine = 4096                  // bytes of an order
	labClockTime = 5 * time.Second       // for one exchange
)

var errLabClock = errors.New("the clock cannot be made wrong")

// labClock is a clock that can be wrong. Nil is one that cannot.
type labClock struct {
	offset atomic.Int64 // ns that the wall clock is ahead
	ln     net.Listener
}

// now tells the time as this daemon believes it to be.
func (d *Daemon) now() time.Time { return d.clock.now() }

func (c *labClock) now() time.Time {
	if c == nil {
		return time.Now()
	}
	return setAhead(time.Now(), time.Duration(c.offset.Load()))
}

// clockWords is how the standard library holds a time. The first bit of wall says that ext is the monotonic clock.
type clockWords struct {
	wall uint64
	ext  int64
	loc  *time.Location
}

const hasMonotonic = 1 << 63

// setAhead returns t as it would have been read had the machine's clock been set ahead: the wall clock moves, and the
// monotonic one, which timers and durations go by, does not. Add would move both. A time without the latter, and one
// that is too far away to hold both, comes back as it is.
func setAhead(t time.Time, by time.Duration) time.Time {
	ahead := t.Add(by)
	// #nosec G103 -- in a lab only; openLabClock checks that the words mean what is said here
	from, to := (*clockWords)(unsafe.Pointer(&t)), (*clockWords)(unsafe.Pointer(&ahead))
	if from.wall&to.wall&hasMonotonic == 0 {
		return t
	}
	to.ext = from.ext
	return ahead
}

// openLabClock listens if a lab wants it to; otherwise it returns nil.
func openLabClock(log *slog.Logger) (*labClock, error) {
	path := os.Getenv(labClockEnv)
	if path == "" {
		return nil, nil
	}
	t := time.Now()
	if a := setAhead(t, time.Hour); a.Sub(t) != 0 || a.Round(0).Sub(t.Round(0)) != time.Hour {
		return nil, fmt.Errorf("%s: %w: this Go release holds times in another way; run without the variable", labClockEnv, errLabClock)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket { // #nosec G703 -- the lab names the path
		_ = os.Remove(path) // #nosec G703 -- the socket of a daemon that was killed, at the path that the lab names
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w; name a socket that can be made, or run without the variable", labClockEnv, errLabClock, err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // #nosec G703 -- the lab names the path
		_ = ln.Close()
		return nil, fmt.Errorf("%s: %w: %w", labClockEnv, errLabClock, err)
	}
	log.Warn("LAB ONLY: whoever can open this socket can make the clock of this node wrong; a node that is in use must run without "+
		labClockEnv, "socket", path)
	return &labClock{ln: ln}, nil
}

// serveLabClock takes orders until ctx ends.
func (d *Daemon) serveLabClock(ctx context.Context) {
	defer context.AfterFunc(ctx, d.clock.close)()
	for {
		c, err := d.clock.ln.Accept()
		if err != nil {
			return
		}
		d.obeyLabClock(c)
		_ = c.Close()
	}
}

// labOrder is the line that goes each way.
type labOrder struct {
	Offset *int64 `json:"offset_ms,omitempty"`
	Error  string `json:"error,omitempty"`
}

// obeyLabClock answers one order with what the clock does now.
func (d *Daemon) obeyLabClock(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(labClockTime))
	offset, err := readLabOrder(io.LimitReader(c, labClockLine))
	if err != nil {
		_ = json.NewEncoder(c).Encode(labOrder{Error: err.Error()})
		return
	}
	d.clock.offset.Store(int64(offset))
	d.log.Warn("LAB ONLY: the clock was made wrong", "ahead", offset.String())
	d.post(node.Tick{}) // what is due by the new time is due now
	ms := offset.Milliseconds()
	_ = json.NewEncoder(c).Encode(labOrder{Offset: &ms})
}

// readLabOrder returns how far the clock is to be ahead.
func readLabOrder(r io.Reader) (time.Duration, error) {
	var o labOrder
	if err := json.NewDecoder(r).Decode(&o); err != nil {
		return 0, fmt.Errorf(`%w: %w: send one line such as {"offset_ms": 3600000}`, errLabClock, err)
	}
	most := labClockMost.Milliseconds()
	if o.Offset == nil || *o.Offset < -most || *o.Offset > most {
		return 0, fmt.Errorf("%w: offset_ms is needed, from %d to %d", errLabClock, -most, most)
	}
	return time.Duration(*o.Offset) * time.Millisecond, nil
}

func (c *labClock) close() {
	if c != nil {
		_ = c.ln.Close()
	}
}
