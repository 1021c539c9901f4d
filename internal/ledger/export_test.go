package ledger

import "time"

// LookAlways makes every read of a ledger in a bucket look into the log first, for tests with several processes.
func (l *Ledger) LookAlways() {
	if b, ok := l.db.(*inBucket); ok {
		b.fresh = 0
	}
}

// LookAgain makes the next read of a ledger in a bucket look into the log, as some time later.
func (l *Ledger) LookAgain() { l.db.(*inBucket).doubt() }

// Validity is how long a look into the log is valid for reads.
func (l *Ledger) Validity() time.Duration {
	b := l.db.(*inBucket)
	return max(b.fresh, time.Duration(b.calm.Load()))
}

// SnapshotEach sets after how many commits this process stores a snapshot of a log in a bucket.
func (l *Ledger) SnapshotEach(commits int64) { l.db.(*inBucket).snapshotEach = commits }

// CopiedTables are the tables that a copy takes along.
var CopiedTables = copied
