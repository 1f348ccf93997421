package node

import "time"

// ClockSet says that this machine's clock was set to another time. What this node announced bears a date of the time
// before, and may be refused for it; what others announced may have been refused here.
type ClockSet struct{}

func (ClockSet) controlEvent() {}

// clockSet announces this node anew, under the new date, and compares databases with the neighbours.
func (c *Control) clockSet(now time.Time) {
	c.tally.clockSet++
	c.ForgetClocks()
	c.db.Redate()
	if len(c.identity.Chain) > 0 {
		c.recordAt = now
	}
	c.digestAt = now
}
