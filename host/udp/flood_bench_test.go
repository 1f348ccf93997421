package udp

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a datagram costs this process, sender included, in processor time rather than in time: by kind of garbage, where the
// kernel sorts and where it does not, and when nobody listens, which is the sender's part.
func BenchmarkGarbage(b *testing.B) {
	for _, kernel := range []struct {
		name  string
		share shareFunc
	}{{"sorted", (*group).share}, {"unsorted", unsorted}, {"sender alone", nil}} {
		for _, kind := range []string{"unknown sessions", "strangers' Initials"} {
			b.Run(kernel.name+"/"+kind, func(b *testing.B) {
				to := netip.MustParseAddrPort("127.0.0.1:9")
				if kernel.share != nil {
					s, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{Frame: func(*Socket, netip.AddrPort, []byte) {}}, kernel.share)
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
					if err := s.Admit([]uint32{7}); err != nil {
						b.Fatal(err)
					}
					if err := s.RequireMarks(); err != nil {
						b.Fatal(err)
					}
					to = s.LocalAddr()
				}
				a, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Handlers{})
				if err != nil {
					b.Fatal(err)
				}
				defer a.Close()
				p := floods[kind]
				if kind == "unknown sessions" {
					p = p[:60]
				}
				before := processorTime()
				for b.Loop() {
					_ = a.Send(to, p)
				}
				b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
