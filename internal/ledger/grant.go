package ledger

import (
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// grantColumns are the columns of the record.
var grantColumns = []string{
	"id", "owner", "target", "principal", "role", "scope", "reason", "renewal",
	"ttl", "starts_at", "expires_at", "start_by", "policy", "terminate_sessions", "enforcement", "session_tail",
	"requested_at", "granted_at", "failed_at", "revoked_at", "revoked_by", "revoke_reason", "ended_at",
	"holder", "version", "alone", "announced_end", "open_drift", "failure", "remains", "principal_name", "start_asked",
	"requester", "break_glass", "signed_off_at", "signed_off_by", "awaits",
}

// laterColumns are the columns that a migration added: in which schema version, and the value that replaces the column
// in an older schema.
var laterColumns = map[string]struct {
	schema int
	absent string
}{
	"alone":          {2, "0"},
	"announced_end":  {4, "NULL"},
	"open_drift":     {4, "''"},
	"failure":        {6, "''"},
	"remains":        {8, "''"},
	"principal_name": {9, "''"},
	"start_asked":    {9, "''"},
	"requester":      {10, "''"},
	"break_glass":    {11, "0"},
	"signed_off_at":  {11, "NULL"},
	"signed_off_by":  {11, "''"},
	"awaits":         {11, "''"},
}

// columnsOf lists grantColumns for a ledger of that schema version.
func columnsOf(schema int) string {
	columns := slices.Clone(grantColumns)
	for i, c := range columns {
		if later, ok := laterColumns[c]; ok && schema < later.schema {
			columns[i] = later.absent
		}
	}
	return strings.Join(columns, ", ")
}

// indexed are the facts of a grant whose columns have an index of their own and rarely change.
type indexed struct {
	owner, target, principal, scope string
	end                             int64
}

func indexedOf(g *jit.Grant) indexed {
	return indexed{text(g.Owner), text(g.Target), text(g.Principal), text(g.Scope), g.End.UnixMicro()}
}

// replaceGrant updates a recorded grant.
var replaceGrant = " ON CONFLICT (id) DO UPDATE SET " + excluded(without(grantColumns, "id"))

// factColumns are the columns of a grant whose indexed facts stay as they are, with id first. SQLite
// rewrites each index with a column that is set, even to the same value.
var factColumns = without(grantColumns, "owner", "target", "principal", "scope", "expires_at")

// factsOf returns the values of factColumns in a row of grantColumns.
func factsOf(row []any) []any {
	facts := make([]any, 0, len(factColumns))
	for i, c := range grantColumns {
		if len(facts) < len(factColumns) && c == factColumns[len(facts)] {
			facts = append(facts, row[i])
		}
	}
	return facts
}

// without returns the columns except some.
func without(columns []string, except ...string) []string {
	return slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return slices.Contains(except, c) })
}

// excluded sets each column to the value of the row that an insert could not insert.
func excluded(columns []string) string {
	set := make([]string, len(columns))
	for i, c := range columns {
		set[i] = c + " = excluded." + c
	}
	return strings.Join(set, ", ")
}

// grantRow returns the values of grantColumns.
func grantRow(g *jit.Grant) []any {
	row := []any{
		string(g.ID), g.Owner, g.Target, g.Principal, g.Role, g.Scope, g.Reason, g.Renewal,
		g.TTL.String(), g.Start.UnixMicro(), g.End.UnixMicro(), instant(g.StartBy), g.Policy,
		flag(g.TerminateSessions), string(g.Enforcement), int64(g.SessionTail),
		g.RequestedAt.UnixMicro(), instant(g.GrantedAt), instant(g.FailedAt), instant(g.RevokedAt),
		g.RevokedBy, g.RevokeReason, instant(g.EndedAt), g.Holder, g.Version, flag(g.NoStandingBefore),
		instant(g.AnnouncedEnd), string(g.OpenDrift), g.Failure, g.Remains, g.PrincipalName, g.StartAsked,
		g.Requester, flag(g.BreakGlass), instant(g.SignedOffAt), g.SignedOffBy, g.Awaits,
	}
	for i, value := range row {
		if s, ok := value.(string); ok {
			row[i] = text(s)
		}
	}
	return row
}

// readGrant reads a row of grantColumns.
func readGrant(rows *sql.Rows) (jit.Grant, error) { return scanGrant(rows) }

// scanGrant reads a row of grantColumns, after the columns that go into before.
func scanGrant(rows *sql.Rows, before ...any) (jit.Grant, error) {
	var g jit.Grant
	var ttl string
	var start, end, requested, terminate, tail, alone, glass int64
	var startBy, granted, failed, revoked, ended, announced, signedOff sql.NullInt64
	err := rows.Scan(append(before, &g.ID, &g.Owner, &g.Target, &g.Principal, &g.Role, &g.Scope, &g.Reason, &g.Renewal,
		&ttl, &start, &end, &startBy, &g.Policy, &terminate, &g.Enforcement, &tail, &requested, &granted, &failed,
		&revoked, &g.RevokedBy, &g.RevokeReason, &ended, &g.Holder, &g.Version, &alone, &announced, &g.OpenDrift,
		&g.Failure, &g.Remains, &g.PrincipalName, &g.StartAsked,
		&g.Requester, &glass, &signedOff, &g.SignedOffBy, &g.Awaits)...)
	g.Window = jit.Window{Start: time.UnixMicro(start).UTC(), End: time.UnixMicro(end).UTC()}
	g.Reason, g.TTL = jit.RecordedReason(g.Reason), jit.RecordedTTL(ttl)
	g.StartBy = moment(startBy)
	g.TerminateSessions, g.BreakGlass = terminate != 0, glass != 0
	g.SignedOffAt = moment(signedOff)
	g.SessionTail, g.NoStandingBefore = time.Duration(tail), alone != 0
	g.RequestedAt = time.UnixMicro(requested).UTC()
	g.GrantedAt, g.FailedAt, g.RevokedAt, g.EndedAt = moment(granted), moment(failed), moment(revoked), moment(ended)
	g.AnnouncedEnd = moment(announced)
	return g, err
}

// instant is the stored form of a time that may be unknown.
func instant(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func moment(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}

// flag is a truth value in a form that both databases have.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// text replaces characters that PostgreSQL refuses to store. A fact with a broken character, such as a platform's error
// message, must be recorded all the same.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
