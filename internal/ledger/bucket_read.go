package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// refresh brings the projection up to date, and makes it if the log has commits.
func (b *inBucket) refresh(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	if b.readable() { // somebody else has brought it up to date meanwhile
		return nil
	}
	at := time.Now()
	db, err := b.sqliteFile.reader(ctx)
	if err != nil {
		return err
	}
	heads := map[string]bucket.Head{jit.AllChain: {}, sharedLog: {}}
	if db != nil {
		if heads, err = b.heads(ctx, db); err != nil {
			return err
		}
	}
	within := listEach
	if b.fresh == 0 {
		within = 0
	}
	news, err := b.log.News(ctx, heads, within)
	if len(news.Chains) > 0 || len(news.Damaged) > 0 || len(b.brokenLogs()) > 0 || errors.Is(err, bucket.ErrRewound) {
		b.calm.Store(0)
		return b.renew(ctx)
	}
	if err == nil {
		b.calm.Store(int64(min(b.fresh+time.Duration(b.calm.Load())*5/4, freshMost)))
		b.checked.Store(&at)
	}
	return err
}

// heads returns the last commits that the projection holds, by log.
func (b *inBucket) heads(ctx context.Context, q queryer) (map[string]bucket.Head, error) {
	heads := map[string]bucket.Head{jit.AllChain: {}, sharedLog: {}}
	for _, query := range []string{"SELECT chain, 0, '' FROM jit_chains", "SELECT chain, number, hash FROM jit_bucket"} {
		err := each(ctx, q, func(rows *sql.Rows) (none struct{}, err error) {
			var log string
			var h bucket.Head
			err = rows.Scan(&log, &h.Number, &h.Hash)
			heads[log] = h
			return none, err
		}, func(struct{}) bool { return true }, query)
		if err != nil && !b.absent(err) {
			return nil, err
		}
	}
	return heads, nil
}

// allOnly is a ledger in a bucket for calls that depend on the log of [jit.AllChain] alone. They work even if another log
// is damaged.
type allOnly struct{ *inBucket }

var (
	_ engine    = allOnly{}
	_ committer = allOnly{}
)

func (b allOnly) reader(ctx context.Context) (*sql.DB, error) {
	db, err := b.inBucket.reader(ctx)
	if !errors.Is(err, jit.ErrAltered) {
		return db, err
	}
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	if err := b.renew(ctx, jit.AllChain); err != nil {
		return nil, err
	}
	return b.sqliteFile.reader(ctx)
}

func (b allOnly) commit(ctx context.Context, _ string, do func(*sql.Tx) error) error {
	return b.commitAfter(ctx, jit.AllChain, []string{jit.AllChain}, do)
}

// renew applies what is new in some logs, or in all without a name. It waits for other processes that write to the
// projection.
func (b *inBucket) renew(ctx context.Context, only ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 0; ; n++ {
		err := b.update(ctx, func(ctx context.Context, p projection) error {
			_, err := b.catchUp(ctx, p, only...)
			return err
		})
		if !b.conflict(err) || backoff.Wait(ctx, n, 4*time.Millisecond, time.Second) != nil {
			return err
		}
	}
}

// concern returns the logs that a write to one depends on.
func concern(log string) []string { return []string{jit.AllChain, sharedLog, log} }

// prepared reports whether the projection has what a write to a log depends on.
func (b *inBucket) prepared(log string) bool {
	if b.usable(log) != nil { // it may have been repaired
		return false
	}
	old := func(log string) bool { return time.Since(b.seen[log]) >= b.fresh }
	return b.current() || b.checked.Load() != nil && !slices.ContainsFunc(concern(log), old)
}

// catchUp applies the commits that the projection does not hold: those of some logs, or of all without a name. The log
// of an owner that cannot be read on is noted, and is no error here.
func (b *inBucket) catchUp(ctx context.Context, p projection, only ...string) (applied int, err error) {
	at := time.Now()
	looked, broken := map[string]bool{}, b.brokenLogs()
	for {
		heads, err := b.heads(ctx, p.tx)
		if err != nil {
			return applied, err
		}
		maps.DeleteFunc(heads, func(log string, _ bucket.Head) bool {
			return looked[log] || len(only) > 0 && !slices.Contains(only, log)
		})
		if len(heads) == 0 {
			break
		}
		news, err := b.log.News(ctx, heads, 0)
		if err != nil {
			return applied, err
		}
		for log := range heads {
			looked[log], b.seen[log] = true, at
			if delete(broken, log); news.Damaged[log] != nil {
				if err := isolate(broken, log, news.Damaged[log]); err != nil {
					return applied, err
				}
			}
		}
		slices.SortFunc(news.Chains, inOrder)
		for _, log := range news.Chains {
			n, err := b.applySince(ctx, p, log)
			applied += n
			if err := isolate(broken, log, err); err != nil {
				return applied, err
			}
		}
	}
	b.broken.Store(&broken)
	if len(only) == 0 {
		b.checked.Store(&at)
	}
	return applied, nil
}

// applySince applies the commits of one log that the projection does not hold.
func (b *inBucket) applySince(ctx context.Context, p projection, log string) (applied int, err error) {
	head, err := p.head(ctx, log)
	if err == nil && head.Number == 0 && !b.whole {
		if applied, err = b.applyNewest(ctx, p, log); err == nil && applied > 0 {
			head, err = p.head(ctx, log)
		}
	}
	if err != nil {
		return applied, err
	}
	for c, err := range b.log.Since(ctx, log, head) {
		if err == nil {
			err = b.applyWhole(ctx, p, c)
		}
		if err != nil {
			return applied, err
		}
		applied++
	}
	return applied, nil
}

// apply applies a commit, after those of [jit.AllChain] that its writer had read.
func (b *inBucket) apply(ctx context.Context, p projection, c *bucket.Commit) error {
	for looked := false; c.Chain != jit.AllChain; looked = true {
		all, err := p.head(ctx, jit.AllChain)
		if err != nil {
			return err
		}
		if c.After <= all.Number {
			break
		}
		if looked {
			return p.damaged(c, fmt.Sprintf("it follows commit %d of %s, which is missing", c.After, jit.AllChain))
		}
		if _, err := b.applySince(ctx, p, jit.AllChain); err != nil {
			return ofAllError{err}
		}
	}
	return p.apply(ctx, c)
}

// applyWhole applies a commit, and leaves nothing of one that cannot be applied.
func (b *inBucket) applyWhole(ctx context.Context, p projection, c *bucket.Commit) error {
	if !ownLog(c.Chain) { // its error ends the transaction
		return b.apply(ctx, p, c)
	}
	if err := p.exec(ctx, "SAVEPOINT whole"); err != nil {
		return err
	}
	err := b.apply(ctx, p, c)
	if err == nil {
		return p.exec(ctx, "RELEASE whole")
	}
	return errors.Join(err, p.exec(context.WithoutCancel(ctx), "ROLLBACK TO whole", "RELEASE whole"))
}

// follow applies the commits to a log of those who were faster, without asking for a list.
func (b *inBucket) follow(ctx context.Context, p projection, log string) (applied int, err error) {
	const most = 4
	for {
		head, err := p.head(ctx, log)
		if err != nil {
			return applied, err
		}
		some, err := b.log.Next(ctx, log, head, most)
		if err != nil {
			return applied, err
		}
		for _, c := range some {
			if err := b.apply(ctx, p, c); err != nil {
				return applied, err
			}
		}
		if applied += len(some); len(some) < most {
			return applied, nil
		}
	}
}

// rewind removes a projection that holds more than the log. Its heads are kept beside it, so that the ledger finds what
// is lost.
func (b *inBucket) rewind(ctx context.Context) error {
	some, err := b.log.Next(ctx, jit.AllChain, bucket.Head{}, 1)
	if err != nil {
		return err
	}
	if len(some) == 0 {
		return jit.Errorf(jit.ErrBehind, "ledger", "put the objects back; if the ledger was removed on purpose, delete "+
			b.path+" to begin a new one",
			"the log in %s is gone: this machine has read commits that are not there", b.name())
	}
	db, err := b.sqliteFile.reader(ctx)
	if err != nil || db == nil {
		return err
	}
	heads, err := collect(ctx, db, func(rows *sql.Rows) (h jit.Head, err error) {
		return h, rows.Scan(&h.Ledger, &h.Chain, &h.Seq, &h.Hash, &h.Epoch)
	}, `SELECT l.id, c.chain, c.head_seq, c.head_hash, coalesce((SELECT hash FROM jit_log
		WHERE chain = '_all' AND kind = 'ledger_restored' ORDER BY seq DESC LIMIT 1), '')
		FROM jit_ledger l, jit_chains c WHERE c.head_seq > 0`)
	if err != nil {
		return err
	}
	b.saveHeads(heads)
	b.left.Store(true)
	return b.remove()
}

// rewound reports, once, that the projection was made anew.
func (b *inBucket) rewound() bool { return b.left.Swap(false) }
