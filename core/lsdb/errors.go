package lsdb

import "errors"

// Why something was not accepted. Each is counted under its name in Counters.
var (
	ErrMalformed   = errors.New("not a valid announcement")
	ErrStale       = errors.New("a newer one is known")
	ErrFuture      = errors.New("dated in the future: check the clocks of its origin and of this node")
	ErrExpired     = errors.New("its lifetime is over")
	ErrRate        = errors.New("its origin announces too often")
	ErrSender      = errors.New("the neighbour that passed it on sent too much that does not verify")
	ErrBusy        = errors.New("too much waits for verification")
	ErrKnownBad    = errors.New("the same did not verify a while ago")
	ErrNoRecord    = errors.New("the record of its SVID is not known yet")
	ErrWrongSigner = errors.New("not signed by its origin")
	ErrRefused     = errors.New("its certificates were refused")
	ErrFull        = errors.New("the database holds as many nodes as it may")
	ErrTwin        = errors.New("another live node announces itself under this node's name: stop one of the two")
)

var named = [...]struct {
	err  error
	name string
}{
	{ErrMalformed, "malformed"},
	{ErrStale, "stale"},
	{ErrFuture, "future"},
	{ErrExpired, "expired"},
	{ErrRate, "rate"},
	{ErrSender, "sender"},
	{ErrBusy, "busy"},
	{ErrKnownBad, "known_bad"},
	{ErrNoRecord, "no_record"},
	{ErrWrongSigner, "wrong_signer"},
	{ErrRefused, "refused"},
	{ErrFull, "full"},
	{ErrTwin, "twin"},
}

// count adds one to the counter of err's name and returns err.
func (db *DB) count(err error) error {
	for i := range named {
		if errors.Is(err, named[i].err) {
			db.counts[i]++
			break
		}
	}
	return err
}

// Counters returns how often each error stopped an announcement, by name.
func (db *DB) Counters() map[string]uint64 {
	c := make(map[string]uint64, len(named))
	for i := range named {
		c[named[i].name] = db.counts[i]
	}
	return c
}
