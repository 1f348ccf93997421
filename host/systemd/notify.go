// Package systemd tells a service manager how the daemon is, by the protocol of sd_notify(3): datagrams of lines
// NAME=VALUE to the unix socket that NOTIFY_SOCKET names. A program that no manager watches has a nil Notifier, which
// says nothing to nobody.
package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Notifier speaks to the service manager. Its methods may be called from any goroutine, and on nil.
type Notifier struct {
	addr     *net.UnixAddr
	watchdog time.Duration
}

// FromEnv returns the notifier that the environment of process pid asks for, nil if none does. What the environment
// says of a watchdog for another process is left aside (sd_watchdog_enabled(3)).
func FromEnv(getenv func(string) string, pid int) (*Notifier, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	// "@" is how both systemd and Go write the zero byte of an abstract socket.
	if path[0] != '/' && path[0] != '@' || len(path) == 1 {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q is neither a path nor an abstract unix socket; unset it, or let systemd set it", path)
	}
	n := &Notifier{addr: &net.UnixAddr{Name: path, Net: "unixgram"}}
	usec := getenv("WATCHDOG_USEC")
	if usec == "" {
		return n, nil
	}
	us, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || us <= 0 || us > int64(365*24*time.Hour/time.Microsecond) {
		return nil, fmt.Errorf("WATCHDOG_USEC %q is no number of microseconds; unset it, or let systemd set it (WatchdogSec=)", usec)
	}
	if p := getenv("WATCHDOG_PID"); p == "" || p == strconv.Itoa(pid) {
		n.watchdog = time.Duration(us) * time.Microsecond
	}
	return n, nil
}

// Watchdog returns within what time after each Alive the next must come, or the manager ends the process and starts it
// anew. 0 means that nobody waits for one.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Ready says that the daemon serves. What was ordered After= it starts now.
func (n *Notifier) Ready() error { return n.notify("READY=1") }

// Status is one line for people: systemctl status shows it.
func (n *Notifier) Status(line string) error {
	return n.notify("STATUS=" + strings.ReplaceAll(line, "\n", " "))
}

// Alive resets the manager's watchdog.
func (n *Notifier) Alive() error { return n.notify("WATCHDOG=1") }

// Stopping says that the daemon ends, in order.
func (n *Notifier) Stopping() error { return n.notify("STOPPING=1") }

func (n *Notifier) notify(state string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return fmt.Errorf("tell the service manager %s: %w", state, err)
	}
	defer func() { _ = c.Close() }()
	// The manager reads at once. Should it not, a full socket must not hold the daemon.
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell the service manager %s: %w", state, os.NewSyscallError("write", err))
	}
	return nil
}
