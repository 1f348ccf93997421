package udp

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// class says in which queue a datagram waits. The kernel puts it there before anything of it reaches this process, so that
// a flood of one class fills the queue of that class only, and refuses what nobody here can use.
type class int

const (
	refused    class = iota // of no use: the kernel drops it
	framed                  // frames of the link sessions that were admitted
	acquainted              // QUIC for connections of ours
	strange                 // QUIC that begins a connection: anybody may send it
	expected                // the same from an address at which a member has been: somebody who does not know one must guess
	calm                    // hellos of the link sessions that were admitted, but for those that want an answer: they may wait
	classes
)

// What tells the classes apart.
const (
	minFrame       = 20   // bytes of a frame's header (wire.HeaderLen)
	sessionOffset  = 4    // of a frame: the receiver's link session
	helloFrame     = 0x31 // the first byte of a hello (wire.TypeHello)
	minHello       = 61   // bytes of a hello without padding (wire.HeaderLen, wire.HelloLen)
	probeOffset    = 60   // the byte of a hello that tells whether an answer is wanted,
	probeBit       = 1    // and how
	minInitial     = 1200 // a datagram with a client's Initial is at least so long, others are dropped (RFC 9000 §14.1)
	minInitialID   = 8    // and its connection ID at least so (RFC 9000 §7.2)
	quicVersion    = 1
	longHeaderID   = 6 // where the connection ID of a long header begins, behind its length (RFC 9000 §17.2)
	shortHeaderID  = 1
	maxSessions    = 512 // a filter has at most 4096 instructions; for more sessions all frames are let in
	farthest       = 255 // instructions that a conditional jump skips
	longHeader     = 0x80
	fixedBit       = 0x40
	longHeaderType = 0x30 // bits; 0 is Initial
)

// rules are what a socket knows of the datagrams that are meant for it. The zero value lets in all frames and all QUIC.
type rules struct {
	sessions []uint32 // in order: the link sessions whose frames are wanted
	only     bool     // no other frames are
	hellos   bool     // those that may wait are a class of their own
	mark     *marker  // of our connection IDs; nil = QUIC is not looked at
	members  []uint32 // in order: lastWord of the addresses at which members have been
}

// lastWord stands for an address: two of the same need not be told apart to sort by it.
func lastWord(a netip.Addr) uint32 {
	b := a.As16() // of IPv4 the last four bytes, too
	return binary.BigEndian.Uint32(b[12:])
}

// expects reports whether a member may have been at the address.
func (r *rules) expects(a netip.Addr) bool {
	_, found := slices.BinarySearch(r.members, lastWord(a))
	return found
}

// classify is what the program does, for sockets that the kernel does not sort for, but that whoever is expected is strange.
func (r *rules) classify(b []byte) class {
	switch {
	case len(b) == 0:
		return refused
	case b[0]&(longHeader|fixedBit) == 0:
		return r.classifyFrame(b)
	case r.mark == nil:
		return acquainted
	case b[0]&longHeader == 0:
		if r.mark.knows(b[shortHeaderID:]) {
			return acquainted
		}
		return refused
	}
	return r.classifyLong(b)
}

func (r *rules) classifyFrame(b []byte) class {
	if b[0]&0xf0 != 0x30 {
		return refused
	}
	admitted := framed
	if r.hellos && mayWait(b) {
		admitted = calm
	}
	if !r.only {
		return admitted
	}
	if len(b) < minFrame {
		return refused
	}
	if _, known := slices.BinarySearch(r.sessions, binary.BigEndian.Uint32(b[sessionOffset:])); !known {
		return refused
	}
	return admitted
}

// mayWait reports whether a frame is a hello that wants no answer.
func mayWait(b []byte) bool {
	return len(b) >= minHello && b[0] == helloFrame && b[probeOffset]&probeBit == 0
}

func (r *rules) classifyLong(b []byte) class {
	if len(b) < longHeaderID || binary.BigEndian.Uint32(b[1:]) != quicVersion {
		return refused
	}
	switch id := b[longHeaderID-1]; {
	case id == ConnectionIDLen && r.mark.knows(b[longHeaderID:]):
		return acquainted
	case b[0]&longHeaderType == 0 && id >= minInitialID && len(b) >= minInitial:
		return strange
	}
	return refused
}

// program is classify for the kernel: it is given a datagram's payload and returns its class. Where it would read past
// the end the kernel ends it with 0, which is refused.
func (r *rules) program() ([]bpf.RawInstruction, error) {
	quic := verdict(acquainted)
	if r.mark != nil {
		quic = branch(bpf.JumpBitsSet, longHeader, r.longProgram(), r.mark.program(shortHeaderID, verdict(acquainted), verdict(refused)))
	}
	p := []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 1}}
	p = append(p, branch(bpf.JumpBitsSet, longHeader|fixedBit, quic, r.frameProgram())...)
	return bpf.Assemble(p)
}

// frameProgram begins with the first byte in A.
func (r *rules) frameProgram() []bpf.Instruction {
	admitted := []bpf.Instruction{bpf.LoadScratch{Dst: bpf.RegA}, bpf.RetA{}}
	yes := admitted
	if r.only {
		yes = []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtLen}}
		find := append([]bpf.Instruction{bpf.LoadAbsolute{Off: sessionOffset, Size: 4}}, search(r.sessions, admitted, verdict(refused))...)
		yes = append(yes, branch(bpf.JumpGreaterOrEqual, minFrame, find, verdict(refused))...)
	}
	yes = append(r.kindProgram(), yes...)
	p := []bpf.Instruction{bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0}}
	return append(p, branch(bpf.JumpEqual, 0x30, yes, verdict(refused))...)
}

// kindProgram leaves in the scratch memory of which class a frame is if its session is admitted.
func (r *rules) kindProgram() []bpf.Instruction {
	class := func(c class) []bpf.Instruction {
		return []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegA, Val: uint32(c)}, bpf.StoreScratch{Src: bpf.RegA}} // #nosec G115 -- a few
	}
	if !r.hellos {
		return class(framed)
	}
	p := class(calm)
	p = append([]bpf.Instruction{bpf.LoadAbsolute{Off: probeOffset, Size: 1}, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: probeBit, SkipTrue: uint8(len(p))}}, p...)
	p = append([]bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: helloFrame, SkipFalse: uint8(len(p))}}, p...)
	p = append([]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtLen}, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: minHello, SkipFalse: uint8(len(p))}}, p...)
	return append(class(framed), p...)
}

func (r *rules) longProgram() []bpf.Instruction {
	stranger := []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 1}}
	long := append([]bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtLen}}, branch(bpf.JumpGreaterOrEqual, minInitial, r.sourceProgram(), verdict(refused))...)
	idLen := append([]bpf.Instruction{bpf.LoadAbsolute{Off: longHeaderID - 1, Size: 1}}, branch(bpf.JumpGreaterOrEqual, minInitialID, long, verdict(refused))...)
	stranger = append(stranger, branch(bpf.JumpBitsSet, longHeaderType, verdict(refused), idLen)...)

	// Where the ID is of our length but not ours, this goes on as if it were of another.
	ours := r.mark.program(longHeaderID, verdict(acquainted), nil)
	known := append([]bpf.Instruction{bpf.LoadAbsolute{Off: longHeaderID - 1, Size: 1}}, branch(bpf.JumpEqual, ConnectionIDLen, ours, stranger)...)
	return append([]bpf.Instruction{bpf.LoadAbsolute{Off: 1, Size: 4}}, branch(bpf.JumpEqual, quicVersion, known, verdict(refused))...)
}

// networkHeader is where the kernel lets a program find the IP header, in front of what it is given (SKF_NET_OFF, socket(7)).
const networkHeader = 0xfff00000

// sourceProgram tells those who are expected from other strangers.
func (r *rules) sourceProgram() []bpf.Instruction {
	if len(r.members) == 0 {
		return verdict(strange)
	}
	find := search(r.members, verdict(expected), verdict(strange))
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: networkHeader, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}, // the version
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipFalse: 2},
		bpf.LoadAbsolute{Off: networkHeader + 12, Size: 4}, // the source (RFC 791 §3.1)
		bpf.Jump{Skip: 1},
		bpf.LoadAbsolute{Off: networkHeader + 20, Size: 4}, // the last word of the source (RFC 8200 §3)
	}, find...)
}

// search looks for A in the sorted list, by halves.
func search(sorted []uint32, yes, no []bpf.Instruction) []bpf.Instruction {
	switch len(sorted) {
	case 0:
		return no
	case 1:
		return branch(bpf.JumpEqual, sorted[0], yes, no)
	}
	half := len(sorted) / 2
	return branch(bpf.JumpGreaterOrEqual, sorted[half], search(sorted[half:], yes, no), search(sorted[:half], yes, no))
}

func verdict(c class) []bpf.Instruction {
	return []bpf.Instruction{bpf.RetConstant{Val: uint32(c)}} // #nosec G115 -- four of them
}

// branch compares A with val. Ways that do not end in a verdict go on behind: yes with no, no with what follows.
func branch(cond bpf.JumpTest, val uint32, yes, no []bpf.Instruction) []bpf.Instruction {
	p := []bpf.Instruction{bpf.JumpIf{Cond: cond, Val: val, SkipFalse: uint8(min(len(yes), farthest))}} // #nosec G115 -- bounded
	if len(yes) > farthest {
		p = []bpf.Instruction{bpf.JumpIf{Cond: cond, Val: val, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(yes))}} // #nosec G115 -- a program's length
	}
	return append(append(p, yes...), no...)
}
