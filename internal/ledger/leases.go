package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Leases returns the leases that are kept beside the grants.
func (l *Ledger) Leases() jit.Leases { return leases{l} }

// leases are the [jit.Leases] of a ledger.
type leases struct{ *Ledger }

var _ jit.Leases = leases{}

// forgotten is how long after its lease work without a position is kept.
const forgotten = 24 * time.Hour

// Take gives a piece of work to holder, unless another has it.
func (l leases) Take(ctx context.Context, name, holder string, now, until time.Time) (position int64, ok bool, err error) {
	err = l.transact(ctx, func(ctx context.Context, tx *sql.Tx, _ head) error {
		ok = true
		err := tx.QueryRowContext(ctx, `INSERT INTO jit_leases (name, holder, lease_until, position) VALUES ($1, $2, $3, 0)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
			WHERE jit_leases.holder = excluded.holder OR jit_leases.lease_until <= $4 OR jit_leases.lease_until > $5
			RETURNING position`, name, holder, until.UnixMicro(), now.UnixMicro(), until.Add(jit.MaxLease).UnixMicro()).Scan(&position)
		if errors.Is(err, sql.ErrNoRows) {
			ok, err = false, nil
		}
		if err == nil {
			err = forget(ctx, tx, now)
		}
		return err
	})
	if err != nil {
		return 0, false, l.fail("write", err)
	}
	return position, ok, nil
}

// forget drops work without a position whose lease is long over.
func forget(ctx context.Context, tx *sql.Tx, now time.Time) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM jit_leases WHERE position = 0 AND lease_until <= $1", now.Add(-forgotten).UnixMicro())
	return err
}

// once refuses with [jit.ErrTold] what was told already. It notes what was not, and forgets what is long over.
func once(ctx context.Context, tx *sql.Tx, o jit.Once) (told, err error) {
	done, err := tx.ExecContext(ctx, `INSERT INTO jit_leases (name, holder, lease_until, position) VALUES ($1, '', $2, 0)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
		WHERE jit_leases.lease_until <= $3 OR jit_leases.lease_until > $4`,
		o.Name, o.Until.UnixMicro(), o.At.UnixMicro(), o.Until.Add(jit.MaxLease).UnixMicro())
	if err != nil {
		return nil, err
	}
	if noted, err := done.RowsAffected(); err != nil || noted == 0 {
		return fmt.Errorf("record %q: %w", o.Name, jit.ErrTold), err
	}
	return nil, forget(ctx, tx, o.At)
}

// Look tells who has a piece of work.
func (l leases) Look(ctx context.Context, name string) (position int64, holder string, until time.Time, err error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return 0, "", time.Time{}, err
	}
	var end int64
	err = db.QueryRowContext(ctx, "SELECT position, holder, lease_until FROM jit_leases WHERE name = $1", name).Scan(&position, &holder, &end)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, "", time.Time{}, nil
	case err != nil:
		return 0, "", time.Time{}, l.fail("read", err)
	}
	return position, holder, time.UnixMicro(end).UTC(), nil
}

// Keep notes how far a piece of work has come.
func (l leases) Keep(ctx context.Context, name, holder string, position int64, until time.Time) error {
	var held int64
	err := l.transact(ctx, func(ctx context.Context, tx *sql.Tx, _ head) error {
		done, err := tx.ExecContext(ctx, "UPDATE jit_leases SET position = $3, lease_until = $4 WHERE name = $1 AND holder = $2",
			name, holder, position, until.UnixMicro())
		if err == nil {
			held, err = done.RowsAffected()
		}
		return err
	})
	if err != nil {
		return l.fail("write", err)
	}
	if held == 0 {
		return fmt.Errorf("keep the lease %q of %s: %w", name, holder, jit.ErrStale)
	}
	return nil
}
