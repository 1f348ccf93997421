package lab

import (
	"errors"
	"fmt"
	"math"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"x0tta6bl4/mesh/fault"
)

// errNoNFT says that this kernel or user cannot drop packets by rule.
var errNoNFT = errors.New("nftables cannot be used")

// On a veth pair, the kernel's own packet filter drops what a condition says. It does so where packets come in, in
// the namespace of the receiver: a rule at the sender would make its sends fail, and a bad link tells nobody.

// probeNFT tries in a namespace of its own whether rules can be made.
func probeNFT() error {
	s, err := newSpace("probe")
	if err != nil {
		return err
	}
	defer s.close()
	e := &end{space: s, iface: "lo"}
	if err := e.filter(condition{Loss: 0.5, Grey: 0.5, MTU: leastMTU}); err != nil {
		return fmt.Errorf("%w: %w", errNoNFT, err)
	}
	return nil
}

// filter makes the rules for what comes in by the interface those of c. It replaces all that it made before at once,
// and checks that they are in force. What the old rules counted is added to e.counted.
func (e *end) filter(c condition) error {
	if !e.filtered && c == (condition{}) {
		return nil
	}
	if err := e.harvest(); err != nil {
		return err
	}
	var rules int
	err := e.space.do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: e.table(), Family: nftables.TableFamilyINet}
		if e.filtered {
			conn.DelTable(table)
		}
		rules = e.addRules(conn, table, c)
		return conn.Flush()
	})
	if err != nil {
		return fmt.Errorf("rules for %s of %s: %w", e.iface, e.node, err)
	}
	if e.filtered = rules > 0; !e.filtered {
		return nil
	}
	if n, err := e.eachRule(func(Kind, uint64) {}); err != nil || n != rules {
		return fmt.Errorf("rules for %s of %s: %d of %d are in force: %w", e.iface, e.node, n, rules, errors.Join(err, errNoNFT))
	}
	return nil
}

func (e *end) table() string { return "x0t-lab-" + e.iface }

const filterChain = "incoming"

func (e *end) addRules(conn *nftables.Conn, table *nftables.Table, c condition) (rules int) {
	if c == (condition{}) {
		return 0
	}
	conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{Name: filterChain, Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
	add := func(k Kind, match ...[]expr.Any) {
		exprs := matchInterface(e.iface)
		for _, m := range match {
			exprs = append(exprs, m...)
		}
		exprs = append(exprs, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: []byte(k)})
		rules++
	}
	if c.MTU > 0 {
		add(fault.MTU, matchLongerThan(c.MTU))
	}
	if c.Grey > 0 {
		add(fault.Greydrop, matchUDP, matchPayload(0, expr.CmpOpEq, meshData),
			matchPayload(hopOfFrame, expr.CmpOpGt, 0), matchChance(c.Grey))
		add(fault.Greydrop, matchUDP, matchPayload(0, expr.CmpOpEq, meshPart),
			matchPayload(typeOfWhole, expr.CmpOpEq, meshTypeData), matchPayload(hopOfWhole, expr.CmpOpGt, 0), matchChance(c.Grey))
	}
	if c.Loss > 0 {
		add(fault.Loss, matchChance(c.Loss))
	}
	return rules
}

// Expressions work on register 1: they load something into it and compare.

func matchInterface(name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded}}
}

var matchUDP = []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
	&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protoUDP}}}

// matchPayload compares one byte of what a UDP datagram holds.
func matchPayload(at uint32, op expr.CmpOp, with byte) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: udpHeader + at, Len: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{with}}}
}

// Comparisons for order are of bytes: numbers must be made big endian first.
var bigEndian = &expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4}

func matchLongerThan(size int) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyLEN, Register: 1}, bigEndian,
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: be32(uint32(size))}} // #nosec G115 -- at most 65535
}

func matchChance(p float64) []expr.Any {
	const all = 1 << 31
	return []expr.Any{&expr.Numgen{Register: 1, Type: unix.NFT_NG_RANDOM, Modulus: all}, bigEndian,
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: be32(uint32(math.Round(p * all)))}}
}

func be32(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// eachRule calls f with the kind and the counter of every rule in force and returns how many there are.
func (e *end) eachRule(f func(Kind, uint64)) (n int, err error) {
	err = e.space.do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: e.table(), Family: nftables.TableFamilyINet}
		rules, err := conn.GetRules(table, &nftables.Chain{Name: filterChain, Table: table})
		if err != nil {
			return err
		}
		for _, r := range rules {
			for _, x := range r.Exprs {
				if c, ok := x.(*expr.Counter); ok {
					f(Kind(r.UserData), c.Packets)
					n++
				}
			}
		}
		return nil
	})
	return n, err
}

// harvest moves what the rules counted to e.counted, before they go.
func (e *end) harvest() error {
	if !e.filtered {
		return nil
	}
	_, err := e.eachRule(func(k Kind, n uint64) { *e.counted.of(k) += n })
	if err != nil {
		return fmt.Errorf("counters for %s of %s: %w", e.iface, e.node, err)
	}
	return nil
}
