package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// sweepsSchema is the schema version that brought jit_sweeps.
const sweepsSchema = 7

// Swept records that a sweeper has passed. It makes no ledger: where there is none, nothing was swept.
func (l *Ledger) Swept(ctx context.Context, s jit.Sweep) error {
	db, err := l.read(ctx)
	if err != nil || db == nil || len(s.Targets) == 0 {
		return err
	}
	clock, err := l.Clock(ctx)
	if err != nil {
		return err
	}
	at := s.At
	if !clock.IsZero() {
		at = clock
	}
	owners := s.Owners
	if len(owners) == 0 {
		owners = jit.Owners{jit.AllOwners}
	}
	var values []any
	for _, owner := range owners {
		for _, target := range s.Targets {
			values = append(values, owner, target)
		}
	}
	return l.fail("write", l.transact(ctx, func(ctx context.Context, tx *sql.Tx, _ head) error {
		for some := range slices.Chunk(values, maxParameters/2*2-2) {
			rows := make([]string, len(some)/2)
			for i := range rows {
				rows[i] = fmt.Sprintf("($%d, $%d, $1)", 2*i+2, 2*i+3)
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO jit_sweeps (owner, target, swept_at) VALUES "+strings.Join(rows, ", ")+
				" ON CONFLICT (owner, target) DO UPDATE SET swept_at = excluded.swept_at", append([]any{at.UnixMicro()}, some...)...); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM jit_sweeps WHERE swept_at <= $1", at.Add(-forgotten).UnixMicro())
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
	rows, err := db.QueryContext(ctx, "SELECT target, "+clock+" - max(swept_at) FROM jit_sweeps WHERE owner IN ($1, $2) GROUP BY target",
		owner, jit.AllOwners, now.UnixMicro())
	if err != nil {
		return nil, l.fail("read", err)
	}
	defer func() { _ = rows.Close() }()
	since := map[string]time.Duration{}
	for rows.Next() {
		var target string
		var micros int64
		if err := rows.Scan(&target, &micros); err != nil {
			return nil, l.fail("read", err)
		}
		since[target] = max(0, time.Duration(micros)*time.Microsecond)
	}
	return since, l.fail("read", rows.Err())
}
