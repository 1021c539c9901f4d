package gcp

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// The conformance suite on access without a condition, with claims in a SQLite ledger.
func TestConformanceOfWhatIsRemembered(t *testing.T) {
	for _, c := range []struct {
		name, scope, gone string
		principals, roles []string
		scopes            []string
	}{
		{"basic roles", project, "", []string{alice, deploy}, []string{basicViewer, basicEditor}, nil},
		{"a basic role beside another", folder, "folders/404", []string{alice, deploy}, []string{basicViewer, sqlRole}, nil},
		{"everybody", bucket, gcptest.Bucket + "gone", []string{"allUsers", alice}, []string{viewer, admin}, []string{project + "/buckets"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
				return rememberingTarget(t, c.scope, c.gone, c.principals, c.roles, c.scopes)
			}})
		})
	}
}

func rememberingTarget(t *testing.T, scope, gone string, principals, roles, scopes []string) *platformtest.Target {
	s := newWorld(t)
	if s.Policy(scope).Version == 0 {
		s.Add(scope, project)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "ledger.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := Config{Scopes: scopes}
	target := target(s, scope, cfg)
	target.Principals, target.Roles, target.Gone = principals, roles, gone
	target.OpenAt = func(t *testing.T, offset time.Duration) jit.Platform {
		p := openAt(t, s, cfg, func() time.Time { return time.Now().Add(offset) })
		p.ledger = l.Claims()
		return p
	}
	target.Open = func(t *testing.T) jit.Platform { return target.OpenAt(t, 0) }
	target.Impossible = &jit.Binding{Principal: "user:nobody@example.com", Role: basicViewer, Scope: scope}
	target.Break = func(t *testing.T) (repair func()) {
		// The count leaves out the read. Removing our grants beside prior access needs no write.
		s.Deny("resourcemanager.projects.getIamPolicy", "resourcemanager.folders.getIamPolicy",
			"storage.buckets.getIamPolicy", permission(t, scope, "getIamPolicy"),
		)
		return func() { s.Deny() }
	}
	target.Allowed = func(t *testing.T, b jit.Binding) bool { return allowed(s, tried(b), time.Now()) }
	target.AllowedAt = nil
	// Removing some of many grants that share a membership needs no write.
	target.MaxCalls = func(jit.Op, int) (reads, writes int) { return 1, 1 }
	target.Dump = func(t *testing.T) string {
		kept := s.Policy(scope)
		for _, m := range marksOf(t, l.Claims(), scope) {
			if !m.Prior {
				kept.Bindings = takenOut(kept.Bindings, m)
			}
		}
		return foreignIn(t, kept)
	}
	target.Tamper = platformtest.Tamper{Delete: func(t *testing.T, is jit.Marker) {
		for _, m := range marksOf(t, l.Claims(), scope) {
			if m.Marker.Key() == is.Key() {
				s.Edit(scope, func(p *gcptest.Policy) { p.Bindings = takenOut(p.Bindings, m) })
			}
		}
	}}
	return target
}

// tried is the binding to try: bob tries what everybody may.
func tried(b jit.Binding) jit.Binding {
	if everybody[b.Principal] {
		b.Principal = bob
	}
	return b
}

func marksOf(t testing.TB, m jit.Claims, scope string) []jit.Claim {
	t.Helper()
	all, err := m.ReadClaims(context.WithoutCancel(t.Context()), place, scope)
	if err != nil {
		t.Fatal(err)
	}
	return all.Claims
}

// takenOut are bindings without the access of a claim.
func takenOut(bindings []gcptest.Binding, m jit.Claim) []gcptest.Binding {
	var left []gcptest.Binding
	for _, b := range bindings {
		if b.Condition == nil && b.Role == m.Role {
			b.Members = slices.DeleteFunc(slices.Clone(b.Members),
				func(member string) bool { return member == m.Principal },
			)
		}
		if len(b.Members) > 0 {
			left = append(left, b)
		}
	}
	return left
}

// site is a server with a ledger of claims.
type site struct {
	*testing.T
	server *gcptest.Server
	marks  jit.Claims
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{t, newWorld(t), &jittest.Claims{}}
}

func (s *site) open() *Platform {
	s.Helper()
	p := open(s.T, s.server, Config{})
	p.ledger = s.marks
	return p
}

// give and take change access without a condition, as an outsider does.
func (s *site) give(b jit.Binding) {
	s.server.Edit(b.Scope, func(p *gcptest.Policy) {
		p.Bindings = append(p.Bindings, gcptest.Binding{Role: b.Role, Members: []string{b.Principal}})
	})
}

func (s *site) take(b jit.Binding) {
	s.server.Edit(b.Scope, func(p *gcptest.Policy) {
		p.Bindings = takenOut(p.Bindings, jit.Claim{Role: b.Role, Principal: b.Principal})
	})
}

func (s *site) wants(b jit.Binding, want bool, when string) {
	s.Helper()
	if got := allowed(s.server, tried(b), time.Now()); got != want {
		s.Errorf("%s: %s has %s on %s: %t, want %t", when, b.Principal, b.Role, b.Scope, got, want)
	}
}

// left fails the test if the policy or the ledger still has access of ours.
func (s *site) left(before, when string) {
	s.Helper()
	if after := foreign(s, s.server, project); after != before {
		s.Errorf("%s the policy is\n%s\nwas\n%s", when, after, before)
	}
	if m := marksOf(s, s.marks, project); len(m) > 0 {
		s.Errorf("%s it is remembered that %+v", when, m)
	}
}

// editor is a grant of a basic role.
func editor(why string) jit.Access { return access(project, alice, basicEditor, why) }

// Check returns the traits that the plan warns of, and refuses a condition.
func TestWhatIsRememberedIsTold(t *testing.T) {
	p := newSite(t).open()
	for _, b := range []jit.Binding{
		{Principal: alice, Role: "roles/owner", Scope: project}, {Principal: alice, Role: basicViewer, Scope: org},
		{Principal: "allUsers", Role: viewer, Scope: bucket}, {Principal: "allAuthenticatedUsers", Role: viewer, Scope: bucket},
	} {
		got, traits, err := p.Check(b)
		if want := (jit.Traits{Enforcement: jit.Sweeper, Remembered: true}); err != nil || got != b || traits != want {
			t.Errorf("Check(%+v) = %+v, %+v, %v; want %+v", b, got, traits, err, want)
		}
		b.Role += " if true"
		if _, _, err := p.Check(b); err == nil || !strings.Contains(err.Error(), "can carry no condition") {
			t.Errorf("Check(%+v) = %v, want a refusal of the condition", b, err)
		}
	}
}

// Bindings of others keep every byte when a member comes and goes, and conditional grants of the same batch share the
// write.
func TestWhatIsRememberedSharesTheWrite(t *testing.T) {
	s := newSite(t)
	p, basic, usual := s.open(), editor("why"), access(project, bob, sqlRole, "why")
	owner := access(project, alice, "roles/owner", "why") // joins carol's binding
	before := foreign(t, s.server, project)
	apply(t, p, project, ensured(basic, usual, owner)...)
	s.wants(basic.Binding, true, "granted")
	s.wants(usual.Binding, true, "granted")
	i := slices.IndexFunc(s.server.Policy(project).Bindings,
		func(b gcptest.Binding) bool { return b.BindingID == "kept" },
	)
	if i < 0 || !slices.Equal(s.server.Policy(project).Bindings[i].Members, []string{alice, "user:carol@example.com"}) {
		t.Errorf("the policy is %+v, want both owners in the binding that was there", s.server.Policy(project).Bindings)
	}
	if reads, writes := s.server.Calls(); reads != 1 || writes != 1 {
		t.Errorf("%d reads and %d writes, want one of each", reads, writes)
	}
	apply(t, p, project, removed(basic, usual, owner)...)
	s.left(before, "at last")
}

// Earlier access is both ours and standing access, and stays. Access that somebody removes meanwhile does not come
// back.
func TestRememberedPriorAccess(t *testing.T) {
	s := newSite(t)
	p, first, second := s.open(), editor("first"), editor("second")
	s.give(first.Binding)
	before := foreign(t, s.server, project)
	apply(t, p, project, ensured(first, second)...)
	snap, err := p.Read(t.Context(), project)
	if _, standing := snap.StandingOf(first.Binding); err != nil || len(snap.Ours) != 2 || !standing {
		t.Errorf("Read = %+v, %v; want two grants and the standing access", snap, err)
	}
	apply(t, p, project, removed(first, second)...)
	s.left(before, "after both")

	apply(t, p, project, ensured(first, second)...)
	s.take(first.Binding)
	apply(t, p, project, removed(first)...)
	s.wants(first.Binding, false, "after the end of the first")
	apply(t, p, project, ensured(second)...)
	s.wants(first.Binding, true, "after the second was repaired")
	apply(t, p, project, removed(second)...)
	s.wants(first.Binding, false, "after the end of the second")
}

// Two owners share the access, which ends with the last of their grants.
func TestRememberedForTwoOwners(t *testing.T) {
	s := newSite(t)
	ours, theirs := editor("why"), editor("why")
	theirs.Marker.Owner = "another"
	before := foreign(t, s.server, project)
	apply(t, s.open(), project, ensured(ours)...)
	apply(t, s.open(), project, ensured(theirs)...)
	apply(t, s.open(), project, removed(ours)...)
	s.wants(ours.Binding, true, "after the first")
	apply(t, s.open(), project, removed(theirs)...)
	s.left(before, "after both")
}

// Without a reachable ledger no such access begins. Access with a condition begins and ends as usual.
func TestNoLedgerNoAccess(t *testing.T) {
	s := newSite(t)
	basic, usual := editor("why"), access(project, bob, sqlRole, "why")
	p := s.open()
	gone := errors.New("connection refused")
	p.ledger = hooked{s.marks, func(func() error) error { return gone }}
	errs := p.Apply(t.Context(), project, ensured(basic, usual))
	if !errors.Is(errs[0], gone) || errs[1] != nil {
		t.Errorf("Apply = %v, want only the first to fail", errs)
	}
	s.wants(basic.Binding, false, "without a ledger")
	s.wants(usual.Binding, true, "without a ledger")
	apply(t, s.open(), project, ensured(basic)...)
	errs = p.Apply(t.Context(), project, removed(basic, usual))
	if !errors.Is(errs[0], gone) || errs[1] != nil {
		t.Errorf("Apply = %v, want only the first to fail", errs)
	}
	s.wants(usual.Binding, false, "revoked without a ledger")

	// If claims can be read but not written, the access ends, and the error says that this is not recorded.
	var calls atomic.Int64
	p.ledger = hooked{s.marks, func(do func() error) error {
		if calls.Add(1) == 1 {
			return do()
		}
		return gone
	}}
	if err := p.Apply(t.Context(), project, removed(basic))[0]; err == nil ||
		!strings.Contains(err.Error(), "could not be recorded") {
		t.Errorf("Apply = %v, want that it could not be recorded", err)
	}
	s.wants(basic.Binding, false, "ended without a record")
}

// A refusal repeats the service's words, and leaves no claim.
func TestRefusalsOfWhatIsRemembered(t *testing.T) {
	s := newSite(t)
	p := s.open()
	public := access(project, "allUsers", sqlRole, "why")
	nobody := access(project, "user:nobody@example.com", basicViewer, "why")
	for i, err := range p.Apply(t.Context(), project, ensured(public, nobody)) {
		var told *jit.Error
		if !errors.As(err, &told) || told.Attribute != "principal" {
			t.Errorf("change %d: %v, want an error about the principal", i, err)
		}
	}
	if m := marksOf(t, s.marks, project); len(m) > 0 {
		t.Errorf("what was refused is remembered: %+v", m)
	}
	owner := access(project, alice, "roles/owner", "why")
	apply(t, p, project, ensured(owner)...)
	const said = "There must be at least one owner of the project."
	s.server.Inject(func(r gcptest.Request) gcptest.Fault {
		if !r.Write() {
			return gcptest.Fault{}
		}
		return gcptest.Fault{Status: http.StatusBadRequest, Message: said}
	})
	if err := p.Apply(t.Context(), project, removed(owner))[0]; err == nil || !strings.Contains(err.Error(), said) {
		t.Errorf("Apply = %v, want %q", err, said)
	}
	s.server.Inject(nil)
	apply(t, p, project, removed(owner)...)
	if m := marksOf(t, s.marks, project); len(m) > 0 {
		t.Errorf("what was removed is remembered: %+v", m)
	}
}

// The policy renames a deleted account, and the end of the grant removes it under that name.
func TestDeletedAccountOfWhatIsRemembered(t *testing.T) {
	s := newSite(t)
	p, a := s.open(), editor("why")
	before := foreign(t, s.server, project)
	apply(t, p, project, ensured(a)...)
	s.server.DeleteAccount(alice)
	apply(t, p, project, removed(a)...)
	s.left(before, "after the end")
}

// The sweeper ends the access. If the ledger is lost, it is standing access, as the guide says.
func TestTheSweeperEndsWhatIsRemembered(t *testing.T) {
	d := newDesk(t)
	before := foreign(t, d.server, project)
	short := d.grant(alice, basicViewer, "1h")
	long, err := d.broker.Grant(t.Context(),
		broker.Request{Binding: short.Binding, Reason: "INC-2", Renewal: 1, TTL: jit.RecordedTTL("3h")},
	)
	if err != nil {
		t.Fatal(err)
	}
	public := d.grant(bob, basicEditor, "2h")
	if short.Enforcement != jit.Sweeper {
		t.Errorf("enforcement %q, want the sweeper's", short.Enforcement)
	}
	d.pass(90 * time.Minute)
	if r := d.sweep()[short.ID]; r.Kind != reconcile.End {
		t.Errorf("what is over: %s, %q", r.Kind, r.Reason)
	}
	d.may(long, 0, true, "after the end of the shorter")
	d.may(public, 0, true, "before its end")
	d.pass(2 * time.Hour)
	d.sweep()
	d.may(long, 0, false, "after the end of both")
	d.may(public, 0, false, "after its end")
	if after := foreign(t, d.server, project); after != before {
		t.Errorf("at last the policy is\n%s\nwas\n%s", after, before)
	}

	lost := d.grant(deploy, basicViewer, "1h")
	d.loseLedger()
	d.pass(2 * time.Hour)
	if results := d.sweep(); len(results) != 0 {
		t.Errorf("without the ledger the sweep did %+v", results)
	}
	d.may(lost, 0, true, "with the ledger lost")
	snap, err := d.broker.Targets["prod"].Read(t.Context(), project)
	if _, standing := snap.StandingOf(lost.Binding); err != nil || !standing {
		t.Errorf("Read = %+v, %v; want it as standing access", snap, err)
	}
}
