package wire

import (
	"testing"
	"time"
)

// Every message has a name of its own, and the type byte that is sent leads to it.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, tc := range []struct {
		m    Message
		name string
	}{
		{LinkOpen{Version: 1, Label: 1, Hello: time.Second, MTU: 1400}, "link_open"}, {PeerOpen{Version: 1}, "peer_open"}, {RecordMsg{Raw: []byte{1}}, "record"},
		{LSAMsg{Raw: []byte{1}}, "lsa"}, {LogMsg{Raw: []byte{1}}, "log"}, {Digest{}, "digest"}, {Summary{}, "summary"},
		{RecordRequest{}, "record_request"}, {Bye{}, "bye"},
	} {
		b, err := AppendMessage(nil, tc.m)
		if err != nil {
			t.Fatalf("%T: %v", tc.m, err)
		}
		if got := KindName(Kind(b[MessageHeader])); got != tc.name || seen[got] {
			t.Errorf("%T is called %q, not %q", tc.m, got, tc.name)
		}
		seen[tc.name] = true
	}
	if len(seen) != Kinds-1 {
		t.Errorf("%d kinds are tested of %d", len(seen), Kinds-1)
	}
	for _, typ := range []byte{0, byte(Kinds), 255} {
		if got := KindName(Kind(typ)); got != "unknown" {
			t.Errorf("type %d is called %q", typ, got)
		}
	}
	if KindName(-1) != "unknown" || KindName(Kinds) != "unknown" {
		t.Error("a kind that is none has a name")
	}
}
