package gcp

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// A bucket's policy that an organization policy forbids is refused with the status of a lost race
// (https://cloud.google.com/resource-manager/docs/organization-policy/restricting-domains), and not tried again.
func TestAForbiddenDomainIsNoLostRace(t *testing.T) {
	s := newWorld(t)
	s.Inject(func(r gcptest.Request) gcptest.Fault {
		if !r.Write() {
			return gcptest.Fault{}
		}
		return gcptest.Fault{
			Status:  http.StatusPreconditionFailed,
			Reason:  "conditionNotMet",
			Message: "One or more users named in the policy do not belong to a permitted customer.",
		}
	})
	err := open(t, s, Config{}).Apply(t.Context(), bucket, ensured(access(bucket, alice, viewer, "x")))[0]
	wantTold(t, err, "principal", "permitted customer")
	if _, writes := s.Calls(); writes != 1 {
		t.Errorf("%d writes, want one", writes)
	}
}

// The error page of a proxy does not prove that a resource is gone.
func TestAPageThatIsNotFoundIsNoResourceThatIsGone(t *testing.T) {
	between := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(between.Close)
	p, err := New(Config{Endpoint: between.URL}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []string{project, bucket} {
		wantTold(t,
			p.Apply(t.Context(), scope, removed(access(scope, alice, viewer, "x")))[0],
			"",
			"not from Google Cloud",
		)
		_, err = p.Read(t.Context(), scope)
		wantTold(t, err, "", "not from Google Cloud")
	}
}

// A write that never gets an answer fails soon.
func TestAWriteThatIsNeverAnswered(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	writes := 0
	p.opened = &client{
		now: time.Now,
		http: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, ":setIamPolicy") {
				writes++
				return nil, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
			}
			r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(s.URL, "http://")
			return http.DefaultTransport.RoundTrip(r)
		})},
	}
	wantTold(t,
		p.Apply(t.Context(), project, ensured(access(project, alice, sqlRole, "x")))[0],
		"",
		"no answer from Google Cloud",
	)
	if writes > 3 {
		t.Errorf("%d writes, want at most 3", writes)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A write by an operator that may grant only some roles is refused if it changes another role. The permitted changes
// are made, and an ended binding of the other role stays.
func TestARoleThatMayNotBeGivenHoldsNobodyUp(t *testing.T) {
	s := newWorld(t)
	var passed time.Duration
	p := openAt(t, s, Config{}, func() time.Time { return time.Now().Add(passed) })
	old, there := access(project, bob, admin, "old"), access(project, bob, sqlRole, "there")
	there.Marker.Window.End = there.Marker.Window.End.Add(time.Hour)
	apply(t, p, project, ensured(old, there)...)
	passed = 90 * time.Minute
	s.SetClock(passed)
	s.Grantable(sqlRole)
	fine, bad := access(project, alice, sqlRole, "fine"), access(project, alice, viewer, "bad")
	for _, a := range []*jit.Access{&fine, &bad} {
		a.Marker.Window.End = a.Marker.Window.End.Add(2 * time.Hour)
	}
	errs := p.Apply(t.Context(), project, append(ensured(fine, bad), removed(there)...))
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("what may be done: %v, %v", errs[0], errs[2])
	}
	wantTold(t, errs[1], "scope", "Policy update access denied")
	now := time.Now().Add(passed)
	if !allowed(s, fine.Binding, now) || allowed(s, bad.Binding, now) || allowed(s, there.Binding, now) {
		t.Error("the policy is not what the errors say")
	}
}

// A group counts once among the groups. Exemptions from audit logs count among the principals
// (https://cloud.google.com/iam/quotas).
func TestWhatCountsTowardsTheLimits(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	s.Edit(project, func(p *gcptest.Policy) {
		for i := range 2 * maxGroups {
			role := fmt.Sprintf("roles/of.many%d", i)
			p.Bindings = append(p.Bindings,
				gcptest.Binding{Role: role, Members: []string{"group:everywhere@example.com"}},
			)
		}
	})
	for i := range 2 * maxGroups {
		s.AddRole(fmt.Sprintf("roles/of.many%d", i))
	}
	s.AddGroup("group:everywhere@example.com")
	apply(t, p, project, ensured(access(project, oncall, sqlRole, "one group more"))...)

	s.Edit(folder, func(p *gcptest.Policy) {
		var exempt []string
		for i := range maxPrincipals - 2 {
			exempt = append(exempt, fmt.Sprintf("user:exempt%d@example.com", i))
		}
		p.AuditConfigs = []any{
			map[string]any{
				"service":         "allServices",
				"auditLogConfigs": []any{map[string]any{"logType": "DATA_READ", "exemptedMembers": exempt}},
			},
		}
	})
	wantTold(t,
		p.Apply(t.Context(), folder, ensured(access(folder, alice, sqlRole, "full")))[0],
		"scope",
		"1501 principals",
	)
}

// A policy that is refused because of others' bindings is not written once for each change.
func TestAPolicyThatIsRefusedWhateverIsChanged(t *testing.T) {
	s := newWorld(t)
	s.Inject(func(r gcptest.Request) gcptest.Fault {
		if !r.Write() {
			return gcptest.Fault{}
		}
		return gcptest.Fault{Status: http.StatusBadRequest, Message: "Principal 000 does not exist."}
	})
	var all []jit.Access
	for n := range 200 {
		all = append(all, access(project, alice, sqlRole, fmt.Sprint(n)))
	}
	for _, err := range open(t, s, Config{}).Apply(t.Context(), project, ensured(all...)) {
		if err == nil {
			t.Fatal("a change that was refused succeeded")
		}
	}
	if _, writes := s.Calls(); writes > 40 {
		t.Errorf("%d writes", writes)
	}
}

// A grant that begins now begins at once, also on a policy that is known from the write before.
func TestARecalledPolicyIsOfNow(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	if err := p.Apply(t.Context(), project, ensured(access(project, alice, sqlRole, "first")))[0]; err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	second := access(project, alice, sqlRole, "second")
	second.Marker.Window.Start = jit.Second(time.Now())
	if err := p.Apply(t.Context(), project, ensured(second))[0]; err != nil {
		t.Fatal(err)
	}
	for _, b := range s.Policy(project).Bindings {
		if b.Condition != nil && strings.Contains(b.Condition.Expression, ">=") {
			t.Errorf("the condition is %s", b.Condition.Expression)
		}
	}
}
