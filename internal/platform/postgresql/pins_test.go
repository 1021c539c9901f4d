package postgresql

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// trapSQL makes a schema of traps: each function, operator and type of pg_catalog that a non-superuser can
// imitate, with the same signature. A trap that is called counts itself and hands the caller's rights over. %r is the
// role that the owner of the database wants, %o the owner.
const trapSQL = `
CREATE SCHEMA evil;
CREATE SEQUENCE evil.sprung;
DO $do$ DECLARE p record; body text := $b$ BEGIN
	PERFORM pg_catalog.nextval('evil.sprung'); EXECUTE 'GRANT %r TO %o'; RAISE EXCEPTION 'sprung'; END $b$;
BEGIN
	FOR p IN SELECT proname, pg_get_function_identity_arguments(oid) AS args, proretset, prorettype::regtype AS gives
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0
	LOOP BEGIN
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', p.proname, p.args,
			CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || p.gives, body);
	EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
	FOR p IN SELECT o.oprname, f.proname, o.oprleft::regtype AS l, o.oprright::regtype AS r
		FROM pg_operator o JOIN pg_proc f ON f.oid = o.oprcode WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
	LOOP BEGIN
		EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.%I)', p.oprname, p.l, p.r, p.proname);
	EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
	FOR p IN SELECT unnest(ARRAY['text', 'name', 'regclass', 'oid', 'bool']) AS n LOOP
		EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.point', p.n);
	END LOOP;
END $do$;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT ALL ON SEQUENCE evil.sprung TO PUBLIC`

// trapped is a site whose database belongs to somebody who has set traps in it.
func trapped(t *testing.T) (s *site, owner string, sprung func() bool) {
	t.Helper()
	s = newSite(t)
	database := databaseOf(t, s.url)
	owner = "dbo_" + database
	s.role(t, owner, "LOGIN PASSWORD "+pgsession.Literal(password))
	s.exec(t, "ALTER DATABASE "+database+" OWNER TO "+owner)
	t.Cleanup(func() { s.exec(t, "ALTER DATABASE "+database+" OWNER TO superuser") })
	dbo := connect(t, s.as(owner))
	for _, sql := range []string{
		strings.NewReplacer("%r", strings.ReplaceAll(quote(s.roles[0]), "'", "''"), "%o", owner).Replace(trapSQL),
		"ALTER DATABASE " + database + " SET search_path = evil, pg_catalog, public",
		"ALTER DATABASE " + database + " SET role = " + owner,
		"ALTER DATABASE " + database + " SET exit_on_error = on",
		"ALTER DATABASE " + database + " SET default_transaction_read_only = on",
		"ALTER DATABASE " + database + " SET default_transaction_isolation = serializable",
		"ALTER DATABASE " + database + " SET transform_null_equals = on",
		"ALTER DATABASE " + database + " SET array_nulls = off",
		"ALTER DATABASE " + database + " SET DateStyle = 'SQL, DMY'",
		"ALTER DATABASE " + database + " SET bytea_output = 'escape'",
		"ALTER DATABASE " + database + " SET standard_conforming_strings = off",
	} {
		if _, err := dbo.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return s, owner, func() bool {
		t.Helper()
		called := s.text(t, "SELECT is_called::text FROM evil.sprung") == "true"
		member := s.text(t, "SELECT count(*)::text FROM pg_auth_members WHERE member = $1::regrole", owner) != "0"
		return called || member
	}
}

// TestTheOwnerOfTheDatabaseGetsNothing: what the owner of a database sets for everybody's sessions neither
// runs with the rights of the admin role, nor keeps access from beginning and ending.
func TestTheOwnerOfTheDatabaseGetsNothing(t *testing.T) {
	own := func(t *testing.T, s *site, admin string) { // what the admin role itself has as its defaults
		for _, set := range []string{"client_encoding = 'LATIN1'", "statement_timeout = 100", "lock_timeout = 1",
			"idle_in_transaction_session_timeout = 100"} {
			s.exec(t, "ALTER ROLE "+admin+" IN DATABASE "+databaseOf(t, s.url)+" SET "+set)
		}
	}
	for _, c := range []struct {
		name  string
		admin func(t *testing.T, s *site) *Platform
	}{
		{"superuser", func(t *testing.T, s *site) *Platform {
			own(t, s, s.server.User)
			return s.open(t)
		}},
		{"superuser who asks for the primary", func(t *testing.T, s *site) *Platform {
			return s.openAs(t, s.url+"&target_session_attrs=primary", time.Now)
		}},
		{"superuser through a pooler", func(t *testing.T, s *site) *Platform {
			own(t, s, s.server.User)
			return s.openAs(t, s.server.Pooler(t, databaseOf(t, s.url)), time.Now)
		}},
		{"CREATEROLE", func(t *testing.T, s *site) *Platform {
			p := s.adminOf(t, "operator", "CREATEROLE", quote(s.roles[0]), "pg_signal_backend")
			own(t, s, "operator"+databaseOf(t, s.url))
			return p
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, owner, sprung := trapped(t)
			p := c.admin(t, s)
			for i := range 2 {
				a := s.access(i, 0, "among traps")
				apply(t, p, ensured(a))
				wantWhole(t, p, a)
				if sprung() {
					t.Fatalf("%s is a member of %q, or code of theirs ran", owner, s.roles[0])
				}
				s.exec(t, "ALTER ROLE "+quote(a.Binding.Principal)+" SET search_path = public") // to look at the table
				if !s.allowed(t, a.Binding) {
					t.Error("no access inside the window")
				}
				a.TerminateSessions = true
				session := connect(t, s.as(a.Binding.Principal))
				apply(t, p, removed(a))
				if !ended(t, session) {
					t.Error("the session lives on")
				}
				if _, there := observed(t, p, a); there || s.allowed(t, a.Binding) {
					t.Error("access lives on")
				}
			}
			if sprung() {
				t.Errorf("%s is a member of %q, or code of theirs ran", owner, s.roles[0])
			}
		})
	}
}

// TestStatementsNameEverythingInFull runs the statements without the pin, in a session that finds the traps first.
func TestStatementsNameEverythingInFull(t *testing.T) {
	s, _, sprung := trapped(t)
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("role", s.server.User)
	q.Set("exit_on_error", "off")
	u.RawQuery = q.Encode()
	session := connect(t, u.String())
	run := func(sql string, args ...any) error {
		tx, err := session.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(t.Context()) }()
		rows, err := tx.Query(t.Context(), sql, append([]any{pgx.QueryExecModeExec}, args...)...)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return rows.Err()
	}
	names := []string{s.principals[0]}
	for _, c := range []struct {
		sql  string
		args []any
	}{
		{pgsession.Pin(pgsession.Catalog, "")[1], nil},
		{turnSQL, nil},
		{clockSQL, nil},
		{allRoles, nil},
		{namedRoles, []any{names}},
		{membershipsQuery(s.server.Major), nil},
		{namedMemberships(s.server.Major), []any{names}},
		{holdersSQL, []any{names}},
		{includedSQL, []any{names[0]}},
		{terminateSQL, []any{"nobody"}},
	} {
		if err := run(c.sql, c.args...); err != nil || sprung() {
			t.Errorf("%s\nsprang a trap: %v", c.sql, err)
		}
	}
	for _, sql := range []string{"SELECT clock_timestamp()", "SELECT 1::pg_catalog.oid = 1::pg_catalog.oid",
		"SELECT 'x'::text"} {
		if run(sql) == nil {
			t.Errorf("%s sprang no trap, so this test shows nothing", sql)
		}
	}
}

func TestARoleInTheURLIsKept(t *testing.T) {
	s := newSite(t)
	name := "hat" + databaseOf(t, s.url)
	s.role(t, name, "SUPERUSER NOLOGIN")
	s.exec(t, "CREATE ROLE plain"+name+" LOGIN PASSWORD "+pgsession.Literal(password)+" IN ROLE "+name)
	t.Cleanup(func() { s.exec(t, "DROP ROLE plain"+name) })
	a := s.access(0, 0, "with a hat")
	apply(t, s.openAs(t, s.as("plain"+name)+"&role="+name, time.Now), ensured(a), removed(a))
}
