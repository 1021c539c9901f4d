package gcp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/cloudresourcemanager/v3"
	"google.golang.org/api/option"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// desk is a whole program on a server, with a clock that the test sets.
type desk struct {
	*testing.T
	server *gcptest.Server
	broker *broker.Broker
	passed time.Duration
}

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, server: newWorld(t)}
	p := openAt(t, d.server, Config{Scopes: []string{project}}, d.now)
	d.broker = &broker.Broker{
		Ledger: &jittest.Ledger{}, Targets: map[string]jit.Platform{"prod": p}, Owner: "payments", MaxTTL: 24 * time.Hour,
		Actor: jit.Actor{Name: "test", Source: jit.FromTerraform}, Now: d.now,
	}
	p.tidied = func(ctx context.Context, gone []jit.Marker) {
		if err := d.broker.Tidied(ctx, gone); err != nil {
			t.Error(err)
		}
	}
	return d
}

func (d *desk) now() time.Time { return time.Now().Add(d.passed) }

func (d *desk) pass(by time.Duration) {
	d.passed += by
	d.server.SetClock(d.passed)
}

func (d *desk) grant(principal, role, ttl string) jit.Grant {
	d.Helper()
	g, err := d.broker.Grant(d.Context(),
		broker.Request{
			Binding: jit.Binding{Target: "prod", Principal: principal, Role: role, Scope: project},
			Reason:  "INC-1",
			Renewal: 1,
			TTL:     jit.RecordedTTL(ttl),
		},
	)
	if err != nil {
		d.Fatal(err)
	}
	return g
}

// recorded counts the events of a kind about a grant.
func (d *desk) recorded(g jit.Grant, kind jit.EventKind) (n int) {
	d.Helper()
	for e, err := range jit.AllEvents(d.Context(), d.broker.Ledger) {
		if err != nil {
			d.Fatal(err)
		}
		if e.Grant == g.ID && e.Kind == kind {
			n++
		}
	}
	return n
}

func (d *desk) sweep() map[jit.ID]sweeper.Result {
	d.Helper()
	report := (&sweeper.Sweeper{Broker: d.broker, Holder: "test", MaxUnplanned: 20}).Pass(d.Context())
	results := map[jit.ID]sweeper.Result{}
	for _, r := range report.Results {
		results[r.Grant.ID] = r
		if r.Err != nil {
			d.Errorf("%s %s: %v", r.Kind, r.Grant.Principal, r.Err)
		}
	}
	for _, err := range report.Unread {
		d.Error(err)
	}
	return results
}

// strip writes the policy back like a tool that knows no conditions: in version 1, without an etag.
func (d *desk) strip() {
	d.Helper()
	service, err := cloudresourcemanager.NewService(d.Context(), option.WithEndpoint(d.server.URL),
		option.WithoutAuthentication(),
	)
	if err != nil {
		d.Fatal(err)
	}
	p, err := service.Projects.GetIamPolicy(project, &cloudresourcemanager.GetIamPolicyRequest{Options: &cloudresourcemanager.GetPolicyOptions{RequestedPolicyVersion: 3}}).
		Do()
	if err != nil {
		d.Fatal(err)
	}
	p.Version, p.Etag = 1, ""
	if _, err := service.Projects.SetIamPolicy(project, &cloudresourcemanager.SetIamPolicyRequest{Policy: p}).Do(); err != nil {
		d.Fatal(err)
	}
}

// may asks the server whether a grant's access is given after a while from now.
func (d *desk) may(g jit.Grant, after time.Duration, want bool, when string) {
	d.Helper()
	if got := allowed(d.server, g.Binding, d.now().Add(after)); got != want {
		d.Errorf("%s: %s has %s in %s: %t, want %t", when, g.Principal, g.Role, after, got, want)
	}
}

const forever = 1000 * time.Hour

// A tool that writes the policy back without conditions makes temporary access permanent. The next sweep reports that,
// gives live grants their end back and ends those that are over. Earlier access stays.
func TestConditionsStripped(t *testing.T) {
	d := newDesk(t)
	carol := "user:carol@example.com"
	d.server.Edit(project, func(p *gcptest.Policy) {
		p.Bindings = append(p.Bindings, gcptest.Binding{Role: sqlRole, Members: []string{carol}})
	})
	long, short, narrow, own := d.grant(alice, sqlRole, "8h"), d.grant(
		bob,
		sqlRole,
		"1h",
	), d.grant(deploy, narrowed, "8h"), d.grant(
		carol,
		sqlRole,
		"8h",
	)
	d.pass(30 * time.Minute)
	d.strip()
	d.may(long, forever, true, "stripped")
	d.may(narrow, forever, true, "stripped")

	results := d.sweep()
	for _, g := range []jit.Grant{long, short, narrow} {
		if r := results[g.ID]; r.Kind != reconcile.Repair || !strings.HasPrefix(r.Reason, jit.Stripped) {
			t.Errorf("%s: %s, %q; want a repair of what was stripped", g.Principal, r.Kind, r.Reason)
		}
		d.may(g, 10*time.Minute, true, "repaired")
		d.may(g, g.End.Sub(d.now()), false, "repaired")
	}
	if r := results[own.ID]; r.Kind != reconcile.Repair ||
		r.Drift != jit.DriftMissing { // what was there before explains what is there
		t.Errorf("what had the access before: %s, %q", r.Kind, r.Reason)
	}
	if d.server.Allowed(
		gcptest.Ask{
			Member:     deploy,
			Permission: permissions[viewer],
			Scope:      project,
			Name:       "projects/_/buckets/reports/objects/1999/x",
			At:         d.now(),
		},
	) {
		t.Error("the user's own condition was not given back")
	}
	d.may(own, forever, true, "repaired")

	// Now one is live and one is over.
	d.pass(45 * time.Minute)
	d.strip()
	results = d.sweep()
	if r := results[short.ID]; r.Kind != reconcile.End || !strings.Contains(r.Reason, jit.Stripped) {
		t.Errorf("what is over: %s, %q", r.Kind, r.Reason)
	}
	if n := d.recorded(short, jit.EventDrift); n != 2 { // while it was live, and now
		t.Errorf("the record tells %d times that it was stripped, want 2", n)
	}
	d.may(short, 0, false, "ended")
	d.may(long, 0, true, "while another ended")
	d.may(long, long.End.Sub(d.now()), false, "while another ended")
	if g, _, err := d.broker.Ledger.Lookup(t.Context(), short.ID); err != nil || g.EndedAt.IsZero() {
		t.Errorf("the end is not recorded: %+v, %v", g, err)
	}

	// A grant that is recorded as ended is not looked for again, so a later holder keeps the access.
	d.server.Edit(project, func(p *gcptest.Policy) {
		p.Bindings = append(p.Bindings, gcptest.Binding{Role: sqlRole, Members: []string{bob}})
	})
	d.sweep()
	d.may(short, forever, true, "given anew by somebody")
	d.pass(10 * time.Hour)
	d.sweep()
	d.may(long, 0, false, "at last")
	d.may(own, forever, true, "at last")
	d.may(short, forever, true, "at last")
	for _, b := range d.server.Policy(project).Bindings {
		if ours(b) {
			t.Errorf("a binding of ours is left: %+v", b)
		}
	}
	if !slices.ContainsFunc(d.server.Policy(project).Bindings,
		func(b gcptest.Binding) bool { return b.Role == "roles/owner" },
	) {
		t.Error("the owner is gone")
	}
}

// If the ledger is lost, a sweep with only credentials removes ended access.
func TestTheLedgerIsLost(t *testing.T) {
	d := newDesk(t)
	before := foreign(t, d.server, project)
	long, short := d.grant(alice, sqlRole, "8h"), d.grant(bob, sqlRole, "1h")
	d.broker.Ledger = &jittest.Ledger{}
	d.pass(2 * time.Hour)
	// A moved end is found by the marker, which has the original one.
	edit(t, d.server, project, short.Marker(), func(_ *gcptest.Policy, b *gcptest.Binding) {
		b.Condition.Expression = expressionUntil(d.now().Add(forever))
	})
	d.may(short, 0, true, "before the sweep")
	if r := d.sweep()[short.ID]; r.Kind != reconcile.Remove {
		t.Errorf("what is over: %s, %q", r.Kind, r.Reason)
	}
	d.may(short, 0, false, "after the sweep")
	d.may(long, 0, true, "after the sweep")
	if after := foreign(t, d.server, project); after != before {
		t.Errorf("what is not ours is\n%s\nwas\n%s", after, before)
	}
	if _, writes := d.server.Calls(); writes != 3 {
		t.Errorf("%d writes, want those of two grants and of one sweep", writes)
	}
}

// A rebuilt record, like the original, distinguishes the grant's stripped access from the principal's own.
func TestConditionsStrippedAfterTheLedgerWasLost(t *testing.T) {
	d := newDesk(t)
	carol := "user:carol@example.com"
	d.server.Edit(project, func(p *gcptest.Policy) {
		p.Bindings = append(p.Bindings, gcptest.Binding{Role: sqlRole, Members: []string{carol}})
	})
	long, narrow, own := d.grant(alice, sqlRole, "8h"), d.grant(deploy, narrowed, "8h"), d.grant(carol, sqlRole, "8h")
	d.broker.Ledger = &jittest.Ledger{}
	seen := (&sweeper.Sweeper{Broker: d.broker}).Observe(t.Context(), func(string) bool { return true })
	found, refused, err := d.broker.Unrecorded(t.Context(), seen.Snapshots)
	if err := errors.Join(append(append(seen.Unread, refused...), err)...); err != nil || len(found) != 3 {
		t.Fatalf("found %+v, %v", found, err)
	}
	if err := errors.Join(d.broker.Adopt(t.Context(), found)...); err != nil {
		t.Fatal(err)
	}
	d.pass(30 * time.Minute)
	d.strip()
	results := d.sweep()
	for _, g := range []jit.Grant{long, narrow} {
		if r := results[g.ID]; r.Kind != reconcile.Repair || r.Drift != jit.DriftStripped {
			t.Errorf("%s: %s, %s; want a repair of what was stripped", g.Principal, r.Kind, r.Drift)
		}
		d.may(g, 10*time.Minute, true, "repaired")
		d.may(g, g.End.Sub(d.now()), false, "repaired")
	}
	if r := results[own.ID]; r.Drift != jit.DriftMissing {
		t.Errorf("what had the access before: %s", r.Drift)
	}
	d.strip()
	d.pass(9 * time.Hour)
	d.sweep()
	d.may(long, forever, false, "over")
	d.may(narrow, forever, false, "over")
	d.may(own, forever, true, "over")
}

// The ledger is lost, and the grant is changed from what the caller remembers. Access that is stripped afterwards still
// ends with the grant.
func TestConditionsStrippedAfterAChangeWithoutTheLedger(t *testing.T) {
	d := newDesk(t)
	g := d.grant(alice, sqlRole, "8h")
	d.broker.Ledger = &jittest.Ledger{}
	g.NoStandingBefore, g.Version = false, 0
	g, err := d.broker.Change(t.Context(), g,
		broker.Request{Binding: g.Binding, Reason: g.Reason, Renewal: g.Renewal, TTL: jit.RecordedTTL("2h")},
	)
	if err != nil {
		t.Fatal(err)
	}
	d.strip()
	d.pass(3 * time.Hour)
	d.sweep()
	d.may(g, forever, false, "over")
}

// The next grant removes ended bindings and records that, so the sweeper has nothing left to write.
func TestWhatWentWithAnotherWriteIsRecorded(t *testing.T) {
	d := newDesk(t)
	short := d.grant(bob, sqlRole, "1h")
	d.pass(2 * time.Hour)
	d.grant(alice, sqlRole, "1h")
	if g, _, err := d.broker.Ledger.Lookup(t.Context(), short.ID); err != nil || g.EndedAt.IsZero() {
		t.Errorf("the end is not recorded: %+v, %v", g, err)
	}
	_, before := d.server.Calls()
	if results := d.sweep(); len(results) != 0 {
		t.Errorf("the sweep did %+v", results)
	}
	if _, after := d.server.Calls(); after != before {
		t.Errorf("the sweep made %d writes", after-before)
	}
}

// Stripped, a wide and a narrowed grant of one role are the same permanent access. The end of one leaves it to the
// other, which is narrowed again.
func TestAWideAndANarrowedGrantStripped(t *testing.T) {
	d := newDesk(t)
	narrow := `roles/cloudsql.client if resource.name == "projects/payments-prod/instances/a"`
	wide := d.grant(alice, "roles/cloudsql.client", "1h")
	long := d.grant(alice, narrow, "3h")
	d.server.Strip(project)
	d.pass(61 * time.Minute)
	results := d.sweep()
	if r := results[long.ID]; r.Kind != reconcile.Repair {
		t.Errorf("the narrowed grant: %s %s", r.Kind, r.Reason)
	}
	if r := results[wide.ID]; r.Kind != reconcile.End {
		t.Errorf("the wide grant: %s %s", r.Kind, r.Reason)
	}
	for _, b := range d.server.Policy(project).Bindings {
		if slices.Contains(b.Members, alice) &&
			(b.Condition == nil || !strings.Contains(b.Condition.Expression, "instances/a")) {
			t.Errorf("left is %s %v", b.Role, b.Condition)
		}
	}
}
