package ledger

import (
	"cmp"
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

// Thrifty reports whether the ledger keeps every write for ever; see [jit.Thrifty].
func (l leases) Thrifty() bool {
	_, ok := l.db.(committer)
	return ok
}

// forgetAfter is how long the ledger keeps a lease without a position after its end, and a recorded sweep.
const forgetAfter = 24 * time.Hour

const acquireLease = `INSERT INTO jit_leases (name, holder, lease_until, position) VALUES ($1, $2, $3, 0)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
	WHERE jit_leases.holder = excluded.holder OR jit_leases.lease_until <= $4 OR jit_leases.lease_until > $5
	RETURNING position`

// Acquire gives a lease to holder, unless another holder has it.
func (l leases) Acquire(ctx context.Context, name, holder string, now, until time.Time) (
	position int64, ok bool, err error,
) {
	err = l.transact(ctx, nil, func(ctx context.Context, tx *sql.Tx, _ *state) error {
		err := tx.QueryRowContext(ctx, acquireLease, name, holder, until.UnixMicro(), now.UnixMicro(),
			until.Add(jit.MaxLease).UnixMicro()).Scan(&position)
		if ok = !errors.Is(err, sql.ErrNoRows); ok && err != nil {
			return err
		}
		return l.forget(ctx, tx, now)
	})
	if err != nil {
		return 0, false, l.fail("write", err)
	}
	return position, ok, nil
}

// forget deletes leases without a position that ended long ago, except those that another writer uses now. In a bucket
// they stay: a log that is read by itself cannot say that those of another log are over.
func (l *Ledger) forget(ctx context.Context, tx *sql.Tx, now time.Time) error {
	if _, ok := l.db.(committer); ok {
		return nil
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM jit_leases WHERE name IN (SELECT name FROM jit_leases "+
		"WHERE position = 0 AND lease_until <= $1"+l.skipLocked+")", now.Add(-forgetAfter).UnixMicro())
	return err
}

// dedupName returns the name under which a dedup key is stored. In a bucket each log has keys of its own, apart from
// all leases: nobody can use up a key of another owner, or take a lease by a key.
func (l *Ledger) dedupName(log, name string) string {
	if _, ok := l.db.(committer); ok {
		return keyPrefix(log) + name
	}
	return name
}

func keyPrefix(log string) string { return "once/" + log + "/" }

// dedup stores the dedup keys of entries of a log. It refuses entries whose key is already stored with
// [jit.ErrDuplicate].
func (l *Ledger) dedup(ctx context.Context, tx *sql.Tx, log string, entries []jit.Entry, errs []error) error {
	first := map[string]int{}
	var keys []jit.DedupKey
	var latest time.Time
	for i, e := range entries {
		key := e.Dedup
		if key.Name == "" {
			continue
		}
		key.Name = l.dedupName(log, key.Name)
		switch _, repeated := first[key.Name]; {
		case subjects(e) > 0:
			errs[i] = fmt.Errorf(
				"write the ledger: an entry with a dedup key holds a grant or a policy; it can hold events only: %w",
				jit.ErrInvalid,
			)
			continue
		case !repeated:
			first[key.Name] = i
			keys = append(keys, key)
			if key.At.After(latest) {
				latest = key.At
			}
		}
		errs[i] = fmt.Errorf("record %q: %w", e.Dedup.Name, jit.ErrDuplicate)
	}
	if len(first) == 0 {
		return nil
	}
	// In one order, so that two writers rarely wait for each other; if they do, the server stops one, which tries again.
	slices.SortFunc(keys, func(a, b jit.DedupKey) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name))
	})
	for len(keys) > 0 {
		n := 1
		for n < min(len(keys), maxParameters/2-1) && keys[n].At.Equal(keys[0].At) {
			n++
		}
		stored, err := l.storeKeys(ctx, tx, keys[0].At, keys[:n])
		if err != nil {
			return err
		}
		for _, name := range stored {
			errs[first[name]] = nil
		}
		keys = keys[n:]
	}
	return l.forget(ctx, tx, latest)
}

// storeKeys stores dedup keys that begin at the same time, and returns the names of the new ones.
func (l *Ledger) storeKeys(ctx context.Context, tx *sql.Tx, at time.Time, keys []jit.DedupKey) ([]string, error) {
	rows := make([]string, len(keys))
	args := make([]any, 0, 2*len(keys)+2)
	for i, key := range keys {
		rows[i] = fmt.Sprintf("($%d, '', $%d, 0)", 2*i+1, 2*i+2)
		args = append(args, key.Name, key.Until.UnixMicro())
	}
	args = append(args, at.UnixMicro(), jit.MaxLease.Microseconds())
	return collect(ctx, tx, scanOne[string], fmt.Sprintf(`INSERT INTO jit_leases (name, holder, lease_until, position)
		VALUES %s ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
		WHERE jit_leases.lease_until <= $%d OR jit_leases.lease_until > excluded.lease_until + $%d
		RETURNING name`, strings.Join(rows, ", "), len(args)-1, len(args)), args...)
}

// Holder returns the holder, the end and the position of a lease.
func (l leases) Holder(ctx context.Context, name string) (
	position int64, holder string, until time.Time, err error,
) {
	var end int64
	ok, err := l.row(tolerant(ctx), "SELECT position, holder, lease_until FROM jit_leases WHERE name = $1", []any{name},
		&position, &holder, &end)
	if !ok {
		return 0, "", time.Time{}, err
	}
	return position, holder, time.UnixMicro(end).UTC(), nil
}

// Renew stores the position and the new end of a lease.
func (l leases) Renew(ctx context.Context, name, holder string, position int64, until time.Time) error {
	var held int64
	err := l.transact(ctx, nil, func(ctx context.Context, tx *sql.Tx, _ *state) error {
		done, err := tx.ExecContext(ctx,
			"UPDATE jit_leases SET position = $3, lease_until = $4 WHERE name = $1 AND holder = $2",
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
		return fmt.Errorf("renew the lease %q of %s: %w", name, holder, jit.ErrStale)
	}
	return nil
}

// Release stores the position and ends a lease.
func (l leases) Release(ctx context.Context, name, holder string, position int64) error {
	return l.Renew(ctx, name, holder, position, time.Unix(0, 0))
}
