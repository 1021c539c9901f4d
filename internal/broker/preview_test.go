package broker_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestAPlanWritesNothing(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.ledger.Call = func(what string) error {
		if what == "write" {
			t.Error("a preview wrote to the ledger")
		}
		return nil
	}
	w.mustWrite(0, func() {
		if _, err := w.Preview(t.Context(), request(), true); err != nil {
			t.Fatal(err)
		}
	})
}

// A policy with unknown values refuses by its known values, and permits nothing.
func TestAnAwaitedPolicyGrantsNothing(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.Planned = &broker.Planned{}
	w.Planned.PutIncomplete(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: 4 * time.Hour})
	for _, named := range []string{"", "oncall"} {
		r := request(func(r *broker.Request) { r.Policy = named })
		p, err := w.Preview(t.Context(), r, true)
		if err != nil || len(p.Warnings) == 0 || p.Warnings[0].Summary != "The policy is not known yet" {
			t.Errorf("policy %q: preview %+v, error %v", named, p, err)
		}
		r.TTL = jit.RecordedTTL("5h")
		_, err = w.Preview(t.Context(), r, true)
		wantError(t, err, jit.ErrDenied, "4h")
	}
	w.mustWrite(0, func() {
		_, err := w.Grant(t.Context(), request(func(r *broker.Request) { r.Policy = "oncall" }))
		wantError(t, err, jit.ErrUnknown, `no policy "oncall"`)
	})
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: time.Hour})
	_, err := w.Preview(t.Context(), request(), true)
	wantError(t, err, jit.ErrDenied, "1h")
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: 3 * time.Hour})
	if p, err := w.Preview(t.Context(), request(), true); err != nil || len(p.Warnings) != 0 {
		t.Errorf("with known values: preview %+v, error %v", p, err)
	}
}

func TestRefusalsCallNothing(t *testing.T) {
	now := time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		change func(*broker.Request)
		kind   error
		parts  []string
	}{
		"no end": {func(r *broker.Request) { r.TTL = jit.TTL{} }, jit.ErrInvalid,
			[]string{"ttl", "no end", `ttl = "2h"`}},
		"two ends": {func(r *broker.Request) { r.ExpiresAt = now.Add(time.Hour) }, jit.ErrInvalid,
			[]string{"expires_at", "two ends"}},
		"zero": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("0s") }, jit.ErrInvalid,
			[]string{"ttl", `"0s"`}},
		"negative": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("-5m") }, jit.ErrInvalid,
			[]string{"ttl", `"-5m"`}},
		"never": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("never") }, jit.ErrInvalid,
			[]string{"ttl", `"never"`}},
		"years": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("1y") }, jit.ErrInvalid,
			[]string{"ttl", `"1y"`}},
		"past": {func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, now.Add(-time.Second) },
			jit.ErrInvalid, []string{"expires_at", "already past"}},
		"over the maximum": {func(r *broker.Request) { r.TTL = jit.RecordedTTL("2d") }, jit.ErrInvalid,
			[]string{"ttl", "2d", "max_ttl", "1d"}},
		"end over the maximum": {func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, now.Add(25*time.Hour) },
			jit.ErrInvalid, []string{"expires_at", "max_ttl"}},
		"too late to begin": {func(r *broker.Request) { r.StartBy = now.Add(-time.Minute) }, jit.ErrInvalid,
			[]string{"start_by"}},
		"begins after its end": {func(r *broker.Request) {
			r.TTL, r.StartsAt, r.ExpiresAt = jit.TTL{}, now.Add(2*time.Hour), now.Add(time.Hour)
		}, jit.ErrInvalid, []string{"expires_at", "starts_at"}},
		"unknown target": {func(r *broker.Request) { r.Binding.Target = "prod" }, jit.ErrUnknown,
			[]string{"target", `"prod"`, `"db"`}},
		"two lines": {func(r *broker.Request) { r.Binding.Principal = "bob\nroot" }, jit.ErrInvalid,
			[]string{"principal", "U+000A"}},
		"no reason":      {func(r *broker.Request) { r.Reason = " " }, jit.ErrInvalid, []string{"reason", "empty"}},
		"no renewal":     {func(r *broker.Request) { r.Renewal = 0 }, jit.ErrInvalid, []string{"renewal"}},
		"unknown policy": {func(r *broker.Request) { r.Policy = "prod" }, jit.ErrUnknown, []string{"policy", `"prod"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.now = now
			w.ledger.Call = func(what string) error {
				if what == "write" {
					t.Error("the ledger was written to")
				}
				return nil
			}
			w.mustWrite(0, func() {
				_, err := w.Preview(t.Context(), request(tt.change), false)
				wantError(t, err, tt.kind, tt.parts...)
				_, err = w.Grant(t.Context(), request(tt.change))
				wantError(t, err, tt.kind, tt.parts...)
			})
		})
	}
}

func TestPoliciesOfTheSamePlanCount(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.Planned = &broker.Planned{}
	named := request(func(r *broker.Request) { r.Policy = "oncall" })
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: time.Hour})
	_, err := w.Preview(t.Context(), named, false)
	wantError(t, err, jit.ErrDenied, "ttl", "1h", "2h")
	w.Planned.Put(jit.Policy{Name: "oncall", Effect: jit.Permit, MaxTTL: 4 * time.Hour})
	p, err := w.Preview(t.Context(), named, false)
	if err != nil || p.Verdict.Policy != "oncall" {
		t.Errorf("verdict %+v, error %v", p.Verdict, err)
	}
	if _, err := w.Grant(t.Context(), request()); err != nil {
		t.Fatal(err)
	}
	if err := w.PutPolicy(t.Context(), jit.Policy{Name: "no-readers", Effect: jit.Forbid,
		Match: jit.Matches{{Roles: []string{"read*"}}}}); err != nil {
		t.Fatal(err)
	}
	_, err = w.Grant(t.Context(), request(func(r *broker.Request) { r.Renewal = 2 }))
	wantError(t, err, jit.ErrDenied, "no-readers")
	w.Planned.Drop("no-readers")
	if _, err = w.Preview(t.Context(), request(func(r *broker.Request) { r.Renewal = 2 }), false); err != nil {
		t.Errorf("a policy that the plan removes still counts: %v", err)
	}
}

func TestStandingAccessIsNamedAtPlan(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.AddStanding("all", jit.Standing{Principal: "bob", Role: "reader", Detail: "line 3"})
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(p.Warnings, func(w broker.Warning) bool { return strings.Contains(w.Detail, "line 3") }) {
		t.Errorf("warnings %+v do not name the standing access", p.Warnings)
	}
}

// A platform's advice about a binding is a warning.
func TestAdviceIsAWarningAtPlan(t *testing.T) {
	w := newWorld(t, jit.Sweeper)
	w.platform.Advise = func(_ context.Context, b jit.Binding) []jit.Advice {
		return []jit.Advice{{Attribute: "principal", Title: "The principal does not exist", Text: "no " + b.Principal}}
	}
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	want := broker.Warning{Attribute: "principal", Summary: "The principal does not exist", Detail: "no bob"}
	if !slices.Contains(p.Warnings, want) {
		t.Errorf("the plan warns of %+v, want %+v among it", p.Warnings, want)
	}
}

// A platform's note about a scope is a warning for every grant there, or for the grants of one principal.
func TestNotesAreWarningsAtPlan(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Notes = []jit.Note{{Text: "nearly full"}, {Principal: "bob", Text: "bob has many"},
		{Principal: "alice", Text: "alice has many"}}
	p, err := w.Preview(t.Context(), request(), true)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, w := range p.Warnings {
		if w.Summary == "Little room is left" {
			told = append(told, w.Detail)
		}
	}
	if want := []string{"nearly full", "bob has many"}; !slices.Equal(told, want) {
		t.Errorf("the warnings are %q, want %q", told, want)
	}
}

func TestAWindowFitsThePlatform(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.MinTTL, w.platform.Traits.MaxTTL = 5*time.Minute, 3*time.Hour
	for _, tt := range []struct {
		name   string
		change func(*broker.Request)
		parts  []string
	}{
		{"too short", func(r *broker.Request) { r.TTL = jit.RecordedTTL("4m") }, []string{"ttl", "4m", "at least 5m",
			"ask for 5m or more"}},
		{"too long", func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") }, []string{"ttl", "at most 3h",
			"ask for 3h or less"}},
		{"an end too near", func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, w.now.Add(time.Minute) },
			[]string{"expires_at", "at least 5m"}},
	} {
		_, err := w.Preview(t.Context(), request(tt.change), true)
		wantError(t, err, jit.ErrInvalid, tt.parts...)
		_, err = w.Grant(t.Context(), request(tt.change))
		wantError(t, err, jit.ErrInvalid, tt.parts...)
	}
	g := w.grant(request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("5m") }))
	_, err := w.Change(t.Context(), g, request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3m") }))
	wantError(t, err, jit.ErrInvalid, "ttl", "at least 5m")
	w.allowed(true)
}
