package mesh

import (
	"fmt"
	"time"
)

// Hybrid is a hybrid logical time (Kulkarni et al., Logical Physical Clocks, OPODIS 2014, §6.2): milliseconds since 1970
// in the high 48 bits, a counter in the low 16 that orders what happens within one of them. Later is greater. The zero
// value is before everything.
type Hybrid uint64

// MaxHybrid is the last moment that JSON and people can write: the end of the year 9999.
const MaxHybrid = Hybrid(253_402_300_799_999)<<16 | 0xffff

// HybridAt returns the first hybrid time of the millisecond that t is in, 0 for times before 1970.
func HybridAt(t time.Time) Hybrid {
	return Hybrid(min(max(t.UnixMilli(), 0), int64(MaxHybrid>>16))) << 16
}

// Time returns the physical part of h: whole milliseconds, UTC.
func (h Hybrid) Time() time.Time { return time.UnixMilli(int64(h >> 16)).UTC() }

// Logical returns the counter of h.
func (h Hybrid) Logical() uint16 { return uint16(h & 0xffff) }

func (h Hybrid) String() string {
	return fmt.Sprintf("%s+%d", h.Time().Format("2006-01-02T15:04:05.000Z"), h.Logical())
}
