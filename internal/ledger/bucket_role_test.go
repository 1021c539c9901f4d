package ledger_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/bucket/buckettest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger/ledgertest"
)

// mayWrite makes the server deny the creation of objects outside of some logs.
func mayWrite(s *buckettest.Server, logs ...string) {
	s.Decide(func(operation, key string) buckettest.Fault {
		below, _, _ := strings.Cut(strings.TrimPrefix(key, "team/jit/"), "/")
		if operation == "create" && !slices.Contains(logs, below) {
			return buckettest.Fault{Status: 403, Code: "AccessDenied"}
		}
		return buckettest.Fault{}
	})
}

// A role that may write only its owner's log, and the one that all share, records grants and cannot touch policies.
func TestRoleOfOneOwner(t *testing.T) {
	url, s := bucketURL(t)
	policy := jit.Entry{Policy: &jit.Policy{Name: "a", Effect: jit.Permit},
		Events: []jit.Event{{Kind: jit.EventPolicyChanged, Policy: "a", At: ledgertest.Epoch}}}
	if err := errors.Join(open(t, url).Write(t.Context(), []jit.Entry{policy})...); err != nil {
		t.Fatal(err)
	}
	mayWrite(s, "payments", "_shared")
	team := onMachine(t, url)
	for n := range 3 {
		if err := writeGrant(t, team, n); err != nil {
			t.Fatal(err)
		}
	}
	policy.Policy.Name = "b"
	theirs := ledgertest.Of("other", 5)
	errs := team.Write(t.Context(), []jit.Entry{policy, ledgertest.Entry(ledgertest.Grant(3)), ledgertest.Entry(theirs)})
	told(t, "a policy", errs[0], "may not create", "s3:PutObject")
	told(t, "a grant of another owner", errs[2], "may not create")
	if errs[1] != nil {
		t.Errorf("the grant between them: %v", errs[1])
	}
	l := onMachine(t, url)
	if got := recorded(t, l, 10); len(got) != 4 {
		t.Errorf("grants %v are recorded, want 4", got)
	}
	if r := verify(t, l); r.Events != 5 || len(r.Damage) > 0 {
		t.Errorf("Verify: %d events, want 5; %v", r.Events, r.Damage)
	}
}

// Claims are in the log of those who may write policies: whoever could write there what belongs to another owner could
// make access endless. A role without that right is told so, and nothing is recorded.
func TestClaimsOfARole(t *testing.T) {
	url, s := bucketURL(t)
	if err := writeGrant(t, open(t, url), 1); err != nil {
		t.Fatal(err)
	}
	mayWrite(s, "payments", "_shared")
	before, claim := s.Keys(), ledgertest.Claim(1, "an assignment")
	team := onMachine(t, url).Claims()
	_, err := team.Update(t.Context(), "here", "a scope", 0, []jit.Claim{claim}, nil)
	told(t, "a role of one owner", err, "s3://ledger-bucket/team/jit/_all", "holds no marker", "nothing was given",
		"allow this role")
	if !errors.Is(err, jit.ErrRefused) || !slices.Equal(s.Keys(), before) {
		t.Errorf("%v; the objects are %v", err, s.Keys())
	}
	mayWrite(s, "_all", "_shared")
	if _, err := onMachine(t, url).Claims().Update(t.Context(), "here", "a scope", 0, []jit.Claim{claim}, nil); err != nil {
		t.Fatal(err)
	}
	mayWrite(s, "payments", "_shared")
	set, err := team.ReadClaims(t.Context(), "here", "a scope")
	if err != nil || !slices.Equal(set.Claims, []jit.Claim{claim}) {
		t.Fatalf("the role reads %+v, %v", set, err)
	}
	if _, err := team.Update(t.Context(), "here", "a scope", set.Version, nil, set.Claims); err == nil {
		t.Error("a role of one owner drops a claim")
	}
	if set, err := onMachine(t, url).Claims().ReadClaims(t.Context(), "here", "a scope"); err != nil || len(set.Claims) != 1 {
		t.Errorf("then there are %+v, %v", set, err)
	}
}

// The passes for one owner are in the owner's log, and those for all in the log of all.
func TestSweepsOfARole(t *testing.T) {
	url, s := bucketURL(t)
	if err := writeGrant(t, open(t, url), 1); err != nil {
		t.Fatal(err)
	}
	knows := func(owner string) bool {
		t.Helper()
		all, err := onMachine(t, url).SweptSince(t.Context(), owner, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return len(all) == 1
	}
	for _, c := range []struct {
		may, owners        []string
		payments, somebody bool
	}{
		{[]string{"payments", "_shared"}, nil, false, false},
		{[]string{"payments", "_shared"}, []string{"ads"}, false, false},
		{[]string{"payments", "_shared"}, []string{"payments"}, true, false},
		{[]string{"_all", "_shared"}, nil, true, true},
	} {
		mayWrite(s, c.may...)
		err := onMachine(t, url).Swept(t.Context(), jit.Sweep{Owners: c.owners, Targets: []string{"db"}, At: time.Now()})
		if done := c.payments; (err == nil) != done {
			t.Errorf("a pass for %v by a role that may write %v: %v", c.owners, c.may, err)
		}
		if got := knows("payments"); got != c.payments {
			t.Errorf("after a pass for %v: payments has a sweeper: %v, want %v", c.owners, got, c.payments)
		}
		if got := knows("ads"); got != c.somebody {
			t.Errorf("after a pass for %v: another owner has a sweeper: %v, want %v", c.owners, got, c.somebody)
		}
	}
}

// The dedup key of one owner does not use up that of another one, nor the name of a lease.
func TestDedupKeysOfOwners(t *testing.T) {
	url, _ := bucketURL(t)
	l := open(t, url)
	theirs := ledgertest.Of("other", 2)
	if err := errors.Join(l.Write(t.Context(), []jit.Entry{ledgertest.Entry(ledgertest.Grant(1)),
		ledgertest.Entry(theirs)})...); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	found := func(id jit.ID) error {
		return onMachine(t, url).Write(t.Context(), []jit.Entry{{Events: []jit.Event{ledgertest.Event(id)},
			Dedup: jit.DedupKey{Name: "a finding", At: now, Until: now.Add(time.Hour)}}})[0]
	}
	for _, id := range []jit.ID{theirs.ID, ledgertest.Grant(1).ID} {
		if err := found(id); err != nil {
			t.Errorf("of the grant %s: %v", id, err)
		}
		if err := found(id); !errors.Is(err, jit.ErrDuplicate) {
			t.Errorf("of the grant %s again: %v, want ErrDuplicate", id, err)
		}
	}
	if _, ok, err := onMachine(t, url).Leases().Acquire(t.Context(), "a finding", "me", now, now.Add(time.Minute)); err != nil ||
		!ok {
		t.Errorf("a lease of that name: %v, %v", ok, err)
	}
}
