package ledger_test

import (
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// trapSQL shadows the functions, operators and tables that the ledger's statements use. A called trap advances a
// sequence.
const trapSQL = `
CREATE SCHEMA evil;
CREATE SEQUENCE evil.sprung;
DO $do$ DECLARE p record; body text := 'BEGIN PERFORM nextval(''evil.sprung''); RAISE EXCEPTION ''sprung''; END';
BEGIN
	FOR p IN SELECT proname, pg_get_function_identity_arguments(oid) AS args, prorettype::regtype AS gives
		FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0 AND NOT proretset
			AND proname IN ('clock_timestamp', 'now', 'set_config', 'current_setting', 'to_regclass', 'texteq', 'int8eq', 'int8le', 'int8ge', 'int8lt', 'int8gt', 'int84eq', 'int48eq', 'length', 'abs', 'pg_is_in_recovery')
	LOOP BEGIN
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', p.proname, p.args, p.gives, body);
	EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
	FOR p IN SELECT o.oprname, f.proname, o.oprleft::regtype AS l, o.oprright::regtype AS r
		FROM pg_operator o JOIN pg_proc f ON f.oid = o.oprcode WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
	LOOP BEGIN
		EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.%I)', p.oprname, p.l, p.r, p.proname);
	EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;
END $do$;
CREATE TABLE evil.jit_grants (LIKE public.jit_grants);
CREATE TABLE evil.jit_ledger (LIKE public.jit_ledger);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT ALL ON SEQUENCE evil.sprung TO PUBLIC`

// TestTheOwnerOfTheDatabaseHasNoPartInTheLedger sets hostile defaults as the database's owner. The owner's code does
// not run with the rights of the ledger's sessions, and these sessions do not use the owner's tables.
func TestTheOwnerOfTheDatabaseHasNoPartInTheLedger(t *testing.T) {
	server := testenv.Postgres(t)
	at := server.Database(t)
	first := open(t, at)
	g := ledgertest.Grant(1)
	write(t, first, jit.Entry{Grant: &g})

	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	database, owner := strings.TrimPrefix(u.Path, "/"), "dbo_"+strings.ToLower(rand.Text()[:8])
	super := raw(t, at)
	run(t, super, "CREATE ROLE "+owner+" LOGIN PASSWORD 'x'", "ALTER DATABASE "+database+" OWNER TO "+owner,
		"GRANT SELECT ON jit_grants, jit_ledger TO "+owner)
	t.Cleanup(func() { // the role can be dropped once it owns no database
		run := raw(t, server.URL)
		_, _ = run.Exec("ALTER DATABASE " + database + " OWNER TO superuser")
		_, _ = super.Exec("DROP OWNED BY " + owner + " CASCADE")
		_, _ = run.Exec("DROP ROLE " + owner)
	})
	u.User = url.UserPassword(owner, "x")
	dbo := raw(t, u.String()+"&default_query_exec_mode=simple_protocol")
	run(t, dbo, trapSQL)
	for _, set := range []string{"search_path = evil, pg_catalog, public", "role = " + owner, "default_transaction_read_only = on", "exit_on_error = on",
		"transform_null_equals = on", "array_nulls = off", "TimeZone = 'Asia/Kathmandu'", "DateStyle = 'SQL, DMY'", "lock_timeout = 1", "statement_timeout = 500"} {
		run(t, dbo, "ALTER DATABASE "+database+" SET "+set)
	}

	for i, at := range []string{at, at + "&target_session_attrs=primary", server.Pooler(t, database)} {
		among(t, open(t, at), g.ID, ledgertest.Grant(2+i))
	}
	var sprung bool
	if err := super.QueryRow("SELECT is_called FROM evil.sprung").Scan(&sprung); err != nil || sprung {
		t.Errorf("the owner's code ran: %t, %v", sprung, err)
	}
}

// among reads the first grant of a ledger and writes another.
func among(t *testing.T, l *ledger.Ledger, first jit.ID, more jit.Grant) {
	t.Helper()
	if _, ok, err := l.Lookup(t.Context(), first); !ok || err != nil {
		t.Fatalf("the record is found: %t, %v", ok, err)
	}
	write(t, l, jit.Entry{Grant: &more})
	for _, err := range l.Grants(t.Context(), jit.Filter{}) {
		if err != nil {
			t.Error(err)
		}
	}
	if now, _, err := l.Clock(t.Context()); err != nil || time.Since(now).Abs() > time.Minute {
		t.Errorf("the clock says %s, %v", now, err)
	}
	verify(t, l)
}

// TestALedgerThatOnlyADefaultFinds has a ledger that only a default search_path finds, not the URL. Defaults are
// ignored, and the ledger does not read as empty.
func TestALedgerThatOnlyADefaultFinds(t *testing.T) {
	server := testenv.Postgres(t)
	at := server.Database(t)
	run(t, raw(t, at), "CREATE SCHEMA apart")
	in := at + "&search_path=apart"
	g := ledgertest.Grant(1)
	write(t, open(t, in), jit.Entry{Grant: &g})
	if _, ok, err := open(t, in).Lookup(t.Context(), g.ID); !ok || err != nil {
		t.Errorf("the record is found: %t, %v", ok, err)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	run(t, raw(t, at), "ALTER DATABASE "+strings.TrimPrefix(u.Path, "/")+" SET search_path = apart")
	_, _, err = open(t, at).Lookup(t.Context(), g.ID)
	if err == nil || errors.Is(err, jit.ErrInvalid) || !strings.Contains(err.Error(), "?search_path=apart") {
		t.Errorf("the error is %v, want one with the setting to write", err)
	}
}
