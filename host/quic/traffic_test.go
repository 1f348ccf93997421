package quicconn

import (
	"testing"
	"testing/synctest"

	"x0tta6bl4/wire"
)

// What one side counts as sent of a kind, the other counts as received, to the byte.
func TestMessageTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, a, b := pair(t)
		atA, _ := connect(t, a, b)
		msgs := []wire.Message{wire.LSAMsg{Raw: make([]byte, 1000)}, wire.LSAMsg{Raw: make([]byte, 7)}, wire.Digest{}}
		size := map[string]uint64{}
		for _, m := range msgs {
			one, err := wire.AppendMessage(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			size[wire.KindName(wire.Kind(one[wire.MessageHeader]))] += uint64(len(one))
		}
		if err := a.Send(atA.Conn, msgs...); err != nil {
			t.Fatal(err)
		}
		for range msgs {
			<-b.messages
		}
		want := map[string]uint64{"lsa": 2, "digest": 1}
		for i, out := range a.Messages() {
			in := b.Messages()[i]
			if out.Kind == "bye" { // connect says one to make the stream known
				continue
			}
			if out.Kind != in.Kind || out.Sent != want[out.Kind] || in.Received != out.Sent || out.Received != 0 {
				t.Errorf("%+v, and at the other end %+v", out, in)
			}
			if out.SentBytes != size[out.Kind] || in.ReceivedBytes != out.SentBytes {
				t.Errorf("%s: %d bytes sent, %d received, not %d", out.Kind, out.SentBytes, in.ReceivedBytes, size[out.Kind])
			}
		}
	})
}
