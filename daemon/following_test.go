package daemon

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What fails is followed again until it goes well. Meanwhile status says so; the log says it once, and when it is over.
func TestFollowingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var f following
		var tries atomic.Int64
		text, ended := &lockedBuffer{}, make(chan struct{})
		go func() {
			defer close(ended)
			f.keep(ctx, slog.New(slog.NewTextHandler(text, nil)), "authority logs", func() error {
				if tries.Add(1) <= 3 {
					return errors.New("the disk is gone")
				}
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		time.Sleep(2*followRetry + 1)
		synctest.Wait()
		if got := f.troubles(); tries.Load() != 3 || len(got) != 1 || !strings.Contains(got[0], "authority logs") || !strings.HasSuffix(got[0], "the disk is gone") {
			t.Errorf("after %d tries: %q", tries.Load(), got)
		}
		time.Sleep(2*followRetry + 1)
		synctest.Wait()
		if got := f.troubles(); tries.Load() != 4 || len(got) != 0 {
			t.Errorf("after %d tries: %q", tries.Load(), got)
		}
		cancel()
		<-ended
		if s := text.String(); strings.Count(s, "level=ERROR") != 1 || strings.Count(s, "followed again") != 1 || len(f.troubles()) != 0 {
			t.Errorf("logged: %s", s)
		}
	})
}

// A replica that fails ends neither the loop that follows authority logs nor those of the configuration, and status names all three.
func TestStatusSaysWhatIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alpha := newRealm(t, "alpha").node("alpha", "", nil)
		alpha.end()
		alpha.store = &keeper{}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { alpha.followLogs(ctx, alpha.shared.replica) })
		wg.Go(func() { alpha.tuneLoop(ctx, alpha.shared.replica) })
		time.Sleep(time.Minute)
		synctest.Wait()
		got := strings.Join(alpha.allWarnings(census{}), "\n")
		for _, what := range []string{"authority logs", "the configuration", "changes of the configuration"} {
			if strings.Count("\n"+got, "\n"+what+" in the shared state") != 1 || strings.Count(got, "\n") != 2 {
				t.Errorf("%s: %q", what, got)
			}
		}
		cancel()
		wg.Wait()
	})
}
