package jit

import (
	"context"
	"iter"
	"time"
)

// Ledger is the durable record of grants, policies and events. Implementations are safe for concurrent use by many
// goroutines and processes. Reading never writes: a ledger that does not exist yet reads as empty, and the first Write
// creates it.
type Ledger interface {
	// ID returns the id that the ledger got when it was created; empty if it does not exist yet.
	ID(ctx context.Context) (string, error)

	// Grants returns the records that the filter selects, ordered by end and id. With [Filter].DueBy the order is that
	// of [Ledger.AcquireDue].
	Grants(ctx context.Context, f Filter) iter.Seq2[Grant, error]

	// Lookup returns the record of id; ok is false if there is none. Concurrent lookups share a query.
	Lookup(ctx context.Context, id ID) (g Grant, ok bool, err error)

	// Policies returns all policies in the order of their names.
	Policies(ctx context.Context) ([]Policy, error)

	// Persons returns all persons in the order of their names.
	Persons(ctx context.Context) ([]Person, error)

	// Write records entries and their events durably and returns one error for each entry. An entry is written in full
	// or not at all. If its grant has changed since it was read, it fails with [ErrStale] and leaves no event.
	// Concurrent writes share a transaction.
	Write(ctx context.Context, entries []Entry) []error

	// AcquireDue leases up to q.Limit grants that are due at q.Now. No other holder gets them until the lease ends or a
	// write makes the grant due at another time; the same holder gets again what it acquired earlier. The result is
	// ordered by owner, [Grant.DueAt] and scope. A grant is due when it is [Grant.DueToStart], [Grant.Outstanding] or
	// [Grant.CleanupOpen].
	AcquireDue(ctx context.Context, q DueQuery) ([]Grant, error)

	// NextDue returns the first moment after the given time at which a grant of the owners becomes due or another
	// holder's lease on a due grant ends; zero if there is none. If very many grants are due, it may miss some leases.
	NextDue(ctx context.Context, owners Owners, after time.Time) (time.Time, error)

	// Clock returns the time of the ledger's server. A ledger without a clock of its own returns a zero time and the
	// time of its newest event since the last [EventLedgerRestored], before which no clock can be right.
	Clock(ctx context.Context) (now, notBefore time.Time, err error)

	// Places lists the scopes on which the owners have grants that are live at liveAt.
	Places(ctx context.Context, owners Owners, liveAt time.Time) ([]Place, error)

	// Counts returns, for each target and owner, how many grants are live or have an unconfirmed end at the given time,
	// ordered by target and owner.
	Counts(ctx context.Context, owners Owners, at time.Time) ([]Count, error)

	// Owners returns the sorted names of all owners with a grant in the ledger, live or over.
	Owners(ctx context.Context) ([]string, error)

	// Swept records that a sweeper has just finished a pass: at the time of the ledger's clock, or at s.At if the
	// ledger has none.
	Swept(ctx context.Context, s Sweep) error

	// SweptSince returns, for each target that a sweeper serves for owner, the time since its last pass: by the
	// ledger's clock, or by now if the ledger has none. The ledger may drop a pass after a day.
	SweptSince(ctx context.Context, owner string, now time.Time) (map[string]time.Duration, error)

	// Chains returns the last event of each chain, by the name of the chain; see [AllEvents].
	Chains(ctx context.Context) ([]Tip, error)

	// FirstEvent returns the sequence number of the first event of a chain recorded at or after the given time; if there
	// is none, that of the next event.
	FirstEvent(ctx context.Context, chain string, at time.Time) (int64, error)

	// Events returns the events of a chain from sequence number first on (1 is the first of all), in order. A chain that
	// does not exist has none.
	Events(ctx context.Context, chain string, first int64) iter.Seq2[Event, error]

	// EventsOf returns the events about these grants, those of one grant in order.
	EventsOf(ctx context.Context, ids []ID) iter.Seq2[Event, error]

	// Rules returns the events that change policies and persons from sequence number first of [AllChain] on, in order.
	Rules(ctx context.Context, first int64) iter.Seq2[Event, error]

	// ChangedRules reports whether that run of Terraform has changed policies or persons: see [Event.Run].
	ChangedRules(ctx context.Context, run string) (bool, error)

	// Heads returns the newest heads that this process remembers of [AllChain] and of the chain of an owner, perhaps one
	// that the ledger lacks. It makes no call.
	Heads(owner string) []Head

	// Recall compares the heads that this process remembers, and those given, with the ledger. The error is [ErrBehind]
	// if the ledger lacks one of the present or of an unknown epoch, or if it records that somebody noticed so;
	// [ErrStateAhead] if it lacks only heads that were given here or to another process of the same run; [ErrOtherLedger]
	// if a given head belongs to another ledger. A ledger that does not exist lacks nothing.
	Recall(ctx context.Context, heads ...Head) error

	// Restores returns the events of the kinds [EventLedgerBehind] and [EventLedgerRestored], in order.
	Restores(ctx context.Context) ([]Event, error)

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
	// Unsigned: only grants that are [Grant.Unsigned].
	Unsigned bool
	// Waiting: only requests that wait for approval, and those that have [Grant.Lapsed].
	Waiting bool
	// Open: only grants that have not failed and whose removal the platform has not confirmed.
	Open bool
}

// MaxLease is the longest lease. A lease on a grant that ends later was written by a wrong clock and is ignored; so is
// one of [Leases] or a [DedupKey] that ends this much later than the end now asked for.
const MaxLease = 10 * time.Minute

// DueQuery says which due work to lease, to whom and for how long: at most [MaxLease].
type DueQuery struct {
	Owners Owners
	// Targets restricts the grants to these targets; an empty list means all.
	Targets []string
	Now     time.Time
	Holder  string
	Lease   time.Duration
	Limit   int
	// After, if set, is the last grant of the previous query: the search begins behind it.
	After *Grant
	// Except excludes scopes.
	Except []Place
}

// Entry is one unit of writing: at most one of Grant, Policy, DropPolicy, Person and DropPerson, and
// the events that go with it.
type Entry struct {
	// Grant is inserted if its Version is 0 and its id is new, or else updated if the recorded version is the same. The
	// recorded version is then one higher. An id is also new if its record [Grant.YieldsTo] the grant.
	Grant *Grant
	// Policy is inserted or replaced by its name.
	Policy *Policy
	// DropPolicy names a policy to remove; absent is success.
	DropPolicy string
	// Person is inserted or replaced by its name.
	Person *Person
	// DropPerson names a person to remove; absent is success.
	DropPerson string
	// OnlyUnsigned: the write fails with [ErrStale] while another grant of the same requester is [Grant.Unsigned].
	OnlyUnsigned bool
	// Current: the entry leads to access or to other rules. The write fails with [ErrBehind] if the ledger has gone back
	// in time.
	Current bool
	// Owner names the chain of events about grants without a record. Those of a grant with a record go to the chain of its
	// owner, and events about no grant to [AllChain].
	Owner  string
	Events []Event
	// Dedup, if it has a name, lets only one of several writers record the events. The entry may hold events only.
	Dedup DedupKey
}

// DedupKey names what events report. From At to Until, further entries of that name fail with [ErrDuplicate] and leave
// nothing.
type DedupKey struct {
	Name      string
	At, Until time.Time
}

// Sweep is one pass of a sweeper: the owners that it serves and their targets.
type Sweep struct {
	Owners  Owners
	Targets []string
	At      time.Time
}

// Count is how many grants one owner has on one target.
type Count struct {
	Target, Owner string
	// Live grants are granted and inside their window. Waiting grants have not begun or are unconfirmed. Due grants are
	// over or revoked with an unconfirmed end, Overdue grants for at least [OverdueAfter]. Cleanup counts
	// [Grant.CleanupOpen].
	Live, Waiting, Due, Overdue, Cleanup int64
}

// OverdueAfter is how long a grant that is over may await its end before it counts as overdue.
const OverdueAfter = time.Minute
