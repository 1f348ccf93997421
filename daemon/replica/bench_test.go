package replica

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fill writes n keys by as many callers as make full batches, and returns how long that took.
func fill(b *testing.B, m *member, prefix string, n, size int) time.Duration {
	b.Helper()
	value := make([]byte, size)
	begin := time.Now()
	var all sync.WaitGroup
	next := make(chan int, 4096)
	for range 1024 {
		all.Go(func() {
			for i := range next {
				if _, err := m.KVPut(b.Context(), fmt.Appendf(nil, "%s/%08d", prefix, i), value); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	return time.Since(begin)
}

// A put of one caller, durable and visible, beside what the disk needs for one write.
func BenchmarkPut(b *testing.B) {
	a := newDomain(b).member(b, "a")
	defer a.close()
	var puts, syncs []time.Duration
	f, err := os.Create(b.TempDir() + "/f") // #nosec G304 -- a test's own
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		a.put("key", strconv.Itoa(i))
		puts = append(puts, time.Since(begin))
		begin = time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), int64(i%64)<<12); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
		syncs = append(syncs, time.Since(begin))
	}
	for name, all := range map[string][]time.Duration{"put": puts, "fdatasync": syncs} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2].Seconds()*1e3, name+"-p50-ms")
		b.ReportMetric(all[len(all)*99/100].Seconds()*1e3, name+"-p99-ms")
	}
}

// Puts of many callers at once.
func BenchmarkPuts(b *testing.B) {
	for b.Loop() {
		a := newDomain(b).member(b, "a")
		const n = 100_000
		took := fill(b, a, "key", n, 32)
		b.ReportMetric(n/took.Seconds(), "puts/s")
		a.close()
	}
}

// What a receiver takes in of a neighbour that has much more: verified, merged, on disk.
func BenchmarkReceive(b *testing.B) {
	for b.Loop() {
		d := newDomain(b)
		a, c := d.member(b, "a"), d.member(b, "c", notFounder)
		const n = 100_000
		fill(b, a, "key", n, 32)
		begin := time.Now()
		link := connect(a, c)
		settle(b, a, c)
		b.ReportMetric(n/time.Since(begin).Seconds(), "records/s")
		link.cut()
		c.close()
		a.close()
	}
}

// settle waits until two have the same.
func settle(b *testing.B, x, y *member) {
	b.Helper()
	for begin := time.Now(); x.info().Digest != y.info().Digest; time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 5*time.Minute {
			b.Fatalf("no agreement: %+v %+v", x.info(), y.info())
		}
	}
}

// 100,000 keys changed on either side of a cut.
func BenchmarkHeal(b *testing.B) {
	for _, size := range []int{8, 1 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				heal(b, 100_000, size)
			}
		})
	}
}

func heal(b *testing.B, n, size int) {
	b.Helper()
	d := newDomain(b)
	x, y := d.member(b, "x"), d.member(b, "y")
	defer x.close()
	defer y.close()
	x.put("first", "")
	link := connect(x, y)
	settle(b, x, y)
	link.cut()
	fill(b, x, "left", n, size)
	fill(b, y, "right", n, size)
	begin := time.Now()
	link = connect(x, y)
	defer link.cut()
	settle(b, x, y)
	b.ReportMetric(time.Since(begin).Seconds(), "s")
	moved := link.pipe[0].in.bytes() + link.pipe[0].out.bytes()
	b.ReportMetric(float64(moved)/float64(2*n), "B/key")
}

// What a process needs for a million small keys.
func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		a := newDomain(b).member(b, "a")
		took := fill(b, a, "key", 1_000_000, 32)
		b.ReportMetric(1e6/took.Seconds(), "puts/s")
		for name, mb := range resident(b) {
			b.ReportMetric(mb, name)
		}
		a.close()
		runtime.GC()
		begin := time.Now()
		a.open()
		b.ReportMetric(time.Since(begin).Seconds(), "s-to-open")
		a.close()
	}
}

// resident returns the memory of this process in MB: all of it, and what is not pages of the store's file, which the kernel can take
// back at any time.
func resident(b *testing.B) map[string]float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	got := map[string]float64{}
	for _, line := range strings.Split(string(status), "\n") {
		var kb float64
		for field, name := range map[string]string{"VmRSS:": "MB-resident", "RssAnon:": "MB-anonymous"} {
			if n, _ := fmt.Sscanf(line, field+" %f kB", &kb); n == 1 {
				got[name] = kb / 1e3
			}
		}
	}
	return got
}
