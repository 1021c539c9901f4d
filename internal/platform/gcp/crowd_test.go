package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/api/cloudresourcemanager/v3"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// outsider writes a policy with the SDK, as other tools do, until enough is closed: it adds a binding with a condition,
// and changes it in each round. It returns the last binding that it wrote.
func outsider(ctx context.Context, s *gcptest.Server, n int, enough <-chan struct{}) (last gcptest.Binding, err error) {
	service, err := cloudresourcemanager.NewService(ctx, option.WithEndpoint(s.URL), option.WithoutAuthentication())
	if err != nil {
		return last, err
	}
	for round := 0; ; round++ {
		last = gcptest.Binding{Role: logging, Members: []string{alice, bob}[:1+round%2], Condition: &gcptest.Condition{
			Title: fmt.Sprintf(
				"outsider %d", n,
			), Description: fmt.Sprint(round), Expression: `request.time < timestamp("2030-01-01T00:00:00Z")`}}
		for done := false; !done; {
			p, err := service.Projects.GetIamPolicy(project, &cloudresourcemanager.GetIamPolicyRequest{
				Options: &cloudresourcemanager.GetPolicyOptions{RequestedPolicyVersion: 3}}).Context(ctx).Do()
			if err != nil {
				return last, err
			}
			p.Version = 3
			p.Bindings = slices.DeleteFunc(p.Bindings, func(b *cloudresourcemanager.Binding) bool {
				return b.Condition != nil && b.Condition.Title == last.Condition.Title
			})
			c := *last.Condition
			p.Bindings = append(p.Bindings, &cloudresourcemanager.Binding{Role: last.Role, Members: last.Members,
				Condition: &cloudresourcemanager.Expr{
					Title:       c.Title,
					Description: c.Description,
					Expression:  c.Expression,
				}})
			_, err = service.Projects.SetIamPolicy(project, &cloudresourcemanager.SetIamPolicyRequest{Policy: p}).
				Context(ctx).
				Do()
			var answered *googleapi.Error
			if done = err == nil; !done && (!errors.As(err, &answered) || answered.Code != 409) {
				return last, err
			}
			if err := backoff.Wait(ctx, 0, 90*time.Millisecond, time.Second); err != nil {
				return last, err
			}
		}
		select {
		case <-enough:
			return last, nil
		default:
		}
	}
}

// Ten outsiders write the same policy while 200 grants come and go. No binding is lost.
func TestTenOutsiders(t *testing.T) {
	const outsiders, grants, atOnce = 10, 200, 20
	s := newWorld(t)
	s.SetLatency(5 * time.Millisecond)
	before := s.Policy(project)
	for i := range grants {
		s.AddAccounts(fmt.Sprintf("user:guest%d@example.com", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var others, all sync.WaitGroup
	enough := make(chan struct{})
	last := make([]gcptest.Binding, outsiders)
	for n := range outsiders {
		others.Go(func() {
			var err error
			if last[n], err = outsider(ctx, s, n, enough); err != nil {
				t.Errorf("outsider %d: %v", n, err)
			}
		})
	}
	p := batch.Share(open(t, s, Config{}), 0, time.Now)
	work := make(chan jit.Access)
	for range atOnce {
		all.Go(func() {
			for a := range work {
				for _, step := range []struct {
					change jit.Change
					want   bool
				}{{ensured(a)[0], true}, {removed(a)[0], false}} {
					if err := p.Apply(ctx, project, []jit.Change{step.change})[0]; err != nil {
						t.Errorf("%s for %s: %v", step.change.Op, a.Binding.Principal, err)
					}
					if got := allowed(s, a.Binding, time.Now()); got != step.want {
						t.Errorf(
							"after %s %s is allowed: %t, want %t", step.change.Op, a.Binding.Principal, got, step.want,
						)
					}
				}
			}
		})
	}
	for i := range grants {
		work <- access(project, fmt.Sprintf("user:guest%d@example.com", i), sqlRole, "a visit")
	}
	close(work)
	all.Wait()
	close(enough)
	others.Wait()

	after := s.Policy(project)
	if s.Conflicts() < 2*outsiders {
		t.Errorf("only %d writes came too late: there was no crowd", s.Conflicts())
	}
	if s.Blind() != 0 {
		t.Errorf("%d writes had no etag", s.Blind())
	}
	if fmt.Sprint(after.AuditConfigs) != fmt.Sprint(before.AuditConfigs) {
		t.Errorf("the audit configuration is %v, was %v", after.AuditConfigs, before.AuditConfigs)
	}
	if want := len(before.Bindings) + outsiders; len(after.Bindings) != want {
		t.Errorf("%d bindings are left, want the %d of others", len(after.Bindings), want)
	}
	for n, want := range last {
		if !slices.ContainsFunc(after.Bindings, func(b gcptest.Binding) bool { return reflect.DeepEqual(b, want) }) {
			t.Errorf("what outsider %d wrote last, %+v, is not there as he wrote it", n, want)
		}
	}
	for _, want := range before.Bindings {
		want.BindingID = "" // the outsiders' SDK drops what it does not know
		if !slices.ContainsFunc(after.Bindings, func(b gcptest.Binding) bool { return reflect.DeepEqual(b, want) }) {
			t.Errorf("the binding %+v is not as it was", want)
		}
	}
}

// A writer that loses a race pauses for as long as an attempt takes, and longer with each loss. With shorter pauses, the
// writers of a slow policy would meet again each time, and one of them could lose every race.
func TestThePauseGrowsWithTheAttempt(t *testing.T) {
	for _, c := range []struct {
		took        time.Duration
		n           int
		least, most time.Duration
	}{
		{0, 0, firstPause / 2, firstPause}, {0, 9, 4 * firstPause, 8 * firstPause},
		{time.Second, 0, time.Second / 2, time.Second}, {time.Second, 9, 4 * time.Second, 8 * time.Second},
		{time.Hour, 9, maxPause / 2, maxPause},
	} {
		synctest.Test(t, func(t *testing.T) {
			var longest time.Duration
			for range 100 {
				before := time.Now()
				try := attempt{n: c.n, began: before.Add(-c.took)}
				if !(&application{}).pause(t.Context(), try, nil) {
					t.Fatal("the pause was cut short")
				}
				longest = max(longest, time.Since(before))
			}
			if longest < c.least || longest > c.most {
				t.Errorf("after %d attempts that took %s the longest of 100 pauses is %s, want %s to %s", c.n+1, c.took,
					longest, c.least, c.most)
			}
		})
	}
}

// To read a policy and draft a write costs little for each binding, although conditions are CEL: most are not parsed.
func TestAPolicyIsCheapToWrite(t *testing.T) {
	const bindings, most = 100, 100 // allocations for each binding; one condition parsed takes several hundred
	var all []binding
	for i := range bindings {
		a := access(project, alice, narrowed, fmt.Sprint(i))
		r, err := parseRole(narrowed)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, newShared(a, r))
	}
	text, err := marshal(map[string]any{"etag": "x", "bindings": all})
	if err != nil {
		t.Fatal(err)
	}
	r := reading{clock: clock{jit.Clock{Local: time.Now()}}}
	got := testing.AllocsPerRun(5, func() {
		if r.policy, err = decodePolicy(text); err != nil {
			t.Fatal(err)
		}
		d := newDraft(r, ensured(access(project, bob, sqlRole, "x")))
		if _, err := d.encode(); err != nil || len(d.bindings) != bindings {
			t.Fatal(len(d.bindings), err)
		}
	})
	if got > bindings*most {
		t.Errorf("%d bindings take %.0f allocations, want at most %d", bindings, got, bindings*most)
	}
}

// A writer whose time is up says so, and not that others wrote in each of its attempts.
func TestTheEndOfPatienceIsNoCrowd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &application{
		platform: open(t, newWorld(t), Config{}), at: resource{projectKind, project},
		changes: ensured(access(project, alice, sqlRole, "x")), errs: make([]error, 1), roles: make([]role, 1),
	}
	conflicts := &googleapi.Error{Code: http.StatusConflict}
	cancel()
	if a.startOver(ctx, &draft{}, []int{0}, reading{}, attempt{}, conflicts) ||
		!errors.Is(a.errs[0], context.Canceled) || strings.Contains(a.errs[0].Error(), "100 attempts") {
		t.Errorf("the error is %v", a.errs[0])
	}
}

// A writer that loses each race goes on for a number of attempts and a time, whichever is longer.
func TestACrowdIsAnErrorInTheEnd(t *testing.T) {
	p, conflicts := open(t, newWorld(t), Config{}), &googleapi.Error{Code: http.StatusConflict}
	for _, c := range []struct {
		n    int
		took time.Duration
		over bool
	}{{attempts, 0, false}, {attempts - 1, patience, false}, {attempts, patience, true}} {
		a := &application{
			platform: p, at: resource{projectKind, project}, changes: ensured(access(project, alice, sqlRole, "x")),
			errs: make([]error, 1), roles: make([]role, 1),
		}
		now := time.Now()
		again := a.startOver(t.Context(), &draft{}, []int{0}, reading{}, attempt{c.n, now, now.Add(-c.took)}, conflicts)
		crowd := a.errs[0] != nil && strings.Contains(a.errs[0].Error(), "during each of 101 attempts")
		if again == c.over || crowd != c.over {
			t.Errorf("after %d attempts in %s: again = %t, error %v", c.n+1, c.took, again, a.errs[0])
		}
	}
}

// Unknown fields of others' bindings survive our writes.
func TestUnknownFieldsSurvive(t *testing.T) {
	s := newWorld(t)
	before := foreign(t, s, project)
	p := open(t, s, Config{})
	a := access(project, alice, sqlRole, "why")
	apply(t, p, project, ensured(a)...)
	if after := foreign(t, s, project); after != before {
		t.Errorf("after a grant what is not ours is\n%s\nwas\n%s", after, before)
	}
	// Removing a member from a binding without a condition leaves all else unchanged.
	s.Edit(project, func(p *gcptest.Policy) {
		p.Bindings = slices.DeleteFunc(p.Bindings, ours)
		p.Bindings = append(p.Bindings,
			gcptest.Binding{Role: sqlRole, Members: []string{alice, bob}, BindingID: "kept too"},
		)
	})
	a.NoStandingBefore = true
	apply(t, p, project, removed(a)...)
	i := slices.IndexFunc(s.Policy(project).Bindings, func(b gcptest.Binding) bool { return b.BindingID == "kept too" })
	if i < 0 || !slices.Equal(s.Policy(project).Bindings[i].Members, []string{bob}) {
		t.Errorf("the policy is %+v, want the binding without %s", s.Policy(project).Bindings, alice)
	}
}

// Consecutive grants cost one call each, because the answer to a write stands for the next read. It serves only to
// draft the write.
func TestTheAnswerToAWriteStandsForARead(t *testing.T) {
	s := newWorld(t)
	p := open(t, s, Config{})
	for i := range 5 {
		apply(t, p, project, ensured(access(project, alice, sqlRole, fmt.Sprint(i)))...)
	}
	if reads, writes := s.Calls(); reads != 1 || writes != 5 {
		t.Errorf("5 grants made %d reads and %d writes, want 1 and 5", reads, writes)
	}
	first := access(project, alice, sqlRole, "0")
	s.Edit(project, func(p *gcptest.Policy) { p.Bindings = slices.DeleteFunc(p.Bindings, ours) })
	apply(t, p, project, ensured(first)...) // which was there when we last wrote
	if !allowed(s, first.Binding, time.Now()) {
		t.Error("a grant that somebody took away is said to be there")
	}
	apply(t, p, project, removed(first)...)
	if allowed(s, first.Binding, time.Now()) {
		t.Error("a grant that was removed is there")
	}
	s.Edit(project, func(p *gcptest.Policy) {
		p.Bindings = append(p.Bindings,
			gcptest.Binding{Role: sqlRole, Members: []string{alice}, Condition: &gcptest.Condition{
				Title: titleOf(first.Marker), Description: first.Marker.String(), Expression: "true"}},
		)
	})
	apply(t, p, project, removed(first)...) // which was not there when we last wrote
	if allowed(s, first.Binding, time.Now()) {
		t.Error("a grant that somebody put back is said to be gone")
	}
}
