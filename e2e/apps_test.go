package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve answers HTTP on a machine's mesh address and returns the address with port.
func (m *machine) serve(t *testing.T, h http.Handler) string {
	t.Helper()
	at := netip.AddrPortFrom(m.addr, 8080).String()
	var l net.Listener
	if err := m.do(func() (err error) { l, err = net.Listen("tcp", at); return err }); err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return at
}

// throughput runs iperf3 from one machine to another and returns bits per second as the receiver saw them.
func throughput(t *testing.T, from, to *machine, args ...string) float64 {
	t.Helper()
	server := to.background(t, "iperf3", "-s", "-1", "-B", to.addr.String())
	var r result
	eventually(t, 10*time.Second, "iperf3 finds its server", func(ctx context.Context) (err error) {
		r, err = from.try(ctx, append([]string{"iperf3", "-J", "-t", "2", "-c", to.addr.String()}, args...)...)
		if err == nil && strings.Contains(r.out, "Connection refused") {
			err = errors.New("it does not listen yet")
		}
		return err
	})
	<-server.done
	var report struct {
		Error string
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sum struct {
				Bits float64 `json:"bits_per_second"`
				Lost float64 `json:"lost_percent"`
			}
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || report.Error != "" || r.code != 0 {
		t.Fatalf("iperf3 %v from %s to %s: %v %s\n%s", args, from.id, to.id, err, report.Error, r)
	}
	bits := max(report.End.Received.Bits, report.End.Sum.Bits)
	t.Logf("iperf3 %v from %s to %s: %.1f Mbit/s, %.2f %% lost", args, from.id, to.id, bits/1e6, report.End.Sum.Lost)
	return bits
}

// The programs that people use work across three hops.
func TestApplications(t *testing.T) {
	need(t, "iperf3", "curl", "tracepath")
	n := newMesh(t, cables("alpha-beta beta-gamma gamma-delta"))
	alpha, delta := n.at("alpha"), n.at("delta")
	n.reach(20*time.Second, alpha, delta)

	t.Run("iperf3", func(t *testing.T) {
		for _, args := range [][]string{nil, {"-R"}, {"-u", "-b", "5M", "-l", "1200"}} {
			if bits := throughput(t, alpha, delta, args...); bits < 1e6 {
				t.Errorf("%.0f bit/s", bits)
			}
		}
	})
	t.Run("curl", func(t *testing.T) {
		body := make([]byte, 16<<20)
		if _, err := rand.Read(body); err != nil {
			t.Fatal(err)
		}
		at := delta.serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
		file := filepath.Join(t.TempDir(), "got")
		alpha.must(t, "curl", "-sSf", "-g", "--max-time", "50", "-o", file, fmt.Sprintf("http://%s/file", at))
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(got) != sha256.Sum256(body) {
			t.Errorf("%d bytes came that are not the %d bytes sent", len(got), len(body))
		}
	})
	t.Run("tracepath", func(t *testing.T) {
		out := alpha.must(t, "tracepath", "-n", delta.addr.String())
		if !strings.Contains(out, delta.addr.String()) || !strings.Contains(out, "reached") || !strings.Contains(out, "pmtu 1360") {
			t.Errorf("tracepath does not reach %s with 1360 bytes:\n%s", delta.addr, out)
		}
	})
}
