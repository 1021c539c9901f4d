package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// commit runs do in a transaction and makes what it changes the next commit of the log. If it changes rows of several
// logs, each gets a commit, that of [jit.AllChain] first; do then has to be such that it can run again with some of
// them recorded.
func (b *inBucket) commit(ctx context.Context, log string, do func(*sql.Tx) error) error {
	return b.commitAfter(ctx, log, nil, do)
}

// commitAfter is commit that depends on some logs; nil stands for those on which every write to the log depends.
func (b *inBucket) commitAfter(ctx context.Context, log string, only []string, do func(*sql.Tx) error) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	var t attempt
	err := b.update(ctx, func(ctx context.Context, p projection) error {
		t = attempt{inBucket: b, projection: p, log: log, only: only, do: do, looked: !b.prepared(log)}
		return t.run(ctx)
	})
	if t.recorded && err != nil { // it is in the log, and the projection will find it there
		b.doubt()
		return nil
	}
	if err == nil {
		b.save(ctx, t.snapshots)
		err = t.refused
	}
	return err
}

// attempt is one commit in the making.
type attempt struct {
	*inBucket
	projection
	log  string
	only []string
	do   func(*sql.Tx) error
	// looked: the logs that it depends on have been read since it began.
	looked bool
	// refused is the error of do.
	refused error
	// recorded: the logs have all commits.
	recorded bool
	// snapshots are to be stored after the commit.
	snapshots []snapshot
}

// run runs do until what it changes is in the log. The error is not nil if the transaction has to be rolled back.
func (t *attempt) run(ctx context.Context) error {
	if t.looked {
		if _, err := t.catchUp(ctx, t.projection, t.concerns()...); err != nil {
			return err
		}
	}
	if err := t.usable(t.log); err != nil {
		return err
	}
	for n := 0; ; n++ {
		commits, err := t.try(ctx)
		if err == nil && len(commits) > 0 {
			if err = t.append(ctx, commits); err == nil {
				return t.keep(ctx, commits)
			}
		}
		if errors.Is(err, bucket.ErrRewound) {
			return err
		}
		if errors.Is(err, bucket.ErrTaken) {
			if err := t.lost(ctx, commits, n); err != nil {
				return err
			}
			continue
		}
		if undo := t.undo(ctx); undo != nil {
			return errors.Join(err, undo)
		}
		if applied, again := t.look(ctx); again != nil || applied == 0 {
			t.refused = err
			return again
		}
	}
}

// look reads the logs if that has not been done: what do refused, or had nothing to do about, may be old.
func (t *attempt) look(ctx context.Context) (applied int, err error) {
	if t.looked {
		return 0, nil
	}
	t.looked = true
	applied, err = t.catchUp(ctx, t.projection, t.concerns()...)
	return applied, cmp.Or(err, t.usable(t.log))
}

// concerns returns the logs that have to be read; none stands for all.
func (t *attempt) concerns() []string {
	if t.only != nil || t.checked.Load() == nil {
		return t.only
	}
	return concern(t.log)
}

// try runs do and returns its changes, in the order in which they are to be recorded.
func (t *attempt) try(ctx context.Context) ([]*bucket.Commit, error) {
	before, err := t.ledger(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.exec(ctx, "SAVEPOINT attempt"); err != nil {
		return nil, err
	}
	shapes, err := t.capture(ctx, before.schema)
	if err != nil {
		return nil, err
	}
	if err := t.do(t.tx); err != nil {
		return nil, err
	}
	tables, err := t.changes(ctx, shapes)
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	now, err := t.ledger(ctx)
	if err != nil {
		return nil, err
	}
	all, err := t.head(ctx, jit.AllChain)
	if err != nil {
		return nil, err
	}
	var commits []*bucket.Commit
	for log, tables := range split(tables, t.log) {
		last, err := t.head(ctx, log)
		if err = cmp.Or(err, t.usable(log)); err != nil {
			return nil, err
		}
		c := &bucket.Commit{Ledger: now.id, Chain: log, Number: last.Number + 1, Prev: last.Hash, After: all.Number,
			Writer: t.id, ID: uuid.NewString(), Schema: now.schema, Tables: tables}
		if log == jit.AllChain {
			c.After = 0
		}
		for _, table := range tables {
			why := foreign(c, table)
			if shape, old := shapes[table.Name]; old && why == "" {
				why = shape.unfit(table)
			}
			if why != "" { // others would refuse the whole log
				return nil, fmt.Errorf("write the log of %s: %s", log, why)
			}
		}
		commits = append(commits, c)
	}
	slices.SortFunc(commits, func(a, b *bucket.Commit) int {
		return cmp.Or(cmp.Compare(order(a.Chain), order(b.Chain)), cmp.Compare(a.Chain, b.Chain))
	})
	return commits, nil
}

// append creates the commits, once the store has shown that it honours the condition. The end of a context does not end
// it: its outcome would be unknown.
func (t *attempt) append(ctx context.Context, commits []*bucket.Commit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	lasting := context.WithoutCancel(ctx)
	if err := t.prove(lasting, commits[0]); err != nil {
		return err
	}
	for _, c := range commits {
		if err := t.inBucket.log.Append(lasting, c); err != nil {
			return err
		}
	}
	return nil
}

// prove makes sure that the store honours the condition, by a commit that is there. The first commit of a log is proven
// by one of [sharedLog], which everybody may write.
func (t *attempt) prove(ctx context.Context, c *bucket.Commit) error {
	if t.proven {
		return nil
	}
	log, number := c.Chain, c.Number-1
	if number == 0 {
		shared, err := t.head(ctx, sharedLog)
		if err != nil {
			return err
		}
		log, number = sharedLog, shared.Number
	}
	if number == 0 && c.Chain != jit.AllChain {
		all, err := t.head(ctx, jit.AllChain)
		if err != nil {
			return err
		}
		log, number = jit.AllChain, all.Number
	}
	if number == 0 {
		return nil
	}
	err := t.inBucket.log.Prove(ctx, log, number)
	t.proven = err == nil
	return err
}

// keep notes that the commits are part of the log.
func (t *attempt) keep(ctx context.Context, commits []*bucket.Commit) error {
	t.recorded = true
	at := time.Now()
	lasting := context.WithoutCancel(ctx)
	for _, c := range commits {
		if err := t.setHead(lasting, c); err != nil {
			return err
		}
		t.seen[c.Chain] = at
	}
	if err := t.keepSnapshots(lasting, commits); err != nil {
		return err
	}
	return t.exec(lasting, "RELEASE attempt")
}

// lost takes the changes back and applies the commits of whoever was first. It does not pause then: somebody has made
// progress, and whoever pauses loses again to those who have just begun.
func (t *attempt) lost(ctx context.Context, commits []*bucket.Commit, n int) error {
	if err := t.undo(ctx); err != nil {
		return err
	}
	all := 0
	for _, c := range commits {
		applied, err := t.follow(ctx, t.projection, c.Chain)
		if all += applied; err != nil {
			return err
		}
	}
	if all > 0 {
		return nil
	}
	return backoff.Wait(ctx, n, 2*time.Millisecond, 200*time.Millisecond)
}

// undo takes the changes back.
func (t *attempt) undo(ctx context.Context) error {
	return t.exec(context.WithoutCancel(ctx), "ROLLBACK TO attempt", "RELEASE attempt")
}

// order sorts the logs of all owners before those of one.
func order(log string) int {
	if i := slices.Index([]string{jit.AllChain, sharedLog}, log); i >= 0 {
		return i
	}
	return 2
}
