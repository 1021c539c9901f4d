// Package pgsession pins the settings of PostgreSQL sessions. A role, a database and the server can each define
// defaults for sessions: the owner of a database may set search_path for everyone who connects to it. Statements that
// run with such defaults can call someone else's functions with our rights.
package pgsession

import (
	"context"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Catalog is the search path of sessions whose statements qualify every name.
const Catalog = "pg_catalog, pg_temp"

// setting is a setting and its value in our transactions.
type setting struct{ name, value string }

// settings lists what any role or database owner may change and what alters the meaning, the duration or the side
// effects of our statements. It omits settings that need a superuser (session_replication_role, event_triggers,
// session_preload_libraries), because a superuser has our rights already. Planner settings change no result, and BEGIN
// states what default_transaction_* would decide.
var settings = []setting{
	// What statements mean.
	{"row_security", "on"},
	{"standard_conforming_strings", "on"},
	{"transform_null_equals", "off"},
	{"array_nulls", "on"},
	{"client_encoding", "UTF8"},
	// How values are written.
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"},
	// How long they may take. The caller's context limits a statement. A client that vanishes inside a transaction must
	// not hold its locks until TCP times out.
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"transaction_timeout", "0"}, // since 17
	{"idle_in_transaction_session_timeout", "30000"},
	// What they leave behind.
	{"exit_on_error", "off"},      // a refused statement must not end the session and all that is with it
	{"createrole_self_grant", ""}, // since 16: creating a role must not make us a member of it
}

// Pin returns the statements that pin the settings until the end of the transaction. Run them first after BEGIN. They
// qualify every function and operator, so earlier settings do not change their meaning. path is the search_path, role
// the role of the transaction; an empty role means the one that logged in. The statements skip settings that the server
// does not know. Ignore the rows that they return.
func Pin(path, role string) []string {
	if role == "" {
		role = "none"
	}
	var b strings.Builder
	b.WriteString("SELECT pg_catalog.set_config(s.name, s.value, true) FROM (VALUES ")
	for i, s := range append([]setting{{"search_path", path}, {"role", role}}, settings...) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + Literal(s.name) + "::pg_catalog.text, " + Literal(s.value) + "::pg_catalog.text)")
	}
	// If the server lost a commit in a crash, it would undo a revocation. Stricter values stay.
	b.WriteString(", ('synchronous_commit'::pg_catalog.text, CASE WHEN " +
		"pg_catalog.current_setting('synchronous_commit', true)" +
		" OPERATOR(pg_catalog.=) 'off' THEN 'local' ELSE pg_catalog.current_setting('synchronous_commit', true) END))" +
		" AS s (name, value) WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL")
	// The second statement can exceed a statement_timeout that someone has set very low.
	return []string{"SET LOCAL statement_timeout = 0", b.String()}
}

// Guard pins the settings for the query by which pgconn checks target_session_attrs of the URL on a new connection: it
// calls a function by its bare name. Call Guard before the first connection.
func Guard(config *pgconn.Config, pin []string) {
	validate := config.ValidateConnect
	if validate == nil {
		return
	}
	config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if _, err := conn.Exec(ctx, "BEGIN; "+strings.Join(pin, "; ")).ReadAll(); err != nil {
			return err
		}
		if err := validate(ctx, conn); err != nil {
			return err // pgconn closes the connection
		}
		_, err := conn.Exec(ctx, "ROLLBACK").ReadAll()
		return err
	}
}

var (
	option  = regexp.MustCompile(`(?:^|\s)(?:-c\s*|--)([a-z_]+)=((?:\\.|[^\s\\])*)`)
	escaped = regexp.MustCompile(`\\(.)`)
)

// Parameter returns the value of a setting in the parameters of the connection URL, given directly or in options; empty
// if it is not there. The author of the URL chose it.
func Parameter(parameters map[string]string, name string) string {
	value := parameters[name]
	for _, o := range option.FindAllStringSubmatch(parameters["options"], -1) {
		if value == "" && o[1] == name {
			value = escaped.ReplaceAllString(o[2], "$1")
		}
	}
	return value
}

// Literal writes text as an SQL string constant that does not depend on standard_conforming_strings.
func Literal(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
