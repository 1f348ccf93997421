package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// binaryEnv names the x0t to test; without it one is built. labEnv names the one with which meshes are measured, whose race
// detector would be most of what is measured; without it that is the same.
const (
	binaryEnv = "X0T_TEST_BINARY"
	labEnv    = "X0T_TEST_LAB_BINARY"
)

// bin is a directory that holds the binary under the name that users call it by.
var bin string

func TestMain(m *testing.M) {
	code, err := prepared(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// prepared runs the tests with a binary at hand.
func prepared(run func() int) (code int, err error) {
	// Children of children come to us when their parent dies, so that none survives the tests.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	if bin, err = os.MkdirTemp("", "x0t-e2e-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	if err := os.Chmod(bin, 0o755); err != nil { // for the test that is another user
		return 0, err
	}
	if given := os.Getenv(binaryEnv); given != "" {
		if err := provide(given, x0t()); err != nil {
			return 0, err
		}
		return run(), nil
	}
	args := []string{"build", "-o", x0t()}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "x0tta6bl4/cmd/x0t")...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("build x0t: %w: %s", err, out)
	}
	return run(), nil
}

// provide puts the given binary at the place to.
func provide(given, to string) error {
	given, err := filepath.Abs(given)
	if err != nil || os.Link(given, to) == nil {
		return err
	}
	b, err := os.ReadFile(given) // another file system
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// x0t is the path of the binary.
func x0t() string { return filepath.Join(bin, "x0t") }

// capable says what this machine or user lacks for these tests.
var capable = sync.OnceValue(func() error {
	m, err := newMachine("probe")
	if err != nil {
		return fmt.Errorf("a network and a mount namespace cannot be made: %w; run as root", err)
	}
	defer m.close()
	return m.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun cannot be opened: %w", err)
		}
		return unix.Close(fd)
	})
})

// need skips a test on a machine that cannot run it, and says why. Programs are those that it calls.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs real daemons for seconds")
	}
	if err := capable(); err != nil {
		t.Skip(err)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: %v", p, err)
		}
	}
}

// eventually polls until try returns nil, and fails the test with its last error when limit has passed.
func eventually(t *testing.T, limit time.Duration, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last := errors.New("not tried"); ; {
		attempt, end := context.WithTimeout(ctx, 5*time.Second)
		err := try(attempt)
		end()
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, limit, last)
		}
	}
}

// must turns an error into the end of the test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
