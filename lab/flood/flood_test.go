package flood

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

// example is a frame and a packet of QUIC's from 192.0.2.1 to 192.0.2.2.
func example() Example {
	head := func(body string) []byte {
		f := make([]byte, payload)
		copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45})
		copy(f[ethernet+8:], []byte{64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x1c, 0xfc, 0x1c, 0xfc})
		return append(f, body...)
	}
	return Example{
		Interface: 3,
		Frame:     head("\x31\x00\x00\x00\xaa\xbb\xcc\xdd\x00\x00\x00\x05" + strings.Repeat("x", 40)),
		QUIC:      head("\x41" + strings.Repeat("q", 40)),
	}
}

// Every kind is a datagram that a kernel takes, and begins as what it passes for.
func TestGarbageIsWhatItPassesFor(t *testing.T) {
	e := example()
	for _, k := range Kinds() {
		sources := map[string]bool{}
		for _, f := range e.garbage([]Kind{k}, 200, 1) {
			ip, p := f[ethernet:], f[payload:]
			sum := uint32(0)
			for i := 0; i < ipv4; i += 2 {
				sum += uint32(binary.BigEndian.Uint16(ip[i:]))
			}
			if sum>>16+sum&0xffff != 0xffff {
				t.Fatalf("%s: IPv4 checksum of %x", k, ip[:ipv4])
			}
			if n := int(binary.BigEndian.Uint16(ip[2:])); n != len(ip) || int(binary.BigEndian.Uint16(ip[ipv4+4:])) != n-ipv4 {
				t.Fatalf("%s: lengths of %x", k, ip[:ipv4+udp])
			}
			if !bytes.Equal(ip[16:20], []byte{192, 0, 2, 2}) || !bytes.Equal(ip[ipv4+2:ipv4+4], []byte{0x1c, 0xfc}) {
				t.Fatalf("%s goes elsewhere: %x", k, ip[:ipv4+udp])
			}
			sources[string(ip[12:16])] = true
			looks := map[Kind]bool{
				Random: true, Label: p[0] == 0x30, Version: p[0] == 0xc0 && !bytes.Equal(p[1:5], []byte{0, 0, 0, 1}),
				Initial: bytes.HasPrefix(p, []byte{0xc0, 0, 0, 0, 1, 8}) && len(p) == 1200 && p[14] == 8 && p[23] == 0 &&
					int(binary.BigEndian.Uint16(p[24:])&0x3fff) == len(p)-26,
				Short:  p[0]&0xc0 == 0x40,
				Forged: bytes.HasPrefix(p[4:], e.Frame[payload+4:payload+8]) && p[0] == 0x30,
				Sealed: bytes.HasPrefix(p, e.QUIC[payload:payload+13]),
			}
			if !looks[k] {
				t.Fatalf("%s: %x", k, p)
			}
		}
		if forged := len(sources) > 100; forged == k.seeing() || k.seeing() && !sources["\xc0\x00\x02\x01"] {
			t.Errorf("%s comes from %d hosts", k, len(sources))
		}
	}
}

func TestElsewhere(t *testing.T) {
	e := example()
	was := bytes.Clone(e.Frame)
	to, stray := e.To(7999), e.Stray()
	if !bytes.Equal(e.Frame, was) {
		t.Error("the example was changed")
	}
	if got := binary.BigEndian.Uint16(to.Frame[payload-udp+2:]); got != 7999 || binary.BigEndian.Uint16(to.QUIC[payload-udp+2:]) != 7999 {
		t.Errorf("port %d", got)
	}
	if bytes.Equal(stray.Frame[:6], was[:6]) || !bytes.Equal(stray.Frame[6:], was[6:]) {
		t.Error("it is no other station, or more is different")
	}
}

func TestNoKindIsAMistake(t *testing.T) {
	e := example()
	if _, err := NewSender(e, nil, 1); err == nil {
		t.Error("garbage of no kind")
	}
	e.QUIC = nil
	if _, err := NewSender(e, []Kind{Sealed}, 1); err == nil {
		t.Error("forged QUIC without an example")
	}
}

func TestRate(t *testing.T) {
	if got := (Rate{Packets: 500, Took: 2 * time.Second}).PerSecond(); got != 250 {
		t.Errorf("%v a second", got)
	}
	if got := (Rate{Packets: 1}).PerSecond(); got != 0 {
		t.Errorf("one packet makes %v a second", got)
	}
}

// A helper that cannot do its job says so; a process that was not started for one goes on.
func TestHelper(t *testing.T) {
	if _, ok := Helper(); ok {
		t.Fatal("this is no helper")
	}
	for _, job := range []string{"nonsense", `{"Interface":"no-such-interface"}`} {
		t.Setenv(helperEnv, job)
		if code, ok := Helper(); !ok || code != 1 {
			t.Errorf("%s: code %d, %t", job, code, ok)
		}
	}
	j := Job{Kinds: Kinds(), PerSecond: 5, For: time.Second}
	if env, err := j.Env(); err != nil || !strings.HasPrefix(env, helperEnv+"={") {
		t.Errorf("%s, %v", env, err)
	}
}
