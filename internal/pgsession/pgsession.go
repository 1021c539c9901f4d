// Package pgsession pins the settings of PostgreSQL sessions. A role, a database and
// the server can each hold defaults for the sessions of others: the owner of a database
// may set search_path for whoever connects to it. Statements that run with such defaults
// can call another person's functions with our rights.
package pgsession

import (
	"context"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Catalog is the search path of a session that names everything in full.
const Catalog = "pg_catalog, pg_temp"

// setting is one setting and the value that a transaction of ours has for it.
type setting struct{ name, value string }

// settings are those that any role, or the owner of a database, may change, and that
// alter what our statements mean, how long they may take, or what they leave behind. Left
// out are those that need a superuser (session_replication_role, event_triggers, session_preload_libraries):
// whoever can set them has our rights already. Settings of the planner change no result, and BEGIN names
// what default_transaction_* would decide.
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
	// How long they may take. The caller's context bounds a statement; a client that vanished inside a
	// transaction must not keep its locks until TCP gives up on it.
	{"statement_timeout", "0"},
	{"lock_timeout", "0"},
	{"transaction_timeout", "0"}, // since 17
	{"idle_in_transaction_session_timeout", "30000"},
	// What they leave behind.
	{"exit_on_error", "off"},      // a refused statement must not end the session and all that is with it
	{"createrole_self_grant", ""}, // since 16: creating a role must not make us a member of it
}

// Pin returns the statements that pin the settings until the end of the transaction. They are
// the first ones after BEGIN, and they mean the same whatever the settings are before them: each
// function and operator is named in full. path is the search_path and role the role that the
// transaction acts as; an empty role stands for the one that logged in. A setting that the server does not
// know is passed over. The rows that the statements return say nothing.
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
		b.WriteString("(" + literal(s.name) + "::pg_catalog.text, " + literal(s.value) + "::pg_catalog.text)")
	}
	// A commit that the server could forget in a crash would be a revocation that comes undone. Stricter values stay.
	b.WriteString(", ('synchronous_commit'::pg_catalog.text, CASE WHEN pg_catalog.current_setting('synchronous_commit', true)" +
		" OPERATOR(pg_catalog.=) 'off' THEN 'local' ELSE pg_catalog.current_setting('synchronous_commit', true) END))" +
		" AS s (name, value) WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL")
	// The second statement can take longer than a statement_timeout that somebody chose so that it does.
	return []string{"SET LOCAL statement_timeout = 0", b.String()}
}

// Guard pins the settings under which a new connection is asked what it leads to, where target_session_attrs
// of the URL wants that: pgconn asks by the name of a function alone. It is called before the first connection.
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

// Parameter returns what the connection's own parameters, those of its URL, say of a setting, by itself or in
// options; empty when they say nothing. Whoever wrote the URL chose it.
func Parameter(parameters map[string]string, name string) string {
	value := parameters[name]
	for _, o := range option.FindAllStringSubmatch(parameters["options"], -1) {
		if value == "" && o[1] == name {
			value = escaped.ReplaceAllString(o[2], "$1")
		}
	}
	return value
}

// literal writes a text as an SQL string constant that reads the same whatever
// standard_conforming_strings says.
func literal(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
