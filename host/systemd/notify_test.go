package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func env(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

// manager listens as systemd does and returns what it was told.
func manager(t *testing.T, name string) func() string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return func() string {
		t.Helper()
		b := make([]byte, 1000)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for what, name := range map[string]string{
		"path":     filepath.Join(dir, "notify"),
		"abstract": fmt.Sprintf("@x0t-test-%d", os.Getpid()),
	} {
		next := manager(t, name)
		n, err := FromEnv(env("NOTIFY_SOCKET", name, "WATCHDOG_USEC", "30000000", "WATCHDOG_PID", "7"), 7)
		if err != nil || n.Watchdog() != 30*time.Second {
			t.Fatalf("%s: %v, %v", what, n.Watchdog(), err)
		}
		for want, say := range map[string]func() error{
			"READY=1": n.Ready, "WATCHDOG=1": n.Alive, "STOPPING=1": n.Stopping,
			"STATUS=2 links  READY=1": func() error { return n.Status("2 links \nREADY=1") }, // one line, whatever it is given
		} {
			if err := say(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got := next(); got != want {
				t.Errorf("%s: the manager was told %q, want %q", what, got, want)
			}
		}
	}
}

func TestNobodyWatches(t *testing.T) {
	n, err := FromEnv(env("WATCHDOG_USEC", "1"), 7)
	if n != nil || err != nil {
		t.Fatal(n, err)
	}
	for _, say := range []func() error{n.Ready, n.Alive, n.Stopping, func() error { return n.Status("x") }} {
		if err := say(); err != nil {
			t.Error(err)
		}
	}
	if n.Watchdog() != 0 {
		t.Error(n.Watchdog())
	}
}

func TestEnvironment(t *testing.T) {
	for what, c := range map[string]struct {
		env  []string
		want time.Duration
		err  string
	}{
		"no watchdog":            {[]string{"NOTIFY_SOCKET", "/x"}, 0, ""},
		"for any process":        {[]string{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "5"}, 5 * time.Microsecond, ""},
		"for another process":    {[]string{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "5", "WATCHDOG_PID", "8"}, 0, ""},
		"relative socket":        {[]string{"NOTIFY_SOCKET", "x"}, 0, "NOTIFY_SOCKET"},
		"socket of a hypervisor": {[]string{"NOTIFY_SOCKET", "vsock:2:1"}, 0, "NOTIFY_SOCKET"},
		"abstract without name":  {[]string{"NOTIFY_SOCKET", "@"}, 0, "NOTIFY_SOCKET"},
		"watchdog in words":      {[]string{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "soon"}, 0, "WATCHDOG_USEC"},
		"watchdog of nothing":    {[]string{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "0"}, 0, "WATCHDOG_USEC"},
		"watchdog that overflows": {[]string{"NOTIFY_SOCKET", "/x", "WATCHDOG_USEC", "9223372036854775807"}, 0,
			"WATCHDOG_USEC"},
	} {
		n, err := FromEnv(env(c.env...), 7)
		if c.err == "" && (err != nil || n.Watchdog() != c.want) {
			t.Errorf("%s: %v, %v", what, n.Watchdog(), err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	n, err := FromEnv(env("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone")), 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "READY=1") {
		t.Error(err)
	}
}
