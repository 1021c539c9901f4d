package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The statements that a daemon runs every second use an index on either database.
func TestDueWorkIsFoundByAnIndex(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		explainDue(t, "sqlite://"+t.TempDir()+"/ledger.db", "EXPLAIN QUERY PLAN ", "SCAN jit_grants\n", "SCAN jit_due\n", "SCAN g\n", "SCAN d\n")
	})
	t.Run("postgres", func(t *testing.T) {
		explainDue(t, testenv.Postgres(t).Database(t), "EXPLAIN ", "Seq Scan on jit_grants", "Seq Scan on jit_due")
	})
}

func explainDue(t *testing.T, url, explain string, scans ...string) {
	l, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	now := time.Now().Truncate(time.Second)
	const size = 20_000
	entries := make([]jit.Entry, size)
	for i := range entries {
		b := jit.Binding{
			Target:    fmt.Sprint("target-", i%10),
			Principal: fmt.Sprint("user-", i),
			Role:      "reader",
			Scope:     fmt.Sprint("scope-", i%100),
		}
		g := jit.Grant{
			Owner:       fmt.Sprint("team-", i%20),
			Binding:     b,
			Reason:      "INC-1",
			Renewal:     1,
			TTL:         jit.RecordedTTL("1h"),
			RequestedAt: now,
			GrantedAt:   now,
			Window:      jit.Window{Start: now.Add(-time.Hour), End: now.Add(time.Duration(i+1) * time.Second)},
		}
		if i%2 == 0 {
			g.EndedAt = now
		}
		g.ID = jit.NewID(g.Owner, b, g.Reason, 1)
		entries[i].Grant = &g
	}
	for i := range size {
		entries[i].Events = []jit.Event{{Kind: jit.EventGranted, Grant: entries[i].Grant.ID}}
		if i%1000 == 0 {
			detail := map[string]string{jit.RunDetail: fmt.Sprint(i)}
			entries[i] = jit.Entry{Events: []jit.Event{{Kind: jit.EventPersonChanged, Detail: detail}}}
		}
	}
	for some := range slices.Chunk(entries, 1000) { // a write has its time limit, on a busy machine too
		for _, err := range l.Write(t.Context(), some) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if strings.HasPrefix(url, "postgres") { // a server does this by itself, but later
		db, err := l.db.writer(t.Context())
		if err == nil {
			_, err = db.ExecContext(t.Context(), "ANALYZE")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := l.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := now.UnixMicro()
	for _, owners := range []jit.Owners{nil, {"team-1"}, {"team-1", "team-2"}} {
		with, args := withOwners(l.dueTable(), owners, []any{at, int64(leasesLooked)})
		planned(t, db, explain, with+nextDueQuery(l.dueTable()), args, scans)
		with, args = withOwners(l.dueTable(), owners, []any{at})
		planned(t, db, explain, with+dueOwnersQuery(l.dueTable()), args, scans)
	}
	planned(t, db, explain, ownersQuery, nil, scans)
	planned(t, db, explain, placesQuery(l.dueTable(), l.openGrants())+" LIMIT 1)", []any{at}, scans)
	claim := append([]any{"team-1", at, "holder", int64(10), at, at}, first()...)
	planned(t, db, explain, lockDue+dueOrder+"$4", claim, scans)
	where, args := l.where(jit.Filter{IDPrefix: "3f2b"}, nil)
	planned(t, db, explain, l.selectGrant()+where, args, scans)
	// What a plan asks about policies and persons reads no other events.
	others := []string{"Seq Scan on jit_log", "jit_log_pkey", "SCAN jit_log", "sqlite_autoindex_jit_log_1"}
	planned(t, db, explain, selectFrom(logTable)+" WHERE "+ofChain+ruleEvents+eventsAfter,
		[]any{int64(0), int64(pageSize), jit.AllChain}, others)
	planned(t, db, explain, selectFrom(logTable)+" WHERE chain = '"+jit.AllChain+"' AND "+restoreEvents, nil, others)
	if l.clock == "" {
		planned(t, db, explain, newestQuery, []any{int64(0)}, []string{"TEMP B-TREE", "SCAN l\n"})
		planned(t, db, explain, acceptedQuery, nil, others)
	}
	planned(t, db, explain, changedRules, []any{"a"}, []string{"SCAN jit_runs"})
	where, args = l.where(jit.Filter{Waiting: true}, nil)
	planned(t, db, explain, l.selectGrant()+where+" ORDER BY expires_at, id LIMIT 1000", args,
		[]string{"SCAN jit_grants\n", "Seq Scan on jit_grants", "jit_grants_open", "jit_grants_end", "jit_grants_pkey"})
	if strings.HasPrefix(url, "postgres") {
		return // it chooses by statistics, and sorts few grants rather than follow an index
	}
	// A page of a list reads its own grants only, in the order of an index.
	last := entries[size/2+1].Grant
	for _, f := range []jit.Filter{
		{}, {Open: true}, {Owner: last.Owner}, {Owner: last.Owner, Open: true}, {LiveAt: now},
		{Owner: last.Owner, LiveAt: now}, {Target: last.Target, Open: true}, {Principal: last.Principal, Open: true},
	} {
		bad := []string{"SCAN jit_grants\n", "SCAN g\n", "SCAN d\n", "TEMP B-TREE"}
		if f.Principal != "" { // what one principal has open is sorted
			bad = bad[:3]
		}
		where, args = l.where(f, last)
		planned(t, db, explain, l.selectFor(f)+where+" ORDER BY expires_at, id LIMIT 1000", args, bad)
	}
}

// planned fails the test if the plan of a query has one of these scans.
func planned(t *testing.T, db queryer, explain, query string, args []any, scans []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), explain+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, *cells[len(cells)-1].(*any))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, scan := range scans {
		if strings.Contains(plan.String(), scan) {
			t.Errorf("%s\n%s", query, plan.String())
		}
	}
}
