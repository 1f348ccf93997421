package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/systemd"
)

// serviceManager listens where a daemon of this test tells how it is.
func serviceManager(t *testing.T, watchdog time.Duration) (*systemd.Notifier, *net.UnixConn) {
	t.Helper()
	name := fmt.Sprintf("@x0t-%d-%s", os.Getpid(), t.Name())
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	n, err := systemd.FromEnv(func(v string) string {
		return map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": fmt.Sprint(watchdog.Microseconds())}[v]
	}, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return n, c
}

// alive reports whether a daemon says within a time that it lives.
func alive(c *net.UnixConn, within time.Duration) bool {
	b := make([]byte, 1000)
	for _ = c.SetReadDeadline(time.Now().Add(within)); ; {
		n, err := c.Read(b)
		if err != nil {
			return false
		}
		if string(b[:n]) == "WATCHDOG=1" {
			return true
		}
	}
}

type lockedLog struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// A manager that hears nothing for the watchdog's time kills the daemon and starts it anew. So a loop that hangs must
// silence the daemon, whichever it is, and one that was only slow must not for good.
func TestHangingLoopSilencesTheWatchdog(t *testing.T) {
	const watchdog = 200 * time.Millisecond
	for _, loop := range []string{"slow", "fast"} {
		t.Run(loop, func(t *testing.T) {
			manager, told := serviceManager(t, watchdog)
			log := &lockedLog{}
			d, end := answering(t)
			defer end()
			d.opt.Manager, d.log = manager, slog.New(slog.NewTextHandler(log, nil))
			ctx, cancel := context.WithCancel(t.Context())
			attended := make(chan struct{})
			go func() { d.attend(ctx, func(context.Context) string { return "" }); close(attended) }()
			defer func() { cancel(); <-attended }()
			for range 3 {
				if !alive(told, 10*time.Second) {
					t.Fatal("both loops answer, and the manager is not told")
				}
			}
			hang := make(chan struct{})
			hung := make(chan struct{})
			if loop == "slow" {
				go func() { _ = d.ask(ctx, func(*node.Control) { close(hung); <-hang }) }()
			} else {
				go func() { _ = d.askFast(ctx, func(*node.Reflex) { close(hung); <-hang }) }()
			}
			<-hung
			alive(told, watchdog) // one that was already on its way
			if alive(told, 3*watchdog) {
				t.Error("a loop hangs, and the daemon says that it lives")
			}
			if !strings.Contains(log.String(), "loop="+loop) {
				t.Errorf("the log does not name the loop:\n%s", log)
			}
			close(hang)
			if !alive(told, 10*time.Second) {
				t.Error("the loop answers again, and the daemon stays silent")
			}
		})
	}
}

// answering is a daemon of which nothing runs but that both loops answer those who ask.
func answering(t *testing.T) (d *Daemon, end func()) {
	t.Helper()
	d = bareDaemon()
	d.asks, d.asksFast, d.done = make(chan func(*node.Control)), newMailbox[func(*node.Reflex)](), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case ask := <-d.asks:
				ask(nil)
			case <-ctx.Done():
				return
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-d.asksFast.ready:
				for _, ask := range d.asksFast.take() {
					ask(nil)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return d, func() { close(d.done); cancel(); wg.Wait() }
}
