package lifetest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// database is a database with a table that only members of a role may read, and a colleague who is a member.
type database struct {
	url string // as superuser
	// tag is the suffix of every role's name, because tests share the server.
	tag string
}

const passwordOfAll = "correct horse"

func newDatabase(t *testing.T) place {
	t.Helper()
	d := &database{url: testenv.Postgres(t).Database(t), tag: strings.ToLower(rand.Text()[:10])}
	colleague := "colleague-" + d.tag
	d.exec(t, fmt.Sprintf(`CREATE ROLE %q NOLOGIN`, d.role()))
	d.exec(t, fmt.Sprintf(`CREATE ROLE %q LOGIN`, colleague))
	d.exec(t, fmt.Sprintf(`GRANT %q TO %q WITH ADMIN OPTION`, d.role(), colleague))
	d.exec(t, fmt.Sprintf(`COMMENT ON ROLE %q IS 'jit:is a colleague'`, colleague))
	d.exec(t, `CREATE TABLE accounts AS SELECT 42 AS balance`)
	d.exec(t, fmt.Sprintf(`GRANT SELECT ON accounts TO %q`, d.role()))
	t.Cleanup(func() {
		d.drop(t)
		d.exec(t, fmt.Sprintf(`DO $$ DECLARE r text; BEGIN
			FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE '%%-%s' LOOP
				EXECUTE format('DROP OWNED BY %%I CASCADE', r); EXECUTE format('DROP ROLE %%I', r);
			END LOOP; END $$`, d.tag))
	})
	return d
}

func (d *database) target() string         { return fmt.Sprintf("{ postgresql = { url = %q } }", d.url) }
func (d *database) role() string           { return "readers-" + d.tag }
func (d *database) scope() string          { return "cluster" }
func (d *database) native() bool           { return false }
func (d *database) begins() bool           { return false }
func (d *database) settles() time.Duration { return 0 }

// ask runs a query with a single value as its answer, as the user of the URL.
func ask(url, query string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // cleanups outlive the test's context
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var answer *string
	if err := conn.QueryRow(ctx, query).Scan(&answer); err != nil || answer == nil {
		return "", err
	}
	return *answer, nil
}

func (d *database) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := ask(d.url, sql); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (d *database) people(t *testing.T, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("person%s-%s", strings.ToLower(rand.Text()[:8]), d.tag)
		d.exec(t, fmt.Sprintf(`CREATE ROLE %q LOGIN PASSWORD '%s'`, all[i], passwordOfAll))
	}
	return all
}

func (d *database) tries(t *testing.T, principal string) bool {
	t.Helper()
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(principal, passwordOfAll)
	balance, err := ask(u.String(), "SELECT balance::text FROM accounts")
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "42501":
		return false
	case err != nil || balance != "42":
		t.Fatalf("query as %s: %q, %v", principal, balance, err)
	}
	return true
}

// wrappers selects our roles for this place, mine the place's own roles.
const selects = `WITH mine AS (SELECT oid FROM pg_roles WHERE rolname LIKE '%%-%s'),
	wrappers AS (SELECT w.oid, w.rolname FROM pg_roles w WHERE w.rolname LIKE 'jit:%%' AND EXISTS
		(SELECT FROM pg_auth_members m JOIN mine ON mine.oid IN (m.roleid, m.member) WHERE w.oid IN (m.roleid, m.member))),
	concerned AS (SELECT oid FROM mine %s) `

// describe lists the roles and memberships with the transactions that wrote them.
const describe = `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
	SELECT format('role %%s: %%s, written by %%s', r.rolname, shobj_description(r.oid, 'pg_authid'), to_jsonb(r) || jsonb_build_object('xmin', r.xmin::text)) AS line
		FROM pg_authid r WHERE r.oid IN (SELECT oid FROM concerned)
	UNION ALL
	SELECT format('%%s is a member of %%s: %%s, written by %%s', m.member::regrole, m.roleid::regrole, to_jsonb(m), m.xmin)
		FROM pg_auth_members m WHERE m.roleid IN (SELECT oid FROM concerned) AND m.member IN (SELECT oid FROM concerned)
	UNION ALL
	SELECT format('table: %%s, written by %%s', relacl, xmin) FROM pg_class WHERE relname = 'accounts') AS lines`

func (d *database) list(t *testing.T, and, query string) string {
	t.Helper()
	answer, err := ask(d.url, fmt.Sprintf(selects, d.tag, and)+strings.ReplaceAll(query, "%%", "%"))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func (d *database) foreign(t *testing.T) string { return d.list(t, "", describe) }

func (d *database) dump(t *testing.T) string {
	return d.list(t, "UNION SELECT oid FROM wrappers", describe)
}

func (d *database) marked(t *testing.T) int {
	t.Helper()
	return len(d.list(t, "", "SELECT repeat('x', count(*)::int) FROM wrappers"))
}

func (d *database) tamper(t *testing.T) {
	t.Helper()
	d.exec(t, fmt.Sprintf(`DO $$ DECLARE r record; BEGIN
		FOR r IN SELECT w.rolname AS wrapper, p.rolname AS principal FROM pg_auth_members a
			JOIN pg_roles w ON w.oid = a.roleid JOIN pg_roles p ON p.oid = a.member
			WHERE w.rolname LIKE 'jit:%%' AND p.rolname LIKE '%%-%s' LOOP
			EXECUTE format('REVOKE %%I FROM %%I', r.wrapper, r.principal);
		END LOOP; END $$`, d.tag))
}

// drop removes the roles that have our marker.
func (d *database) drop(t *testing.T) {
	t.Helper()
	names := d.list(t, "", "SELECT string_agg(quote_ident(rolname), ', ') FROM wrappers")
	if names != "" {
		d.exec(t, "DROP ROLE "+names)
	}
}
