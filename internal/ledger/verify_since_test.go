package ledger_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// findings returns all that a report accuses.
func findings(r ledger.Report) string {
	var all []string
	for _, d := range r.Damage {
		all = append(all, d.String())
	}
	for _, m := range r.Mismatches {
		all = append(all, m.String())
	}
	return strings.Join(all, "\n")
}

// Since a head that was kept, only what is newer is read, and what is open; whatever is wrong there is found. What is
// older is trusted, and found by a check of all.
func TestVerifySinceAHead(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf("id = '%s'", ledgertest.Grant(n).ID) }
	of := func(n int) string { return fmt.Sprintf("grant_id = '%s'", ledgertest.Grant(n).ID) }
	live, closed, newer := 0, 1, 5
	for name, tc := range map[string]struct {
		attack []string
		// found is in the finding since the head; empty if only a check of all has one.
		found string
	}{
		"an event after the head": {[]string{"UPDATE jit_log SET detail = '{}' WHERE " + of(newer)}, "was edited"},
		"no event after the head": {[]string{"DELETE FROM jit_log WHERE " + of(newer)}, "removed"},
		"an end of an open grant": {
			[]string{"UPDATE jit_grants SET expires_at = expires_at + 1000000 WHERE " + id(live)}, "expires_at is"},
		"an open grant that is not due": {[]string{"DELETE FROM jit_due WHERE " + id(live)}, "due_at is nothing"},
		"an old event of an open grant": {
			[]string{"UPDATE jit_log SET detail = '{}' WHERE kind = 'requested' AND " + of(live)}, "does not match its hash"},
		"a new grant without a row": {
			[]string{"DELETE FROM jit_grants WHERE " + id(newer), "DELETE FROM jit_due WHERE " + id(newer)}, "its row was removed"},
		"an open grant without a row": {[]string{"DELETE FROM jit_grants WHERE " + id(live)}, "its row was removed"},
		"an end of a new grant": {
			[]string{"UPDATE jit_grants SET expires_at = expires_at + 1000000 WHERE " + id(newer)}, "expires_at is"},
		"a policy without a row": {[]string{"DELETE FROM jit_policies WHERE name = 'oncall'"}, "its row was removed"},
		"an old change of a policy": {
			[]string{"UPDATE jit_log SET detail = '{}' WHERE kind = 'policy_changed' AND policy = 'oncall'"}, "does not match its hash"},
		"a closed grant that opens again": {
			[]string{"UPDATE jit_grants SET ended_at = NULL, revoked_at = NULL WHERE " + id(closed)}, "ended_at is nothing"},
		"the reason of a closed grant":   {[]string{"UPDATE jit_grants SET reason = 'x' WHERE " + id(closed)}, ""},
		"an old event of a closed grant": {[]string{"UPDATE jit_log SET detail = '{}' WHERE kind = 'revoked' AND " + of(closed)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, url string) {
				l := lived(t, url)
				heads, err := l.Chains(t.Context())
				if err != nil || len(heads) != 2 {
					t.Fatal(heads, err)
				}
				since := func() ledger.Report {
					t.Helper()
					r, err := l.VerifySince(t.Context(), "", heads)
					if err != nil {
						t.Fatal(err)
					}
					return r
				}
				if r := since(); !r.OK() || r.Events != 0 || r.Grants != 1 {
					t.Fatalf("nothing is new: %+v", r)
				}
				g := ledgertest.Grant(newer)
				write(t, l, jit.Rewrite(jit.Grant{}, g, jit.Event{Kind: jit.EventRequested, Grant: g.ID}))
				r := since()
				if !r.OK() || r.Events != 1 || r.Grants != 2 {
					t.Fatalf("before: %+v\n%s", r, findings(r))
				}
				run(t, raw(t, url), tc.attack...)
				if all := verify(t, l); all.OK() {
					t.Error("a check of all finds nothing")
				}
				r = since()
				if tc.found == "" && !r.OK() || !strings.Contains(findings(r), tc.found) {
					t.Errorf("found\n%s\nwant %q", findings(r), tc.found)
				}
			})
		})
	}
}

// A head that names another event than the record has is found, whether there are newer events or not.
func TestVerifySinceAnotherHead(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		l := lived(t, url)
		heads, err := l.Chains(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range heads {
			heads[i].Hash = strings.Repeat("0", 64)
		}
		for _, n := range []int{5, 6} {
			r, err := l.VerifySince(t.Context(), "", heads)
			if err != nil || r.OK() || !strings.Contains(findings(r), "it is not the event that the head names") {
				t.Errorf("%s, %v", findings(r), err)
			}
			g := ledgertest.Grant(n)
			write(t, l, jit.Rewrite(jit.Grant{}, g, jit.Event{Kind: jit.EventRequested, Grant: g.ID}))
		}
		if r, err := l.VerifySince(t.Context(), "payments", nil); err != nil || !r.OK() || r.Owner != "payments" {
			t.Errorf("without heads: %+v, %v", r, err)
		}
	})
}
