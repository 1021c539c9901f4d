package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// interpreting is a platform that must be asked for further names of a role.
type interpreting struct {
	jit.Platform
	err   error
	takes func()
	asked int
}

func (p *interpreting) Given(_ context.Context, b jit.Binding, ask bool) (jit.Given, error) {
	g := jit.AsWritten(b)
	if !ask {
		g.Role.Unresolved = true
		return g, nil
	}
	p.asked++
	if p.takes != nil {
		p.takes()
	}
	return g, p.err
}

// The target does not answer with the names that policies need. That fails no plan and hides no refusal. The apply is
// judged in full. A plan of many grants waits for the target once.
func TestAPlanWithoutTheNamesThatOnlyTheTargetKnows(t *testing.T) {
	w := newWorld(t, jit.Native)
	target := &interpreting{Platform: w.platform}
	w.Targets["db"] = batch.Share(target, 0, w.Now)
	for _, p := range []jit.Policy{
		{Name: "all", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"reader", "root"}}}},
		{Name: "no-root", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"root"}}}},
	} {
		if err := w.PutPolicy(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	g := w.grant(request())
	target.err = errors.New("no route to host")
	warned := func(what string, p broker.Decision, err error) {
		t.Helper()
		if err != nil || len(p.Warnings) == 0 || !hasWarning(p, "The target cannot be read", "no route to host") {
			t.Errorf("%s: %+v, %v; want a warning", what, p.Warnings, err)
		}
	}
	longer := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") })
	other := func(n int64) broker.Request { return request(func(r *broker.Request) { r.Renewal = n }) }
	p, err := w.Preview(t.Context(), other(2), true)
	warned("a new grant, or the create half of a replacement", p, err)
	p, err = w.PreviewChange(t.Context(), g, longer)
	warned("another ttl", p, err)
	p, err = w.Preview(t.Context(), request(), true)
	warned("a replacement by itself", p, err)
	_, err = w.Preview(t.Context(), request(func(r *broker.Request) { r.Binding.Role = "root" }), true)
	wantError(t, err, jit.ErrDenied, "no-root")

	w.mustWrite(0, func() {
		if _, err := w.Grant(t.Context(), other(2)); !errors.Is(err, target.err) {
			t.Errorf("the apply of a new grant: %v", err)
		}
		if _, err := w.Change(t.Context(), g, longer); !errors.Is(err, target.err) {
			t.Errorf("the apply of a change: %v", err)
		}
	})

	target.takes = func() { w.pass(10 * time.Second) }
	asked := target.asked
	for n := range int64(10) {
		p, err = w.Preview(t.Context(), other(10+n), false)
		warned(fmt.Sprint("grant ", n), p, err)
	}
	if target.asked != asked+1 {
		t.Errorf("the target was asked %d times, want once", target.asked-asked)
	}
	if _, err := w.Grant(t.Context(), other(30)); !errors.Is(err, target.err) || target.asked != asked+2 {
		t.Errorf("an apply does not ask again: %v", err)
	}
	target.err, target.takes = nil, nil
	w.pass(2 * time.Minute)
	if p, err = w.Preview(t.Context(), other(31), true); err != nil || hasWarning(p, "The target cannot be read", "") {
		t.Errorf("after the target answers again: %+v, %v", p.Warnings, err)
	}
}

func hasWarning(p broker.Decision, summary, part string) bool {
	return slices.ContainsFunc(p.Warnings, func(w broker.Warning) bool {
		return w.Summary == summary &&
			strings.Contains(w.Detail, part)
	})
}
