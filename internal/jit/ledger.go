package jit

import (
	"context"
	"iter"
	"time"
)

// Ledger is the durable record of grants, policies and events. Implementations
// are safe for concurrent use by many goroutines and processes. Reading never
// writes: a ledger that does not exist yet reads as empty and is made by the
// first Write.
type Ledger interface {
	// ID returns the id that the ledger got when it was made; empty if it does not exist yet.
	ID(ctx context.Context) (string, error)

	// Grants returns the records asked for, in the order of their end, then id; with [Filter].DueBy in the order of [Ledger.Claim].
	Grants(ctx context.Context, f Filter) iter.Seq2[Grant, error]

	// Lookup returns the record of id; ok is false when there is none. Lookups that
	// run at the same time are answered by one query.
	Lookup(ctx context.Context, id ID) (g Grant, ok bool, err error)

	// Policies returns all policies in the order of their names.
	Policies(ctx context.Context) ([]Policy, error)

	// Write records entries and their events, each entry in full or not at all, durably
	// when it returns, and returns one error for each. An entry whose grant was changed
	// since it was read fails with [ErrStale] and leaves no event. Writes that run at
	// the same time share a transaction.
	Write(ctx context.Context, entries []Entry) []error

	// AcquireDue leases up to limit grants of q.Owner that are due at q.Now, so that no other holder is given them until the
	// lease ends, or a write makes the grant due at another time; the same holder is given again what it claimed at an earlier time. It returns them owner by owner in the
	// order of their names, those of one owner in the order of [Grant.DueAt], and those of the same time scope by scope. A grant is due when it is [Grant.DueToStart], [Grant.Outstanding] or [Grant.CleanupOpen].
	AcquireDue(ctx context.Context, q DueQuery) ([]Grant, error)

	// NextDue returns when the next grant of the owners comes due after a time, or when the lease of another holder on one that is
	// due already ends, whichever is first; zero when there is nothing to wait for. Where very many are due, some leases may be passed over.
	NextDue(ctx context.Context, owners Owners, after time.Time) (time.Time, error)

	// Clock returns the time of the server that keeps the ledger; zero when it has no clock of its own.
	Clock(ctx context.Context) (time.Time, error)

	// Places lists the scopes on which the owners have grants that are live at a time.
	Places(ctx context.Context, owners Owners, liveAt time.Time) ([]Place, error)

	// Counts returns how many grants each of the owners has on each target that are live, or whose end is not confirmed, at a
	// time, in the order of target and owner.
	Counts(ctx context.Context, owners Owners, at time.Time) ([]Count, error)

	// Owners returns the names of all owners that have a grant in the ledger, live or over, in order.
	Owners(ctx context.Context) ([]string, error)

	// Swept records that a sweeper has just passed. Where the ledger has a clock of its own, that clock says when, and
	// else s.At does.
	Swept(ctx context.Context, s Sweep) error

	// SweptSince returns, for each target on which a sweeper that serves owner has passed, how long ago the last pass was by the ledger's
	// clock, or by now where it has none. A pass may be forgotten after a day.
	SweptSince(ctx context.Context, owner string, now time.Time) (map[string]time.Duration, error)

	// FirstEvent returns the sequence number of the first event that was recorded at or after a
	// time; that of the event to come if there is none.
	FirstEvent(ctx context.Context, at time.Time) (int64, error)

	// Events returns the events from sequence number first on (1 is the first of all), in order.
	Events(ctx context.Context, first int64) iter.Seq2[Event, error]

	// EventsOf returns the events about these grants, those of one grant in order.
	EventsOf(ctx context.Context, ids []ID) iter.Seq2[Event, error]

	// Close releases the connections.
	Close() error
}

// Filter chooses grants; a zero field does not restrict.
type Filter struct {
	Owner string
	IDs   []ID
	// IDPrefix is the beginning of the ids.
	IDPrefix string
	Target   string
	Scope    string
	// Principal is compared as a whole with the canonical principal.
	Principal string
	// LiveAt: only grants that are live at that time.
	LiveAt time.Time
	// EndFrom: only grants whose window ends at that time or later.
	EndFrom time.Time
	// DueBy: only grants that need a sweeper by that time, and those that may no longer begin.
	DueBy time.Time
	// Open: only grants that have not failed and of which the platform has not confirmed that nothing is left.
	Open bool
}

// MaxLease bounds the lease of a claim. One that ends later was given by a clock that was wrong, and does not count; of [Leases] and of
// [DedupKey] one that ends that much later than what is asked for.
const MaxLease = 10 * time.Minute

// DueQuery says which due work is wanted, by whom and for how long, which is [MaxLease] at most.
type DueQuery struct {
	Owners Owners
	// Targets are the targets whose grants are wanted; an empty list means all targets.
	Targets []string
	Now     time.Time
	Holder  string
	Lease   time.Duration
	Limit   int
	// After, if set, is the last grant of the claim before: what is due that comes before it is not looked through again.
	After *Grant
	// Except are scopes of which nothing is wanted.
	Except []Place
}

// Entry is one unit of writing: at most one of Grant, Policy and DropPolicy, and
// the events that go with it.
type Entry struct {
	// Grant is inserted when its Version is 0 and no record with its id exists, else
	// updated when the recorded version is the same; the recorded version is then one higher.
	Grant *Grant
	// Policy is inserted or replaced by its name.
	Policy *Policy
	// DropPolicy names a policy to remove; absent is success.
	DropPolicy string
	Events     []Event
	// Dedup, if it has a name, keeps events that several may want to record from being there twice. It is for entries of nothing but events.
	Dedup DedupKey
}

// DedupKey names what events tell of. From At to Until an entry of that name is refused with [ErrDuplicate], and leaves nothing.
type DedupKey struct {
	Name      string
	At, Until time.Time
}

// Sweep is one pass of a sweeper: whose grants it serves on which targets.
type Sweep struct {
	Owners  Owners
	Targets []string
	At      time.Time
}

// Count is how many grants one owner has on one target.
type Count struct {
	Target, Owner string
	// Live are inside their window and granted, Waiting have not begun or were not confirmed. Due are over, or revoked, and their end is
	// not confirmed; Overdue are so for [OverdueAfter] or longer. Cleanup are [Grant.CleanupOpen].
	Live, Waiting, Due, Overdue, Cleanup int64
}

// OverdueAfter is for how long a grant that is over is due to be ended, and no more than that.
const OverdueAfter = time.Minute
