package daemon

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// How many series one scrape holds at most of things that the mesh, not the operator, makes more of.
const (
	maxLinkSeries = 64 // links; of each some twenty series
	maxPeerSeries = 64 // peers, those with the most traffic
	scrapeTime    = 5 * time.Second
)

// metric is one metric family: its name and its labels, in the order in which values give them.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

var described []*prometheus.Desc // of every metric made by gauge or counter

func newMetric(kind prometheus.ValueType, name, help string, labels []string) metric {
	m := metric{prometheus.NewDesc("x0t_"+name, help, labels, nil), kind}
	described = append(described, m.desc)
	return m
}

func gauge(name, help string, labels ...string) metric {
	return newMetric(prometheus.GaugeValue, name, help, labels)
}

// counter makes one whose name ends in _total.
func counter(name, help string, labels ...string) metric {
	return newMetric(prometheus.CounterValue, name+"_total", help, labels)
}

// The metrics. docs/metrics.md has them all; a test compares the two.
var (
	mBuild   = gauge("build_info", "Version of x0t and of Go; always 1.", "version", "go_version")
	mStart   = gauge("start_time_seconds", "When this daemon started, in seconds since 1970.")
	mHealth  = gauge("health", "1 for the state that the node is in, 0 for the others.", "state")
	mSeenBy  = gauge("seen_by", "Members that announce a link with this node which it announces too.")
	mSVIDEnd = gauge("svid_expiry_timestamp_seconds", "When the node's SVID ends, in seconds since 1970.")
	mSVIDDue = gauge("svid_renewal_timestamp_seconds", "When the next SVID is due, in seconds since 1970.")
	mRenewal = counter("svid_renewal_attempts", "Attempts to get the next SVID from another node.")
	mClock   = gauge("clock_ahead_seconds", "How far the clock of a neighbour is ahead of ours, by the dates of its announcements.", "neighbour")

	mLinks     = gauge("links", "Links by state; missing are configured addresses that no link leads to.", "state")
	mLinkState = gauge("link_state", "1 for the state that the link is in, 0 for the others.", "neighbour", "link", "state")
	mLinkSince = gauge("link_state_timestamp_seconds", "When the link came into its state, in seconds since 1970.", "neighbour", "link")
	mLinkRTT   = gauge("link_rtt_seconds", "Round trip over the link, smoothed; 0 is not measured.", "neighbour", "link")
	mLinkMin   = gauge("link_min_rtt_seconds", "Least round trip over the link.", "neighbour", "link")
	mLinkJit   = gauge("link_jitter_seconds", "Mean deviation of the round trip.", "neighbour", "link")
	mLinkLoss  = gauge("link_loss_ratio", "Part of the hellos that did not arrive.", "neighbour", "link", "direction")
	mLinkCost  = gauge("link_cost_seconds", "Cost of the link: the expected time that a small frame takes.", "neighbour", "link")
	mLinkMTU   = gauge("link_mtu_bytes", "UDP payload that crosses the link in one datagram.", "neighbour", "link")
	mLinkHeard = gauge("link_heard_timestamp_seconds", "When the last authentic frame came, in seconds since 1970.", "neighbour", "link")
	mLinkBytes = counter("link_bytes", "UDP payload of authentic frames.", "neighbour", "link", "direction")
	mLinkFrame = counter("link_frames", "Authentic frames.", "neighbour", "link", "direction")
	mLinkFwd   = counter("link_forwarded_bytes", "Of what the neighbour sent: what was relayed for others.", "neighbour", "link")
	mLinkSent  = counter("link_expected_frames", "Frames that the neighbour sent by its own count; what is missing was lost.", "neighbour", "link")
	mLinkFlaps = counter("link_flaps", "How often the link ceased to be up.", "neighbour", "link")

	mPeers     = gauge("peers", "Other members by what passes between them and this node.", "state")
	mSessions  = gauge("sessions", "End-to-end sessions that are open.")
	mPeerBytes = counter("peer_bytes", "Inner packets exchanged with a peer; of the peers with the most traffic only.", "peer", "direction")
	mPeerRTT   = gauge("peer_rtt_seconds", "Last round trip of a probe to a peer; of the same peers.", "peer")

	mNodes    = gauge("lsdb_nodes", "Members whose record is known, this one included.")
	mEdges    = gauge("lsdb_links", "Links that both ends announce.")
	mAccepted = counter("lsdb_accepted", "Announcements of others that were taken in.", "kind")
	mRejected = counter("lsdb_rejected", "Announcements that were not, by reason.", "reason")

	mDropped = counter("dropped", "Packets and frames dropped by the data plane, by reason.", "reason")
	mPlane   = counter("dataplane_events", "What else the data plane counts.", "event")
	mUDP     = counter("udp_events", "Datagrams and errors of the UDP sockets.", "event")
	mQUIC    = counter("quic_events", "Handshakes and connections; link: with neighbours, peer: end to end.", "carrier", "event")
	mMesh    = counter("mesh_events", "What was done about moves, hints, waking and paths.", "event")
	mDNS     = counter("dns_events", "Questions that the node's own DNS was asked, by what became of them.", "event")
	mLoops   = counter("loop_drops", "What was dropped because a loop of the daemon was behind.", "queue")
	mQueue   = gauge("queue_length", "Events that wait for a loop of the daemon.", "queue")

	mHellos     = counter("hellos", "Hellos on all links.", "direction")
	mHelloBytes = counter("hello_bytes", "UDP payload of hellos on all links.", "direction")
	mMessages   = counter("control_messages", "Control messages by kind.", "carrier", "kind", "direction")
	mMsgBytes   = counter("control_bytes", "Bytes of control messages by kind, without what QUIC adds.", "carrier", "kind", "direction")
)

// collector makes metrics of a snapshot that is taken when a scrape asks, and at no other time.
type collector struct {
	snapshot func(context.Context) (snapshot, error)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range described {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	s, err := c.snapshot(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(mBuild.desc, err)
		return
	}
	s.emit(func(m metric, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
	})
}

// newMetrics returns the registry of all metrics: those of the node, of Go and of the process.
func newMetrics(c prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	// Of the old memory statistics two are one family in OpenMetrics, go_memstats_alloc_bytes, which is not allowed.
	goes := collectors.NewGoCollector(collectors.WithGoCollectorMemStatsMetricsDisabled(),
		collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile("^/memory/classes/(total|heap/objects):")}))
	r.MustRegister(c, goes, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// metrics serves /metrics, in OpenMetrics where the caller takes that.
func (d *Daemon) metrics() http.Handler {
	return promhttp.HandlerFor(newMetrics(collector{d.snapshot}), promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 2 * scrapeTime,
	})
}
