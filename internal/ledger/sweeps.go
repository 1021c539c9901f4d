package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sweepsSchema is the schema version that introduced jit_sweeps.
const sweepsSchema = 7

// Swept records that a sweeper has finished a pass. It does not create the ledger: without one, nothing was swept.
func (l *Ledger) Swept(ctx context.Context, s jit.Sweep) error {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil || len(s.Targets) == 0 {
		return err
	}
	at, _, err := l.Clock(ctx)
	if err != nil {
		return err
	}
	if at.IsZero() {
		at = s.At
	}
	owners := s.Owners
	if len(owners) == 0 {
		owners = jit.Owners{jit.AllOwners}
	}
	var rows [][]any
	targets := slices.Sorted(slices.Values(s.Targets)) // so that two writers cannot wait for each other
	for _, owner := range slices.Sorted(slices.Values(owners)) {
		for _, target := range targets {
			rows = append(rows, []any{owner, target, at.UnixMicro()})
		}
	}
	var chains []string
	_, apart := l.db.(committer)
	if apart {
		if lately, err := l.sweptLately(ctx, rows, at); err != nil || lately {
			return err
		}
		for _, owner := range owners {
			chains = append(chains, jit.ChainOf(owner))
		}
	}
	return l.fail("write", l.transact(ctx, chains, func(ctx context.Context, tx *sql.Tx, _ *state) error {
		err := l.insert(ctx, tx, "jit_sweeps", []string{"owner", "target", "swept_at"}, rows,
			" ON CONFLICT (owner, target) DO UPDATE SET swept_at = excluded.swept_at")
		if err != nil || apart { // a log that is read by itself cannot say what of another one is over
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM jit_sweeps WHERE (owner, target) IN (SELECT owner, target FROM jit_sweeps "+
			"WHERE swept_at <= $1"+l.skipLocked+")", at.Add(-forgetAfter).UnixMicro())
		return err
	}))
}

// Each write to a bucket is an object for ever. So passes are recorded there every sweptEach, which is half of what a
// plan accepts as the age of the last pass, and every sweptIdle while no grant needs a sweeper.
const (
	sweptEach = 5 * time.Minute
	sweptIdle = 12 * time.Hour
)

// sweptLately reports whether all passes of rows have been recorded a short time before.
func (l *Ledger) sweptLately(ctx context.Context, rows [][]any, at time.Time) (bool, error) {
	pause := sweptIdle
	if open, err := l.outstanding(ctx, never); err != nil {
		return false, err
	} else if open {
		pause = sweptEach
	}
	for _, row := range rows {
		var found int64
		ok, err := l.row(ctx, "SELECT 1 FROM jit_sweeps WHERE owner = $1 AND target = $2 AND swept_at > $3",
			[]any{row[0], row[1], at.Add(-pause).UnixMicro()}, &found)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// never is later than any recorded time.
var never = time.UnixMicro(math.MaxInt64)

// outstanding reports whether a grant that was requested before a time still needs a sweeper.
func (l *Ledger) outstanding(ctx context.Context, before time.Time) (bool, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return false, err
	}
	var found int64
	return l.row(ctx, "SELECT 1 FROM "+l.openGrants()+" WHERE due_at IS NOT NULL AND requested_at < $1 LIMIT 1",
		[]any{before.UnixMicro()}, &found)
}

// SweptSince returns how long ago a sweeper that serves owner passed on each target.
func (l *Ledger) SweptSince(ctx context.Context, owner string, now time.Time) (map[string]time.Duration, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err = cmp.Or(err, l.wholeFor(owner)); err != nil || db == nil || l.known.Load().schema < sweepsSchema {
		return nil, err
	}
	clock := "$3"
	if l.clock != "" {
		clock = "CAST((" + l.clock + ") * 1000000 AS BIGINT) + $3"
		now = time.UnixMicro(0)
	}
	since := map[string]time.Duration{}
	_, err = list(ctx, l, func(rows *sql.Rows) (none struct{}, err error) {
		var target string
		var micros int64
		err = rows.Scan(&target, &micros)
		since[target] = max(0, time.Duration(micros)*time.Microsecond)
		return none, err
	}, "SELECT target, "+clock+" - max(swept_at) FROM jit_sweeps WHERE owner IN ($1, $2) GROUP BY target",
		owner, jit.AllOwners, now.UnixMicro())
	if err != nil {
		return nil, err
	}
	if _, ok := l.db.(committer); ok {
		return since, l.forgiveIdle(ctx, since, now)
	}
	return since, nil
}

// forgiveIdle counts recorded passes as recent while nothing was to be done: passes are recorded seldom then.
func (l *Ledger) forgiveIdle(ctx context.Context, since map[string]time.Duration, now time.Time) error {
	open, err := l.outstanding(ctx, now.Add(-2*sweptEach))
	if err != nil || open {
		return err
	}
	for target, ago := range since {
		if ago < sweptIdle+sweptEach {
			since[target] = 0
		}
	}
	return nil
}
