package ledger

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sweepsSchema is the schema version that introduced jit_sweeps.
const sweepsSchema = 7

// Swept records that a sweeper has finished a pass. It does not create the ledger: without one, nothing was swept.
func (l *Ledger) Swept(ctx context.Context, s jit.Sweep) error {
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
	return l.fail("write", l.transact(ctx, nil, func(ctx context.Context, tx *sql.Tx, _ *state) error {
		err := l.insert(ctx, tx, "jit_sweeps", []string{"owner", "target", "swept_at"}, rows,
			" ON CONFLICT (owner, target) DO UPDATE SET swept_at = excluded.swept_at")
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM jit_sweeps WHERE (owner, target) IN (SELECT owner, target FROM jit_sweeps "+
			"WHERE swept_at <= $1"+l.skipLocked+")", at.Add(-forgetAfter).UnixMicro())
		return err
	}))
}

// SweptSince returns how long ago a sweeper that serves owner passed on each target.
func (l *Ledger) SweptSince(ctx context.Context, owner string, now time.Time) (map[string]time.Duration, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil || l.known.Load().schema < sweepsSchema {
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
	return since, nil
}
