package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Leases returns the leases that the ledger stores.
func (l *Ledger) Leases() jit.Leases { return leases{l} }

// leases are the [jit.Leases] of a ledger.
type leases struct{ *Ledger }

var _ jit.Leases = leases{}

// forgotten is how long after its end a lease without a position is kept.
const forgotten = 24 * time.Hour

// Acquire gives a lease to holder, unless another holder has it.
func (l leases) Acquire(ctx context.Context, name, holder string, now, until time.Time) (position int64, ok bool, err error) {
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

// forget deletes leases without a position that ended long ago.
func forget(ctx context.Context, tx *sql.Tx, now time.Time) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM jit_leases WHERE position = 0 AND lease_until <= $1",
		now.Add(-forgotten).UnixMicro())
	return err
}

// dedup stores the dedup keys of entries and refuses entries whose key is already stored with [jit.ErrDuplicate].
func (l *Ledger) dedup(ctx context.Context, tx *sql.Tx, entries []jit.Entry, errs []error) error {
	first := map[string]int{}
	byTime := map[time.Time][]int{}
	var latest time.Time
	for i, e := range entries {
		if e.Dedup.Name == "" {
			continue
		}
		if subjects(e) > 0 {
			errs[i] = fmt.Errorf("write the ledger: an entry with a dedup key holds a grant or a policy and may hold events only: %w",
				jit.ErrInvalid)
			continue
		}
		errs[i] = fmt.Errorf("record %q: %w", e.Dedup.Name, jit.ErrDuplicate)
		if _, twice := first[e.Dedup.Name]; !twice {
			first[e.Dedup.Name] = i
			byTime[e.Dedup.At] = append(byTime[e.Dedup.At], i)
			if e.Dedup.At.After(latest) {
				latest = e.Dedup.At
			}
		}
	}
	if len(first) == 0 {
		return nil
	}
	for at, members := range byTime {
		for chunk := range slices.Chunk(members, maxParameters/2-1) {
			noted, err := l.storeKeys(ctx, tx, at, entries, chunk)
			if err != nil {
				return err
			}
			for _, name := range noted {
				errs[first[name]] = nil
			}
		}
	}
	return forget(ctx, tx, latest)
}

// storeKeys stores the keys of some entries that begin at the same time, and returns the names of those that are new.
func (l *Ledger) storeKeys(ctx context.Context, tx *sql.Tx, at time.Time, entries []jit.Entry, members []int) ([]string, error) {
	rows := make([]string, len(members))
	args := make([]any, 0, 2*len(members)+2)
	for k, i := range members {
		o := entries[i].Dedup
		rows[k] = fmt.Sprintf("($%d, '', $%d, 0)", 2*k+1, 2*k+2)
		args = append(args, o.Name, o.Until.UnixMicro())
	}
	args = append(args, at.UnixMicro(), jit.MaxLease.Microseconds())
	noted, err := tx.QueryContext(ctx, fmt.Sprintf(`INSERT INTO jit_leases (name, holder, lease_until, position) VALUES %s
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
		WHERE jit_leases.lease_until <= $%d OR jit_leases.lease_until > excluded.lease_until + $%d
		RETURNING name`, strings.Join(rows, ", "), len(args)-1, len(args)), args...)
	if err != nil {
		return nil, err
	}
	return collect(noted, func(rows *sql.Rows) (name string, err error) { return name, rows.Scan(&name) })
}

// Holder returns the holder, the end and the position of a lease.
func (l leases) Holder(ctx context.Context, name string) (position int64, holder string, until time.Time, err error) {
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

// Renew stores the position and the new end of a lease.
func (l leases) Renew(ctx context.Context, name, holder string, position int64, until time.Time) error {
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

// Release stores the position and ends a lease.
func (l leases) Release(ctx context.Context, name, holder string, position int64) error {
	return l.Renew(ctx, name, holder, position, time.Unix(0, 0))
}
