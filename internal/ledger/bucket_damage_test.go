package ledger_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// altered reads a commit, changes its text and puts it back.
func altered(t *testing.T, s *buckettest.Server, key string, change func(text string) string) {
	t.Helper()
	body := s.Object(key)
	if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		if body, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	text := change(string(body))
	if text == string(body) || !json.Valid([]byte(text)) {
		t.Fatalf("%s: the change makes no other commit of %s", key, body)
	}
	s.Put(key, []byte(text))
}

// What this program has not written is found by whoever reads it: nothing is granted, and the error says where.
func TestDamagedLog(t *testing.T) {
	last := objectKey(3)
	replace := func(key, old, now string) func(*testing.T, *buckettest.Server) {
		return func(t *testing.T, s *buckettest.Server) {
			altered(t, s, key, func(text string) string { return strings.Replace(text, old, now, 1) })
		}
	}
	put := func(key, table, columns, values string) func(*testing.T, *buckettest.Server) {
		return replace(key, `"tables":[`,
			`"tables":[{"table":"`+table+`","columns":[`+columns+`],"rows":[[`+values+`]]},`)
	}
	shared := keyIn("_shared", 1)
	const leaseColumns = `"name","holder","lease_until","position"`
	const dueColumns = `"id","owner","target","scope","expires_at","due_at"`
	for name, tc := range map[string]struct {
		damage func(t *testing.T, s *buckettest.Server)
		words  []string
	}{
		"cut off": {func(_ *testing.T, s *buckettest.Server) {
			body := s.Object(last)
			s.Put(last, body[:len(body)/2])
		}, []string{last, "cut off"}},
		"missing in the middle": {func(_ *testing.T, s *buckettest.Server) { s.Put(objectKey(2), nil) },
			[]string{objectKey(2), "missing"}},
		"the first commit of all owners is missing": {func(_ *testing.T, s *buckettest.Server) {
			s.Put(keyIn("_all", 1), s.Object(keyIn("_all", 9)))
		}, []string{"_all", "missing"}},
		"a foreign object": {func(_ *testing.T, s *buckettest.Server) {
			s.Put("team/jit/payments/log/notes.txt", []byte("x"))
		}, []string{"notes.txt", "foreign"}},
		"a commit of another ledger": {replace(last, `"ledger":"`, `"ledger":"0`),
			[]string{"commit 3", "belongs to the ledger"}},
		"another number": {replace(last, `"number":3`, `"number":2`), []string{last, "it is commit 2"}},
		"another chain":  {replace(last, `"chain":"payments"`, `"chain":"_all"`), []string{last, `"_all"`}},
		"a forged event in the last commit": {replace(last, `"drift_found"`, `"granted"`),
			[]string{"commit 3", "events do not follow"}},
		"a forged commit in the middle": {replace(objectKey(2), `"writer":"`, `"writer":"x`),
			[]string{last, "does not follow commit 2"}},
		"a table of its own": {replace(last, `"table":"jit_grants"`, `"table":"sqlite_master"`),
			[]string{"commit 3", "sqlite_master"}},
		"a policy in an owner's log": {replace(last, `"tables":[`,
			`"tables":[{"table":"jit_policies","columns":["name","body"],"rows":[["mine","{}"]]},`),
			[]string{"commit 3", "jit_policies", "another log"}},
		"the lease of a sender in an owner's log": {replace(last, `"tables":[`, `"tables":[{"table":"jit_leases","columns":`+
			`["name","holder","lease_until","position"],"rows":[["notice","me",1,0]]},`), []string{"commit 3", "lease"}},
		"a claim in an owner's log": {put(last, "jit_marks", `"place","scope"`, `"here","there"`),
			[]string{"commit 3", "jit_marks", "another log"}},
		"a claim in the log that all may write": {put(shared, "jit_marks", `"place","scope"`, `"here","there"`),
			[]string{"commit 1", "jit_marks", "another log"}},
		"a dropped claim in the log that all may write": {replace(shared, `"tables":[`,
			`"tables":[{"table":"jit_marks","key":["place","scope","owner","grant_id","object"],"deleted":[["a","b","c","d","e"]]},`),
			[]string{"commit 1", "another log"}},
		"a pass in the log that all may write": {put(shared, "jit_sweeps", `"owner","target","swept_at"`, `"*","db",1`),
			[]string{"commit 1", "jit_sweeps", "another log"}},
		"a pass for all in an owner's log": {put(last, "jit_sweeps", `"owner","target","swept_at"`, `"*","db",1`),
			[]string{"commit 3", "jit_sweeps", "_all"}},
		"a pass for another owner": {put(last, "jit_sweeps", `"owner","target","swept_at"`, `"other","db",1`),
			[]string{"commit 3", "jit_sweeps", "other"}},
		"a dedup key of another owner": {put(last, "jit_leases", leaseColumns, `"once/other/x","",1,0`),
			[]string{"commit 3", "dedup key belongs to another log"}},
		"a dedup key in the log that all may write": {put(shared, "jit_leases", leaseColumns, `"once/payments/x","me",1,0`),
			[]string{"commit 1", "dedup key belongs to another log"}},
		"a lease in place of a dedup key": {put(last, "jit_leases", leaseColumns, `"drift/*/db","",1,0`),
			[]string{"commit 3", "lease"}},
		"a chain of another owner that begins anew": {put(last, "jit_chains", `"chain","head_seq","head_hash"`,
			`"other",0,"x"`), []string{"commit 3", "chain belongs to another log"}},
		"an owner whose chain begins elsewhere": {put(shared, "jit_chains", `"chain","head_seq","head_hash"`, `"other",0,"x"`),
			[]string{"commit 1", "does not begin as others do"}},
		"a lease that is removed": {replace(last, `"tables":[`,
			`"tables":[{"table":"jit_leases","key":["name"],"deleted":[["drift/*/db"]]},`), []string{"commit 3", "removes"}},
		"a grant that is removed": {replace(last, `"tables":[`,
			`"tables":[{"table":"jit_grants","key":["id"],"deleted":[["4711"]]},`), []string{"commit 3", "removes"}},
		"due work of another owner": {put(last, "jit_due", dueColumns, `"x","other","db","s",1,1`),
			[]string{"commit 3", "jit_due", "other"}},
		"due work without a grant": {put(last, "jit_due", dueColumns, `"x","payments","db","s",1,1`),
			[]string{"commit 3", "without a grant"}},
		"due work without a grant after other due work": {replace(last, `"tables":[`, `"tables":[{"table":"jit_due","columns":[`+
			dueColumns+`],"rows":[["`+string(ledgertest.Grant(1).ID)+`","payments","bastion","host",1,1]]},`+
			`{"table":"jit_due","columns":[`+dueColumns+`],"rows":[["x","payments","db","s",1,1]]},`),
			[]string{"commit 3", "without a grant"}},
		"a grant of another owner": {func(t *testing.T, s *buckettest.Server) {
			altered(t, s, last, func(text string) string {
				at := strings.Index(text, `"table":"jit_grants"`)
				return text[:at] + strings.Replace(text[at:], `"payments"`, `"other"`, 1)
			})
		}, []string{"commit 3", "jit_grants", "other"}},
		"an event of all owners in an owner's log": {func(t *testing.T, s *buckettest.Server) {
			altered(t, s, last, func(text string) string {
				at := strings.Index(text, `"table":"jit_log"`)
				return text[:at] + strings.Replace(text[at:], `["payments",`, `["_all",`, 1)
			})
		}, []string{"commit 3", "jit_log", "_all"}},
		"an owner that has begun already": {replace(keyIn("_shared", 1), `,0,"`, `,7,"`),
			[]string{"_shared", "belongs to the log of", "payments"}},
		"after a commit that does not exist": {replace(last, `"after":1`, `"after":9`),
			[]string{"commit 3", "commit 9", "missing"}},
		"a newer schema": {func(t *testing.T, s *buckettest.Server) {
			altered(t, s, last, func(text string) string {
				at := strings.Index(text, `"schema":`)
				return text[:at] + `"schema":99,` + text[at+strings.Index(text[at:], ",")+1:]
			})
		}, []string{"99", "update"}},
		"a newer form": {replace(last, `"format":1`, `"format":2`), []string{"commit 3", "update"}},
	} {
		t.Run(name, func(t *testing.T) {
			url, s := bucketURL(t)
			l := open(t, url)
			for n := range 3 {
				if err := writeGrant(t, l, n); err != nil {
					t.Fatal(err)
				}
			}
			tc.damage(t, s)
			objects := len(s.Keys())
			fresh := onMachine(t, url)
			_, _, err := fresh.Lookup(t.Context(), ledgertest.Grant(0).ID)
			told(t, "reading", err, tc.words...)
			told(t, "writing", writeGrant(t, fresh, 10), tc.words...)
			if len(s.Keys()) != objects {
				t.Errorf("there are %v, want nothing new", s.Keys())
			}
		})
	}
}

// Nobody removes the due work of another owner: its access would not end.
func TestForgedRemovalOfDueWork(t *testing.T) {
	for _, log := range []string{"other", "_all"} {
		t.Run(log, func(t *testing.T) {
			url, s := bucketURL(t)
			l := open(t, url)
			if err := writeGrant(t, l, 1); err != nil {
				t.Fatal(err)
			}
			victim := ledgertest.Grant(1)
			fresh := onMachine(t, url)
			if _, known, err := fresh.Lookup(t.Context(), victim.ID); err != nil || !known {
				t.Fatal(known, err)
			}
			other, key := ledgertest.Of("other", 2), keyIn(log, 1)
			entry := ledgertest.Entry(other)
			if log == "_all" {
				entry, key = jit.Entry{Policy: &jit.Policy{Name: "a", Effect: jit.Permit},
					Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: "a", At: ledgertest.Epoch}}}, keyIn(log, 2)
			}
			write(t, l, entry)
			altered(t, s, key, func(text string) string {
				return strings.Replace(text, `"tables":[`,
					`"tables":[{"table":"jit_due","key":["id"],"deleted":[["`+string(victim.ID)+`"]]},`, 1)
			})
			fresh.LookAlways()
			_, _, err := fresh.Lookup(t.Context(), other.ID)
			told(t, "reading", err, "commit", log, "another owner")
			if log == "_all" {
				return
			}
			q := jit.DueQuery{Owners: jit.Owners{victim.Owner}, Now: victim.End, Holder: "a", Lease: time.Minute, Limit: 10}
			for name, l := range map[string]*ledger.Ledger{"old": fresh, "new": onMachine(t, url)} {
				if due, err := l.AcquireDue(t.Context(), q); err != nil || len(due) != 1 || due[0].ID != victim.ID {
					t.Errorf("on the %s machine, due are %v, %v", name, due, err)
				}
				q.Holder, q.Now = "b", q.Now.Add(2*time.Minute)
			}
		})
	}
}

// An owner's role that damages the owner's log, or the one that all may write, keeps nobody's access: what only claims
// explain can be found and ended, on every machine.
func TestClaimsBesideADamagedLog(t *testing.T) {
	for name, key := range map[string]string{"of an owner": objectKey(2), "of all owners": keyIn("_shared", 2)} {
		t.Run(name, func(t *testing.T) {
			url, s := bucketURL(t)
			l := open(t, url)
			if err := writeGrant(t, l, 1); err != nil {
				t.Fatal(err)
			}
			claim := ledgertest.Claim(1, "an assignment")
			if _, err := l.Claims().Update(t.Context(), "here", "there", 0, []jit.Claim{claim}, nil); err != nil {
				t.Fatal(err)
			}
			s.Put(key, []byte("no commit"))
			for i, l := range []*ledger.Ledger{onMachine(t, url), l} {
				l.LookAlways()
				told(t, "a grant", writeGrant(t, l, 2), "damaged", key)
				set, err := l.Claims().ReadClaims(t.Context(), "here", "there")
				if err != nil || len(set.Claims) != 1 {
					t.Fatalf("there are %+v, %v", set, err)
				}
				put, drop := []jit.Claim{claim}, []jit.Claim(nil)
				if i == 1 {
					put, drop = nil, put
				}
				if _, err := l.Claims().Update(t.Context(), "here", "there", set.Version, put, drop); err != nil {
					t.Error(err)
				}
			}
			if set, err := onMachine(t, url).Claims().ReadClaims(t.Context(), "here", "there"); err != nil || len(set.Claims) > 0 {
				t.Errorf("then there are %+v, %v", set, err)
			}
		})
	}
}

// A bucket that was emptied is no empty ledger for whoever has read it.
func TestEmptiedBucket(t *testing.T) {
	url, s := bucketURL(t)
	l := onMachine(t, url)
	if err := writeGrant(t, l, 1); err != nil {
		t.Fatal(err)
	}
	for _, key := range s.Keys() {
		s.Put(key, nil)
	}
	_, _, err := l.Lookup(t.Context(), ledgertest.Grant(1).ID)
	told(t, "reading", err, "is gone", "put the objects back")
	told(t, "writing", writeGrant(t, l, 2), "is gone")
	if !errors.Is(err, jit.ErrBehind) || len(s.Keys()) > 0 {
		t.Errorf("%v; objects %v", err, s.Keys())
	}
}
