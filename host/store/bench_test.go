package store

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// What a write costs that waits for the disk: alone, and with a hundred others at the same time.
func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 100} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s := mustOpen(b, filepath.Join(b.TempDir(), "db"))
			defer mustClose(b, s)
			var next atomic.Int64
			b.SetParallelism(writers)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.Write([]Pair{{fmt.Appendf(nil, "%032d", next.Add(1)*7919%1_000_003), make([]byte, 100)}}); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
