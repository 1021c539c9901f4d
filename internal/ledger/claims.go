package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Claims returns the claims that the ledger stores.
func (l *Ledger) Claims() jit.Claims { return claims{l} }

// claims are the [jit.Claims] of a ledger, in the tables jit_marks and jit_mark_scopes.
type claims struct{ *Ledger }

var _ jit.Claims = claims{}

var (
	claimKey     = []string{"place", "scope", "owner", "grant_id", "object"}
	claimColumns = append(claimKey[:len(claimKey):len(claimKey)], "principal", "role", "starts_at", "expires_at", "prior", "ending")
	replaceClaim = " ON CONFLICT (place, scope, owner, grant_id, object) DO UPDATE SET " + excluded(claimColumns[len(claimKey):])
)

// Scopes lists the scopes of a place that have claims.
func (c claims) Scopes(ctx context.Context, place string) ([]string, error) {
	return c.texts(ctx, "SELECT DISTINCT scope FROM jit_marks WHERE place = $1 ORDER BY scope", place)
}

// Places lists the places that have claims of a grant.
func (c claims) Places(ctx context.Context, owner string, id jit.ID) ([]string, error) {
	return c.texts(ctx, "SELECT DISTINCT place FROM jit_marks WHERE owner = $1 AND grant_id = $2 ORDER BY place", owner, string(id))
}

// texts reads one column of jit_marks.
func (c claims) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	db, err := c.read(ctx)
	if err != nil || db == nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, c.absentOr(err)
	}
	all, err := collect(rows, func(rows *sql.Rows) (one string, err error) { return one, rows.Scan(&one) })
	return all, c.fail("read", err)
}

// ReadClaims returns the claims of one scope and their version from one snapshot.
func (c claims) ReadClaims(ctx context.Context, place, scope string) (jit.ClaimSet, error) {
	db, err := c.read(ctx)
	if err != nil || db == nil {
		return jit.ClaimSet{}, err
	}
	tx, err := db.BeginTx(ctx, &c.snapshot)
	if err != nil {
		return jit.ClaimSet{}, c.fail("read", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	var all jit.ClaimSet
	if all.Version, err = claimVersion(ctx, tx, place, scope); err != nil {
		return jit.ClaimSet{}, c.absentOr(err)
	}
	rows, err := tx.QueryContext(ctx, `SELECT owner, grant_id, object, principal, role, starts_at, expires_at, prior, ending
		FROM jit_marks WHERE place = $1 AND scope = $2 ORDER BY owner, grant_id, object`, place, scope)
	if err != nil {
		return jit.ClaimSet{}, c.fail("read", err)
	}
	all.Claims, err = collect(rows, scanClaim)
	return all, c.fail("read", err)
}

// absentOr returns nil if the table does not exist yet in an older schema: it counts as empty.
func (c claims) absentOr(err error) error {
	if c.db.absent(err) {
		return nil
	}
	return c.fail("read", err)
}

func claimVersion(ctx context.Context, q queryer, place, scope string) (version int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT version FROM jit_mark_scopes WHERE place = $1 AND scope = $2", place, scope).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

func scanClaim(rows *sql.Rows) (jit.Claim, error) {
	var m jit.Claim
	var start, end, prior, ending int64
	err := rows.Scan(&m.Marker.Owner, &m.Marker.ID, &m.Object, &m.Principal, &m.Role, &start, &end, &prior, &ending)
	m.Marker.Window = jit.Window{Start: time.UnixMicro(start).UTC(), End: time.UnixMicro(end).UTC()}
	m.Prior, m.Ending = prior != 0, ending != 0
	return m, err
}

// Update writes and deletes claims of one scope. The transaction locks the head of the ledger, so the version cannot
// change between the comparison and the write.
func (c claims) Update(ctx context.Context, place, scope string, version int64, put, drop []jit.Claim) (int64, error) {
	err := c.transact(ctx, func(ctx context.Context, tx *sql.Tx, _ head) error {
		is, err := claimVersion(ctx, tx, place, scope)
		if err != nil {
			return err
		}
		if is != version {
			return fmt.Errorf("write the claims of %s: version %d is recorded, %d was read: %w", scope, is, version, jit.ErrStale)
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
		if err := c.insert(ctx, tx, "jit_marks", claimColumns, rows.all(), replaceClaim); err != nil {
			return err
		}
		return c.insert(ctx, tx, "jit_mark_scopes", []string{"place", "scope", "version"}, [][]any{{place, scope, version + 1}},
			" ON CONFLICT (place, scope) DO UPDATE SET version = excluded.version")
	})
	if errors.Is(err, jit.ErrStale) {
		return version, err
	}
	if err != nil {
		return version, c.fail("write", err)
	}
	return version + 1, nil
}
