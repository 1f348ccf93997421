package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/mesh"
)

// golden reads testdata/vectors.txt, which vectors.py beside it made without this package.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, hexed, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(hexed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m[name] = b
	}
	return m
}

// seq returns the bytes from, from+1, … of length n.
func seq(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from + i)
	}
	return b
}

func equal(t *testing.T, name string, got, want []byte) {
	t.Helper()
	if want == nil {
		t.Fatalf("no golden vector %s", name)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %x\nwant %x", name, got, want)
	}
}

func same(t *testing.T, name string, got, want any, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", name, err)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
	}
}

var (
	testSVID  = [32]byte(seq(0x40, 32))
	testKey   = NewMACKey(seq(0, 16))
	testQuote = [16]byte(seq(0, 16))

	testHello = Hello{Seq: 9, SentAt: 1 << 40, EchoSeq: 8, EchoSentAt: 1<<40 + 5, EchoDelay: 1234, Heard: 7, HeardFrom: 2,
		Interval: 50000, Probe: true}
	testError     = ErrorFrame{Code: ErrorTooBig, Label: 0x1234, MTU: 1280, Quote: testQuote, Hop: 2}
	testHandshake = Handshake{FromInitiator: true, Conversation: 0x1122334455667788, Datagram: seq(0, 64)}
	testProbe     = Probe{ID: 0x0102030405060708, SentAt: -2, Path: 3, Labels: []mesh.Label{7, 0xfffe}}
	testSummary   = Summary{[]SummaryEntry{{Origin: mesh.MustNodeID("relay-1"), Boot: 11, Seq: 12, SVID: testSVID, RecordSeq: 13}}}

	testLSA = LSA{
		Origin: mesh.MustNodeID("a"), Incarnation: 1, Boot: 2, Seq: 3, Time: time.UnixMilli(1800000000123).UTC(),
		Lifetime: time.Hour, SVID: testSVID, Capabilities: 7,
		Links: []mesh.Adjacency{
			{Neighbour: mesh.MustNodeID("b"), Label: 3, Remote: 9, Cost: 1500, Quality: mesh.Good, MTU: 1452, Capacity: 1e9},
			{Neighbour: mesh.MustNodeID("c-2"), Label: 70, Remote: 1, Cost: mesh.MaxCost, Quality: mesh.Bad, MTU: 1280,
				Capacity: 1e6, Suspect: true, Groups: []uint32{5, 6}},
		},
	}
	testRecord = Record{
		Origin: mesh.MustNodeID("a"), Incarnation: 1, Seq: 4, Time: time.UnixMilli(1800000000123).UTC(),
		Chain: [][]byte{[]byte("leaf"), []byte("ca")}, Roles: 2, Addresses: []string{"192.0.2.1:7420", "[2001:db8::1]:7420"},
	}
)

// testMessages maps the name of a golden vector to its message.
var testMessages = map[string]Message{
	"msg-link-open":      LinkOpen{Version, 0xcafef00d, 77, 50 * time.Millisecond, 1452, 5, 1 << 42},
	"msg-peer-open":      PeerOpen{Version, 0xcafef00d, 1360, 1 << 42},
	"msg-record":         RecordMsg{[]byte("rec")},
	"msg-lsa":            LSAMsg{[]byte("lsa")},
	"msg-log":            LogMsg{[]byte("log")},
	"msg-digest":         testSummary.Digest(),
	"msg-summary":        testSummary,
	"msg-record-request": RecordRequest{[][32]byte{testSVID, {}}},
	"msg-bye":            Bye{"going away"},
}

func TestGoldenKeys(t *testing.T) {
	g := golden(t)
	td := spiffeid.RequireTrustDomainFromString("lab.internal")
	a, b := mesh.MustNodeID("a").SPIFFEID(td), mesh.MustNodeID("b").SPIFFEID(td)
	equal(t, "exporter-context", ExporterContext(PurposeE2E, a, b, 3), g["exporter-context"])

	for _, client := range []bool{true, false} {
		link, err := DeriveLinkKeys(seq(0, 32), client)
		if err != nil {
			t.Fatal(err)
		}
		data, err := DeriveDataKeys(seq(0, 32), client)
		if err != nil {
			t.Fatal(err)
		}
		if !client {
			link.Send, link.Recv = link.Recv, link.Send
			data.Send, data.Recv = data.Recv, data.Send
		}
		if link.Send != NewMACKey(g["c2s-mac"]) || link.Recv != NewMACKey(g["s2c-mac"]) {
			t.Errorf("link keys, client %v: %+v", client, link)
		}
		equal(t, "c2s-aead", data.Send[:], g["c2s-aead"])
		equal(t, "s2c-aead", data.Recv[:], g["s2c-aead"])
	}
	next, err := NextEpoch([32]byte(seq(0, 32)))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "next-epoch", next[:], g["next-epoch"])
}

func TestGoldenPayloads(t *testing.T) {
	g := golden(t)
	inner := Inner{Kind: InnerPacket, Class: 2 | ClassProtected}
	equal(t, "inner", inner.Append(nil), g["inner"])
	equal(t, "probe", testProbe.Append(nil), g["probe"])
	counted := testProbe
	counted.Labels, counted.Counts = nil, &ProbeCounts{Index: 0xdeadbeef, Sent: 300, Received: 1<<32 - 16}
	equal(t, "probe-counts", counted.Append(nil), g["probe-counts"])
	equal(t, "inner-path", Inner{Kind: InnerProbe, Class: 2, Path: 31}.Append(nil), g["inner-path"])
	equal(t, "inner-partial", Inner{Kind: InnerPacket, Class: 1, Path: 1, Partial: true}.Append(nil), g["inner-partial"])
	equal(t, "hello", testHello.Append(nil), g["hello"])
	equal(t, "error", testError.Append(nil), g["error"])
	equal(t, "handshake", testHandshake.Append(nil), g["handshake"])

	gotInner, rest, err := ParseInner(g["inner"])
	same(t, "inner", gotInner, inner, err)
	if len(rest) != 0 {
		t.Errorf("inner: %d bytes left", len(rest))
	}
	probe, err := ParseProbe(g["probe"])
	same(t, "probe", probe, testProbe, err)
	hello, err := ParseHello(g["hello"])
	same(t, "hello", hello, testHello, err)
	ef, err := ParseErrorFrame(g["error"])
	same(t, "error", ef, testError, err)
	hs, err := ParseHandshake(g["handshake"])
	same(t, "handshake", hs, testHandshake, err)
}

func TestGoldenData(t *testing.T) {
	g := golden(t)
	aead, err := NewAEAD(SuiteAES256GCM, seq(0, 32))
	if err != nil {
		t.Fatal(err)
	}
	plain := append(Inner{Class: 2 | ClassProtected}.Append(nil), seq(0, 64)...)
	equal(t, "data", SealData(nil, aead, 0xa1b2c3d4, 0x100000002, plain), g["data"])
	counter, got, err := OpenData(g["data"], aead)
	if err != nil || counter != 0x100000002 {
		t.Fatalf("counter %#x, %v", counter, err)
	}
	equal(t, "plaintext", got, plain)
	in, err := QuotedInner(QuoteOf(golden(t)["data"]), aead)
	same(t, "quoted header", in, Inner{Class: 2 | ClassProtected}, err)
}

// Of what a key of a session becomes: data that is sealed with a counter of the third epoch.
func TestGoldenEpoch(t *testing.T) {
	g := golden(t)
	keys, err := DeriveDataKeys(seq(0, 32), true)
	if err != nil {
		t.Fatal(err)
	}
	const counter = 2<<22 | 5
	key := keys.Send
	for range Epoch(counter) {
		if key, err = NextEpoch(key); err != nil {
			t.Fatal(err)
		}
	}
	aead, err := NewAEAD(SuiteAES256GCM, key[:])
	if err != nil {
		t.Fatal(err)
	}
	plain := append(Inner{Class: 2 | ClassProtected}.Append(nil), seq(0, 64)...)
	equal(t, "data of a later epoch", SealData(nil, aead, 0xa1b2c3d4, counter, plain), g["data-epoch"])
}

func TestGoldenFrames(t *testing.T) {
	g := golden(t)
	for _, c := range []struct {
		name    string
		typ     FrameType
		hop     int
		labels  []mesh.Label
		flags   Flags
		session uint32
		counter uint64
		payload []byte
	}{
		{"frame-data", TypeData, 1, []mesh.Label{0x0102, 0xfffe, 3}, FlagProtected.WithECN(2), 0xdeadbeef, 0x100000007, g["data"]},
		{"frame-hello", TypeHello, 0, nil, 0, 1, 0, g["hello"]},
		{"frame-error", TypeError, 2, []mesh.Label{5, 6}, 0, 2, 0xffffffff, g["error"]},
		{"frame-handshake", TypeHandshake, 0, []mesh.Label{4}, FlagProbe, 3, 1 << 63, g["handshake"]},
		{"frame-challenge", TypeChallenge, 0, nil, 0, 4, 5, Challenge(testQuote).Append(nil)},
	} {
		b := AppendFrame(nil, c.typ, c.flags, c.labels, c.payload)
		b[1] = byte(c.hop)
		Seal(b, &testKey, c.session, c.counter)
		equal(t, c.name, b, g[c.name])
		if !Check(g[c.name], &testKey, c.counter) {
			t.Errorf("%s: MAC not accepted", c.name)
		}
		f, err := ParseFrame(g[c.name])
		if err != nil || f.Type != c.typ || int(f.Hop) != c.hop || f.Flags != c.flags || f.Session != c.session ||
			f.Counter != uint32(c.counter) || len(f.Labels) != 2*len(c.labels) || !bytes.Equal(f.Payload, c.payload) {
			t.Errorf("%s: parsed %+v, %v", c.name, f, err)
		}
	}
}

func TestGoldenParts(t *testing.T) {
	g := golden(t)
	whole := AppendFrame(nil, TypeHandshake, FlagProbe, []mesh.Label{4}, g["handshake"])
	a, b, err := SplitFrame(whole, len(whole)-8, 99)
	if err != nil {
		t.Fatal(err)
	}
	Seal(a, &testKey, 6, 7)
	Seal(b, &testKey, 6, 8)
	equal(t, "frame-part-0", a, g["frame-part-0"])
	equal(t, "frame-part-1", b, g["frame-part-1"])
}

func TestGoldenMessages(t *testing.T) {
	g := golden(t)
	for name, m := range testMessages {
		b, err := AppendMessage(nil, m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		equal(t, name, b, g[name])
		n, err := MessageLength(g[name])
		if err != nil || n != len(g[name])-MessageHeader {
			t.Errorf("%s: length %d, %v", name, n, err)
		}
		got, err := ParseMessage(g[name][MessageHeader:])
		same(t, name, got, m, err)
	}
}

func TestGoldenSigned(t *testing.T) {
	g := golden(t)
	sig := []byte("signature")
	equal(t, "lsa", testLSA.AppendSigned(nil, sig), g["lsa"])
	equal(t, "record", testRecord.AppendSigned(nil, sig), g["record"])

	lsa, signed, gotSig, err := ParseLSA(g["lsa"])
	same(t, "lsa", lsa, testLSA, err)
	equal(t, "lsa signed", signed, testLSA.SigningInput())
	equal(t, "lsa signature", gotSig, sig)
	rec, signed, gotSig, err := ParseRecord(g["record"])
	same(t, "record", rec, testRecord, err)
	equal(t, "record signed", signed, testRecord.SigningInput())
	equal(t, "record signature", gotSig, sig)
}
