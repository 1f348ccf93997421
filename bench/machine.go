package bench

import (
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what figures depend on beside the code.
type Machine struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	Cores  int    `json:"cores"`
	Go     string `json:"go"`
}

func thisMachine() Machine {
	m := Machine{Kernel: "unknown", Arch: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
		m.Kernel, _, _ = strings.Cut(m.Kernel, "-") // what follows names a build, not a kernel
	}
	return m
}

// Noise is how late a timer of one millisecond fired while the figures were taken, in milliseconds.
type Noise struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// lateness samples Noise in the background until stop is called.
type lateness struct {
	quit chan struct{}
	wg   sync.WaitGroup
	late []float64
}

func listen() *lateness { return listenEvery(50 * time.Millisecond) }

// listenEvery takes a sample after each pause.
func listenEvery(pause time.Duration) *lateness {
	l := &lateness{quit: make(chan struct{})}
	l.wg.Go(func() {
		for {
			due := time.Now().Add(time.Millisecond)
			select {
			case <-l.quit:
				return
			case <-time.After(time.Until(due)):
				l.late = append(l.late, millis(time.Since(due)))
			}
			select { // the listening itself must not be what it hears
			case <-l.quit:
				return
			case <-time.After(pause):
			}
		}
	})
	return l
}

func (l *lateness) stop() Noise {
	close(l.quit)
	l.wg.Wait()
	if len(l.late) == 0 {
		return Noise{}
	}
	return Noise{P50: percentile(l.late, 50), P99: percentile(l.late, 99), Max: percentile(l.late, 100)}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
