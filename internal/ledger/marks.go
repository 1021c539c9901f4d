package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Marks returns the marks that are kept beside the grants.
func (l *Ledger) Marks() jit.Claims { return marks{l} }

// marks are the [jit.Claims] of a ledger.
type marks struct{ *Ledger }

var _ jit.Claims = marks{}

var (
	markKey     = []string{"place", "scope", "owner", "grant_id", "object"}
	markColumns = append(markKey[:len(markKey):len(markKey)], "principal", "role", "starts_at", "expires_at", "prior", "ending")
	replaceMark = " ON CONFLICT (place, scope, owner, grant_id, object) DO UPDATE SET " + excluded(markColumns[len(markKey):])
)

// Scopes lists the scopes of a place on which there are marks.
func (m marks) Scopes(ctx context.Context, place string) ([]string, error) {
	return m.texts(ctx, "SELECT DISTINCT scope FROM jit_marks WHERE place = $1 ORDER BY scope", place)
}

// Places lists the places at which there are marks of a grant.
func (m marks) Places(ctx context.Context, owner string, id jit.ID) ([]string, error) {
	return m.texts(ctx, "SELECT DISTINCT place FROM jit_marks WHERE owner = $1 AND grant_id = $2 ORDER BY place", owner, string(id))
}

// texts reads one column of the marks.
func (m marks) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	db, err := m.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, m.absentOr(err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (one string, err error) { return one, rows.Scan(&one) })
	return all, m.fail("read", err)
}

// ReadClaims returns the marks of one scope with their version, as they were together.
func (m marks) ReadClaims(ctx context.Context, place, scope string) (jit.ClaimSet, error) {
	db, err := m.read(ctx)
	if err != nil || db == nil {
		return jit.ClaimSet{}, err
	}
	tx, err := db.BeginTx(ctx, &m.snapshot)
	if err != nil {
		return jit.ClaimSet{}, m.fail("read", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	var all jit.ClaimSet
	if all.Version, err = markVersion(ctx, tx, place, scope); err != nil {
		return jit.ClaimSet{}, m.absentOr(err)
	}
	rows, err := tx.QueryContext(ctx, `SELECT owner, grant_id, object, principal, role, starts_at, expires_at, prior, ending
		FROM jit_marks WHERE place = $1 AND scope = $2 ORDER BY owner, grant_id, object`, place, scope)
	if err != nil {
		return jit.ClaimSet{}, m.fail("read", err)
	}
	all.Claims, err = collect(rows, scanMark)
	return all, m.fail("read", err)
}

// absentOr takes the tables of an older schema, which are not there yet, for empty ones.
func (m marks) absentOr(err error) error {
	if m.db.absent(err) {
		return nil
	}
	return m.fail("read", err)
}

func markVersion(ctx context.Context, q queryer, place, scope string) (version int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT version FROM jit_mark_scopes WHERE place = $1 AND scope = $2", place, scope).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

func scanMark(rows *sql.Rows) (jit.Claim, error) {
	var m jit.Claim
	var start, end, prior, ending int64
	err := rows.Scan(&m.Marker.Owner, &m.Marker.ID, &m.Object, &m.Principal, &m.Role, &start, &end, &prior, &ending)
	m.Marker.Window = jit.Window{Start: time.UnixMicro(start).UTC(), End: time.UnixMicro(end).UTC()}
	m.Prior, m.Ending = prior != 0, ending != 0
	return m, err
}

// Update puts and drops marks of one scope. Whoever writes holds the head of the ledger, so that
// the version cannot change between the comparison and the write.
func (m marks) Update(ctx context.Context, place, scope string, version int64, put, drop []jit.Claim) (int64, error) {
	err := m.transact(ctx, func(ctx context.Context, tx *sql.Tx, _ head) error {
		is, err := markVersion(ctx, tx, place, scope)
		if err != nil {
			return err
		}
		if is != version {
			return fmt.Errorf("write the marks of %s: version %d is recorded, %d was read: %w", scope, is, version, jit.ErrStale)
		}
		for _, d := range drop {
			_, err := tx.ExecContext(ctx, "DELETE FROM jit_marks WHERE place = $1 AND scope = $2 AND owner = $3 AND grant_id = $4 AND object = $5",
				place, scope, d.Marker.Owner, string(d.Marker.ID), d.Object)
			if err != nil {
				return err
			}
		}
		rows := newKeyed()
		for _, p := range put {
			rows.set(p.Marker.Owner+" "+string(p.Marker.ID)+" "+p.Object, []any{
				place, scope, p.Marker.Owner, string(p.Marker.ID), p.Object, text(p.Principal), text(p.Role),
				p.Marker.Window.Start.UnixMicro(), p.Marker.Window.End.UnixMicro(), flag(p.Prior), flag(p.Ending),
			})
		}
		if err := m.insert(ctx, tx, "jit_marks", markColumns, rows.all(), replaceMark); err != nil {
			return err
		}
		return m.insert(ctx, tx, "jit_mark_scopes", []string{"place", "scope", "version"}, [][]any{{place, scope, version + 1}},
			" ON CONFLICT (place, scope) DO UPDATE SET version = excluded.version")
	})
	if errors.Is(err, jit.ErrStale) {
		return version, err
	}
	if err != nil {
		return version, m.fail("write", err)
	}
	return version + 1, nil
}
