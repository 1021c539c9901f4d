package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sharedLog is the log that everybody may write: leases, and which owners there are. The log of [jit.AllChain] has the
// ledger itself, policies, persons and claims, and every owner has one with the owner's grants. A commit has rows of one
// log only, so each can be granted apart.
const sharedLog = "_shared"

// logOf returns the log of a transaction that locks chains.
func logOf(chains []string) string {
	for _, chain := range chains {
		if chain != jit.AllChain {
			return chain
		}
	}
	if len(chains) > 0 {
		return jit.AllChain
	}
	return sharedLog
}

// A look into the logs is valid for freshFor. For reads it is valid longer if there was nothing new several times in a
// row, up to freshMost: a daemon looks seldom while nobody writes. Of a log that was listed less than listEach ago, a
// read only asks for the next commit.
const (
	freshFor  = time.Second
	freshMost = 10 * time.Second
	listEach  = time.Minute
)

// inBucket is a ledger in an object store. The record is the log of commits in the bucket; a SQLite file in the user's
// cache directory is a projection of it, which may be deleted at any time.
//
// A write runs on the projection, in a transaction that notes each changed row. The rows become the next commit of the
// log, which is created only if nobody else has created it. Then the transaction is committed; or else it is rolled
// back, the commits of others are applied, and it runs again. If the process ends in between, the next one finds the
// commit in the log.
type inBucket struct {
	*sqliteFile
	log        *bucket.Log
	at         bucket.Location
	migrations [][]string
	id         string // of this process, in its commits
	fresh      time.Duration
	// snapshotEach is after how many commits a snapshot of a log is stored.
	snapshotEach int64
	// whole: every commit is read, and no snapshot.
	whole bool
	// calm is how long a look is valid for reads.
	calm atomic.Int64

	// turn is held by whoever writes to the projection in this process.
	turn chan struct{}
	// checked is when the projection last had all that the logs had; nil: never. seen is the same of each log, for
	// writes; it is guarded by turn.
	checked atomic.Pointer[time.Time]
	seen    map[string]time.Time
	// broken holds the logs of owners that cannot be read on, and why; see broken.
	broken atomic.Pointer[map[string]error]
	// left: the projection was made anew because the log has gone back in time, and the head beside it is not read yet.
	left atomic.Bool
	// proven: the store honours the condition of a write. It is guarded by turn.
	proven bool
}

var (
	_ engine    = (*inBucket)(nil)
	_ committer = (*inBucket)(nil)
)

// committer is an engine whose transactions are also committed elsewhere, and that has a clock of its own.
type committer interface {
	// commit runs do in a transaction that writes, and again after a conflict with another writer. log is the log of
	// rows that belong to no other by themselves.
	commit(ctx context.Context, log string, do func(*sql.Tx) error) error
	// doubt makes the next transaction look for what others have written before it runs.
	doubt()
	// now returns the time of the server at a time of this machine; zero if it tells none.
	now(local time.Time) time.Time
}

// openBucket opens the ledger at a URL, with the copy in a folder; without one, in the user's cache.
func openBucket(raw, folder string, migrations [][]string) (*inBucket, error) {
	at, err := bucket.Parse(raw)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "ledger.db")
	if folder == "" {
		if path, err = projectionPath(at); err != nil {
			return nil, err
		}
	}
	return &inBucket{sqliteFile: &sqliteFile{path: path, copied: true}, log: bucket.Open(at), at: at,
		migrations: migrations, id: uuid.NewString(), fresh: freshFor, turn: make(chan struct{}, 1),
		seen: map[string]time.Time{}, snapshotEach: snapshotEach, whole: folder != ""}, nil
}

// projectionPath returns the file of the projection of a ledger.
func projectionPath(at bucket.Location) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", jit.Invalid("ledger", "set XDG_CACHE_HOME or HOME to a directory of this user",
			"a ledger in a bucket keeps a copy in the user's cache directory, and there is none: %v", err)
	}
	sum := sha256.Sum256([]byte(at.ID()))
	return filepath.Join(base, "terraform-provider-jit", "ledger-"+hex.EncodeToString(sum[:12])+".db"), nil
}

func (b *inBucket) name() string { return b.at.String() }

// now returns the time of the store.
func (b *inBucket) now(local time.Time) time.Time {
	clock := b.log.Clock()
	if clock.Remote.IsZero() {
		return time.Time{}
	}
	return clock.Remote.Add(local.Sub(clock.Local))
}

func (b *inBucket) explain(err error) (problem, hint string) {
	problem, hint = b.sqliteFile.explain(err)
	if hint != "" {
		problem = fmt.Sprintf("its copy %s cannot be used: %s", b.path, problem)
		hint = "the copy holds nothing of its own: " + hint + ", or delete it while no other process uses it"
	}
	return problem, hint
}

func (b *inBucket) enter(ctx context.Context) error {
	select {
	case b.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *inBucket) leave() { <-b.turn }

func (b *inBucket) doubt() { b.checked.Store(nil) }

// current reports whether the projection was up to date a moment ago.
func (b *inBucket) current() bool { return b.lookedWithin(b.fresh) }

func (b *inBucket) lookedWithin(d time.Duration) bool {
	at := b.checked.Load()
	return at != nil && time.Since(*at) < d
}

// readable reports whether the projection is up to date enough for a read.
func (b *inBucket) readable() bool { return b.lookedWithin(max(b.fresh, time.Duration(b.calm.Load()))) }

// reader returns connections to the projection, which it first brings up to date.
func (b *inBucket) reader(ctx context.Context) (*sql.DB, error) {
	if !b.readable() {
		if err := b.refresh(ctx); err != nil {
			return nil, err
		}
	}
	return b.sqliteFile.reader(ctx)
}

// update runs do in a transaction on the projection. If the log has gone back in time, it makes the projection anew.
func (b *inBucket) update(ctx context.Context, do func(context.Context, projection) error) error {
	for again := false; ; again = true {
		db, err := b.sqliteFile.writer(ctx)
		if err != nil {
			return err
		}
		// A context that ends must not take back what has become part of the log.
		err = inTx(context.WithoutCancel(ctx), db, nil, func(tx *sql.Tx) error {
			p := projection{tx: tx, migrations: b.migrations, name: b.name()}
			if err := p.prepare(ctx); err != nil {
				return err
			}
			return do(ctx, p)
		})
		if again || !errors.Is(err, bucket.ErrRewound) {
			return err
		}
		if err := b.rewind(ctx); err != nil {
			return err
		}
	}
}
