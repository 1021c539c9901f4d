package ledger_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// lived returns a ledger with a policy and three grants: live, revoked and failed.
func lived(t *testing.T, url string) *ledger.Ledger {
	t.Helper()
	l := open(t, url)
	p := jit.Policy{
		Name:   "oncall",
		Effect: jit.Permit,
		Match:  jit.Matches{{Targets: []string{"bastion"}}},
		MaxTTL: 4 * time.Hour,
		Holder: 1,
	}
	gone := jit.Policy{Name: "gone", Effect: jit.Permit}
	bob := jit.Person{Name: "bob", Groups: []string{"group:leads"}, Holder: 1}
	write(t, l,
		jit.Entry{Policy: &p, Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: p.Name, Detail: p.Facts()}}},
		jit.Entry{Person: &bob, Events: []jit.Event{{Kind: jit.EventPersonChanged, Detail: bob.Facts()}}},
		jit.Entry{
			Policy: &gone,
			Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: gone.Name, Detail: gone.Facts()}},
		},
		jit.Entry{DropPolicy: gone.Name, Events: []jit.Event{{Kind: jit.EventPolicyRemoved, Policy: gone.Name}}},
	)
	for n := range 3 {
		g := ledgertest.Grant(n)
		write(t, l,
			jit.Rewrite(
				jit.Grant{},
				g,
				jit.Event{
					Kind:   jit.EventRequested,
					Grant:  g.ID,
					Detail: map[string]string{"owner": g.Owner, "reason": g.Reason},
				},
			),
		)
		g.Version = 1
		was := g
		switch n {
		case 1:
			g.RevokedAt, g.RevokedBy, g.RevokeReason = ledgertest.Epoch.Add(time.Minute), "bob", "done"
			write(t, l, jit.Rewrite(was, g, jit.Event{Kind: jit.EventRevokeAsked, Grant: g.ID}))
			g.Version, was = 2, g
			g.EndedAt = ledgertest.Epoch.Add(time.Minute + 1234*time.Microsecond)
			was.Version = 2
			write(t, l, jit.Rewrite(was, g, jit.Event{Kind: jit.EventRevoked, Grant: g.ID}))
		case 2:
			g.GrantedAt, g.FailedAt, g.Failure = time.Time{}, ledgertest.Epoch, "no such role"
			write(t, l, jit.Rewrite(was, g, jit.Event{Kind: jit.EventGrantFailed, Grant: g.ID}))
		}
	}
	write(t, l,
		jit.Entry{Events: []jit.Event{{Kind: jit.EventDrift, Grant: ledgertest.Grant(99).ID}}},
	) // an unrecorded binding
	return l
}

// attacks change rows without an event. The second string is in the finding that names the change.
func attacks() map[string][2]string {
	id := func(n int) string { return fmt.Sprintf("id = '%s'", ledgertest.Grant(n).ID) }
	set := func(n int, what string) string { return "UPDATE jit_grants SET " + what + " WHERE " + id(n) }
	all := map[string][2]string{
		"a later end": {set(0, "expires_at = expires_at + 315360000000000"), `expires_at is "2036-`},
		"an end that is not due": {
			"DELETE FROM jit_due WHERE " + id(0),
			`due_at is nothing and the events say "2026-11-23T13:00:00Z"`,
		},
		"an end that is due later": {
			"UPDATE jit_due SET due_at = due_at + 315360000000000 WHERE " + id(0), `due_at is "2036-`,
		},
		"work that only another owner does": {
			"UPDATE jit_due SET owner = 'other' WHERE " + id(0), "its row of due work has another owner",
		},
		"work on another target": {
			"UPDATE jit_due SET target = 'other' WHERE " + id(0), "its row of due work has another target",
		},
		"work that may not start": {
			"UPDATE jit_due SET start_by = 1 WHERE " + id(0), "its row of due work has another start_by",
		},
		"work that may never start": {
			"UPDATE jit_due SET start_by = 0 WHERE " + id(0), "its row of due work has another start_by",
		},
		"work without a grant": {
			"UPDATE jit_due SET id = 'ghost' WHERE " + id(0), "grant ghost: it is due, and there is no such grant",
		},
		"an earlier beginning": {set(0, "starts_at = starts_at - 1000000"), `starts_at is "2026-11-23T11:59:59Z"`},
		"another principal": {
			set(0, "principal = 'user:mallory@example.com'"),
			`principal is "user:mallory@example.com" and the events say "user:alice@example.com"`,
		},
		"another role":   {set(0, "role = 'root'"), `role is "root"`},
		"another scope":  {set(0, "scope = 'other'"), `scope is "other"`},
		"another target": {set(0, "target = 'other'"), `target is "other"`},
		"another owner":  {set(0, "owner = 'other'"), `owner is "other"`},
		"another reason": {
			set(0, "reason = 'none of your business'"),
			`reason is "none of your business" and the events say "INC-0: look"`,
		},
		"another renewal": {set(0, "renewal = 7"), `renewal is "7"`},
		"another policy":  {set(0, "policy = 'laxer'"), `policy is "laxer" and the events say nothing`},
		"a forged revocation": {
			set(0, "revoked_at = starts_at, revoked_by = 'ghost'"),
			`revoked_by is "ghost" and the events say nothing`,
		},
		"a revocation undone": {
			set(1, "revoked_at = NULL, ended_at = NULL"),
			`revoked_at is nothing and the events say "2026-11-23T12:01:00Z"`,
		},
		"another revoker": {set(1, "revoked_by = 'carol'"), `revoked_by is "carol" and the events say "bob"`},
		"an end unconfirmed": {
			set(1, "ended_at = NULL"),
			`ended_at is nothing and the events say "2026-11-23T12:01:00.001234Z"`,
		},
		"sessions spared":    {set(0, "terminate_sessions = 1"), `terminate_sessions is "true"`},
		"another requester":  {set(0, "requester = 'mallory'"), `requester is "mallory" and the events say nothing`},
		"enforced by nobody": {set(0, "enforcement = 'sweeper'"), `enforcement is "sweeper"`},
		"a failure that worked": {
			set(2, "granted_at = starts_at"),
			`granted_at is "2026-11-23T12:00:00Z" and the events say nothing`,
		},
		"a failure with no error": {set(2, "failure = ''"), `failure is nothing and the events say "no such role"`},
		"a grant removed":         {"DELETE FROM jit_grants WHERE " + id(0), "its row was removed"},
		"a grant renamed": {
			set(0, "id = 'ffffffff-0000-8000-8000-000000000000'"),
			"grant ffffffff-0000-8000-8000-000000000000: it has no event",
		},
		"a policy without event": {
			`INSERT INTO jit_policies (name, body) VALUES ('mine', '{"name":"mine","effect":"permit","match":[{}]}')`,
			`policy "mine": it has no event`,
		},
		"a policy loosened": {
			`UPDATE jit_policies SET body = replace(body, '{"targets":["bastion"]}', '{}') WHERE name = 'oncall'`,
			`policy "oncall": match is "[{}]"`,
		},
		"a policy with no entry": {
			`UPDATE jit_policies SET body = replace(body, '[{"targets":["bastion"]}]', '[]') WHERE name = 'oncall'`,
			`policy "oncall": its row cannot be read`,
		},
		"a policy loosened in the older form": {
			`UPDATE jit_policies SET body = replace(body, '[{"targets":["bastion"]}]', '{}') WHERE name = 'oncall'`,
			`policy "oncall": match is "[{}]"`,
		},
		"a policy that comes back": {
			`INSERT INTO jit_policies (name, body) VALUES ('gone', '{"name":"gone","effect":"permit","match":[{}]}')`,
			`policy "gone": it has no event`,
		},
		"a policy removed":         {"DELETE FROM jit_policies", `policy "oncall": its row was removed`},
		"a person without event":   {`INSERT INTO jit_persons (name, body) VALUES ('eve', '{"name":"eve"}')`, `person "eve": it has no event`},
		"a person with a key more": {`UPDATE jit_persons SET body = replace(body, '"groups"', '"signing_keys":["k"],"groups"')`, `person "bob": signing_keys is`},
		"a person removed":         {"DELETE FROM jit_persons", `person "bob": its row was removed`},
		"a policy unreadable":      {"UPDATE jit_policies SET body = '{'", `policy "oncall": its row cannot be read`},
	}
	return all
}

// Promise 11: every row that differs from its events is named.
func TestVerifyRebuildsTheRowsFromTheirEvents(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := lived(t, url)
		if r := verify(t, l); !r.OK() || r.Grants != 3 || r.Older != 0 {
			t.Fatalf("before the attacks: %+v", r)
		}
		db := raw(t, url)
		run(t, db, "CREATE TABLE kept_grants AS SELECT * FROM jit_grants",
			"CREATE TABLE kept_due AS SELECT * FROM jit_due",
			"CREATE TABLE kept_policies AS SELECT * FROM jit_policies",
			"CREATE TABLE kept_persons AS SELECT * FROM jit_persons")
		for name, attack := range attacks() {
			run(t, db, attack[0])
			r := verify(t, l)
			var all []string
			for _, m := range r.Mismatches {
				all = append(all, m.String())
			}
			if got := strings.Join(all, "\n"); r.OK() || len(r.Damage) > 0 || !strings.Contains(got, attack[1]) {
				t.Errorf("%s: found\n%s\nwant %s", name, got, attack[1])
			}
			run(t, db, "DELETE FROM jit_grants", "DELETE FROM jit_policies",
				"DELETE FROM jit_due", "INSERT INTO jit_due SELECT * FROM kept_due",
				"INSERT INTO jit_grants SELECT * FROM kept_grants",
				"INSERT INTO jit_policies SELECT * FROM kept_policies",
				"DELETE FROM jit_persons", "INSERT INTO jit_persons SELECT * FROM kept_persons")
		}
		if r := verify(t, l); !r.OK() {
			t.Errorf("after the rows were restored: %v", r.Mismatches)
		}
	})
}

// A policy that an older program wrote, whose match is one object, is read as a list of one, and its record verifies.
func TestPolicyOfOlderPrograms(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := open(t, url)
		p := jit.Policy{Name: "old", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"view"}}}}
		facts := p.Facts()
		facts["match"] = `{"roles":["view"]}`
		write(t, l, jit.Entry{
			Policy: &p,
			Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: p.Name, Detail: facts}},
		})
		run(t, raw(t, url), `UPDATE jit_policies SET body = replace(body, '[{"roles":["view"]}]', '{"roles":["view"]}')`)
		all, err := l.Policies(t.Context())
		if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], p) {
			t.Errorf("got %+v, %v, want %+v", all, err, p)
		}
		if r := verify(t, l); !r.OK() {
			t.Errorf("%+v", r)
		}
		for e, err := range l.Rules(t.Context(), 1) {
			if got, wrong := jit.PolicyOf(e); err != nil || wrong != nil || !reflect.DeepEqual(got, p) {
				t.Errorf("its event says %+v, %v, %v", got, err, wrong)
			}
		}
	})
}

// SQLite stores a value of any type in a column.
func TestVerifyNamesRowsThatCannotBeRead(t *testing.T) {
	url := sqliteURL(t)
	l := lived(t, url)
	db := raw(t, url)
	run(t, db, "UPDATE jit_grants SET expires_at = 'never' WHERE id = '"+string(ledgertest.Grant(0).ID)+"'",
		"UPDATE jit_grants SET id = NULL WHERE id = '"+string(ledgertest.Grant(1).ID)+"'",
		"UPDATE jit_grants SET id = x'ff' WHERE id = '"+string(ledgertest.Grant(2).ID)+"'")
	r := verify(t, l)
	if r.OK() || r.Grants != 3 || r.MismatchCount != 5 { // each row, and the two grants whose rows have other ids now
		t.Errorf("%+v", r)
	}
}

// A grant whose row was removed is not recorded again: its events still say how it ended.
func TestARemovedRecordIsNotMadeAgain(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := lived(t, url)
		run(t, raw(t, url), "DELETE FROM jit_grants")
		errs := l.Write(t.Context(),
			[]jit.Entry{ledgertest.Entry(ledgertest.Grant(99)), madeAgain(1), ledgertest.Entry(ledgertest.Grant(50))})
		if errs[0] != nil || errs[2] != nil || !errors.Is(errs[1], jit.ErrAltered) ||
			!strings.Contains(errs[1].Error(), "jit audit verify") {
			t.Errorf("%v", errs)
		}
	})
}

func madeAgain(n int) jit.Entry {
	g := ledgertest.Grant(n)
	return jit.Rewrite(jit.Grant{}, g, jit.Event{Kind: jit.EventAdopted, Grant: g.ID})
}

// The events of a grant are found by an index.
func TestEventsOfOneGrant(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := lived(t, url)
		var kinds []string
		for e, err := range l.EventsOf(t.Context(), []jit.ID{ledgertest.Grant(1).ID, ledgertest.Grant(99).ID}) {
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, string(e.Kind))
		}
		if got := strings.Join(kinds, " "); got != "requested revoke_requested revoked drift_found" &&
			got != "drift_found requested revoke_requested revoked" {
			t.Errorf("events %s", got)
		}
	})
	url := sqliteURL(t)
	lived(t, url)
	var plan string
	row := raw(
		t, url,
	).QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN SELECT * FROM jit_events WHERE grant_id <> '' AND grant_id IN (SELECT value FROM json_each('[]')) ORDER BY grant_id, seq")
	var id, parent, unused any
	if err := row.Scan(&id, &parent, &unused, &plan); err != nil || !strings.Contains(plan, "jit_events_grant") {
		t.Errorf("plan %q, %v", plan, err)
	}
}
