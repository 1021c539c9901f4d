package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Claims returns the claims that the ledger stores. They can be read and written in a bucket of which a log other than
// that of [jit.AllChain] is damaged.
func (l *Ledger) Claims() jit.Claims {
	if b, ok := l.db.(*inBucket); ok {
		return claims{&Ledger{db: allOnly{b}, dialect: l.dialect, migrations: l.migrations, now: l.now, actor: l.actor,
			run: l.run}}
	}
	return claims{l}
}

// claims are the [jit.Claims] of a ledger, in the tables jit_marks and jit_mark_scopes.
type claims struct{ *Ledger }

var _ jit.Claims = claims{}

var (
	claimKey     = []string{"place", "scope", "owner", "grant_id", "object"}
	claimColumns = append(claimKey[:len(claimKey):len(claimKey)],
		"principal", "role", "starts_at", "expires_at", "prior", "ending")
	replaceClaim = " ON CONFLICT (place, scope, owner, grant_id, object) DO UPDATE SET " +
		excluded(claimColumns[len(claimKey):])
)

// Scopes lists the scopes of a place that have claims.
func (c claims) Scopes(ctx context.Context, place string) ([]string, error) {
	return c.texts(ctx, "SELECT DISTINCT scope FROM jit_marks WHERE place = $1 ORDER BY scope", place)
}

// Places lists the places that have claims of a grant.
func (c claims) Places(ctx context.Context, owner string, id jit.ID) ([]string, error) {
	return c.texts(ctx, "SELECT DISTINCT place FROM jit_marks WHERE owner = $1 AND grant_id = $2 ORDER BY place",
		owner, string(id))
}

// texts reads one column of jit_marks.
func (c claims) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	all, err := list(ctx, c.Ledger, scanOne[string], query, args...)
	return all, c.ignoreAbsent(err)
}

// ReadClaims returns the claims of one scope and their version from one snapshot.
func (c claims) ReadClaims(ctx context.Context, place, scope string) (jit.ClaimSet, error) {
	var set jit.ClaimSet
	err := c.inSnapshot(ctx, func(tx *sql.Tx) (err error) {
		if set.Version, err = claimVersion(ctx, tx, place, scope); err != nil {
			return err
		}
		set.Claims, err = collect(ctx, tx, scanClaim, `SELECT owner, grant_id, object, principal, role, starts_at,
			expires_at, prior, ending FROM jit_marks WHERE place = $1 AND scope = $2 ORDER BY owner, grant_id, object`,
			place, scope)
		return err
	})
	return set, c.ignoreAbsent(err)
}

// ignoreAbsent drops the error of a table that an older schema does not have: it counts as empty.
func (c claims) ignoreAbsent(err error) error {
	if c.db.absent(err) {
		return nil
	}
	return err
}

// claimVersion returns the version of the claims of a scope; 0 if it has never had any.
func claimVersion(ctx context.Context, tx *sql.Tx, place, scope string) (version int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT version FROM jit_mark_scopes WHERE place = $1 AND scope = $2", place, scope).
		Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

func scanClaim(rows *sql.Rows) (jit.Claim, error) {
	var c jit.Claim
	var start, end, prior, ending int64
	err := rows.Scan(&c.Marker.Owner, &c.Marker.ID, &c.Object, &c.Principal, &c.Role, &start, &end, &prior, &ending)
	c.Marker.Window = jit.Window{Start: time.UnixMicro(start).UTC(), End: time.UnixMicro(end).UTC()}
	c.Prior, c.Ending = prior != 0, ending != 0
	return c, err
}

// Update writes and deletes claims of one scope. The row of the scope is locked first, so the version cannot change
// between the comparison and the write.
func (c claims) Update(ctx context.Context, place, scope string, version int64, put, drop []jit.Claim) (int64, error) {
	err := c.transact(ctx, nil, func(ctx context.Context, tx *sql.Tx, _ *state) error {
		if err := moveVersion(ctx, tx, place, scope, version); err != nil {
			return err
		}
		for _, d := range drop {
			_, err := tx.ExecContext(ctx, `DELETE FROM jit_marks
				WHERE place = $1 AND scope = $2 AND owner = $3 AND grant_id = $4 AND object = $5`,
				place, scope, d.Marker.Owner, string(d.Marker.ID), d.Object)
			if err != nil {
				return err
			}
		}
		rows := map[string][]any{}
		for _, p := range put {
			rows[p.Marker.Owner+" "+string(p.Marker.ID)+" "+p.Object] = []any{
				place, scope, p.Marker.Owner, string(p.Marker.ID), p.Object, text(p.Principal), text(p.Role),
				p.Marker.Window.Start.UnixMicro(), p.Marker.Window.End.UnixMicro(), flag(p.Prior), flag(p.Ending),
			}
		}
		claims := slices.Collect(maps.Values(rows))
		return c.insert(ctx, tx, "jit_marks", claimColumns, claims, replaceClaim)
	})
	switch {
	case errors.Is(err, jit.ErrStale):
		return version, err
	case errors.Is(err, bucket.ErrReadOnly):
		return version, unclaimed(c.db.name(), err)
	case err != nil:
		return version, c.fail("write", err)
	}
	return version + 1, nil
}

// unclaimed is the error for claims that these credentials may not write. Whoever may write them could drop a claim of
// another owner, whose access would then never end; so only those who may write policies may.
func unclaimed(ledger string, err error) error {
	at := ledger + "/" + jit.AllChain
	return jit.Errorf(errors.Join(jit.ErrRefused, err), "ledger", "allow this role to create objects below "+at+
		"/, or have the grant applied by the pipeline that applies the policies",
		"this platform holds no marker, so the ledger records in %s whose access it is, and these credentials may not "+
			"write there; nothing was given", at)
}

// moveVersion moves the version of the claims of a scope on by one, and locks it. The error is [jit.ErrStale] if
// another version is recorded.
func moveVersion(ctx context.Context, tx *sql.Tx, place, scope string, version int64) error {
	move := "UPDATE jit_mark_scopes SET version = version + 1 WHERE place = $1 AND scope = $2 AND version = $3"
	if version == 0 { // a scope without a row
		move = "INSERT INTO jit_mark_scopes (place, scope, version) VALUES ($1, $2, $3 + 1) ON CONFLICT DO NOTHING"
	}
	done, err := tx.ExecContext(ctx, move, place, scope, version)
	if err != nil {
		return err
	}
	if moved, err := done.RowsAffected(); err != nil || moved == 1 {
		return err
	}
	return fmt.Errorf("write the claims of %s: version %d, which was read, is not the recorded one: %w",
		scope, version, jit.ErrStale)
}
