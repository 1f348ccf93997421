package crdt

import "errors"

// Why something was not taken. Each is counted under its name in Counters.
var (
	ErrMalformed = errors.New("not a valid piece of a batch")
	ErrForbidden = errors.New("its author may not write there")
	ErrFuture    = errors.New("dated in the future, held until its time comes: check the clock of its author")
	ErrOld       = errors.New("unknown here and older than deletions are remembered: kept aside for an operator")
	ErrOver      = errors.New("a deletion that is not remembered any more")
	ErrFull      = errors.New("the store is full")
	ErrQuota     = errors.New("its author has stored as much as one may")
	ErrBusy      = errors.New("too much waits for verification")
	ErrShunned   = errors.New("the neighbour that passed it on sent too much that does not verify")
	ErrRefused   = errors.New("not signed by its author")
	ErrUnproven  = errors.New("the certificate of its author is missing, or not valid here")
	ErrUncovered = errors.New("signed with an SVID that is long over, and covered by no checkpoint of an authority")
	ErrKnownBad  = errors.New("the same did not verify a while ago")
	ErrEquivocal = errors.New("its author used one number for two entries")
	ErrTwin      = errors.New("entries appear under this node's name and incarnation that it did not write: stop its double, or make a new state directory")
)

// Why a write of this node is refused.
var (
	ErrClock     = errors.New("this node's clock is wrong: set it")
	ErrUnsettled = errors.New("this node has not yet learnt the state from one that has it: wait for a neighbour that may write, or where no node may see x0t state settle")
	ErrDraft     = errors.New("the last write is not settled yet")
	ErrKey       = errors.New("not a valid key")
	ErrValue     = errors.New("value too long")
	ErrNewer     = errors.New("the state on disk was written by a newer version: use that")
	ErrRange     = errors.New("out of range")
)

var named = [...]struct {
	err  error
	name string
}{
	{ErrMalformed, "malformed"},
	{ErrForbidden, "forbidden"},
	{ErrFuture, "future"},
	{ErrOld, "old"},
	{ErrOver, "over"},
	{ErrFull, "full"},
	{ErrQuota, "quota"},
	{ErrBusy, "busy"},
	{ErrShunned, "shunned"},
	{ErrRefused, "refused"},
	{ErrUnproven, "unproven"},
	{ErrUncovered, "uncovered"},
	{ErrKnownBad, "known_bad"},
	{ErrEquivocal, "equivocal"},
	{ErrTwin, "twin"},
}

// count adds one to the counter of err's name and returns err.
func (s *State) count(err error) error {
	for i := range named {
		if errors.Is(err, named[i].err) {
			s.counts[i]++
			break
		}
	}
	return err
}

// Counters returns how often each error stopped an entry, or was met, by name.
func (s *State) Counters() map[string]uint64 {
	c := make(map[string]uint64, len(named))
	for i := range named {
		c[named[i].name] = s.counts[i]
	}
	return c
}
