package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// exact is a platform that reports all traits when asked.
type exact struct {
	jit.Platform
	traits jit.Traits
}

func (e *exact) Describe(context.Context, jit.Binding) (jit.Traits, error) { return e.traits, nil }

// Grants that exceed the platform's maximum are refused at plan, at apply and at a change, and nothing is written.
func TestNoGrantIsLongerThanItsPlatformTakes(t *testing.T) {
	for _, tt := range []struct {
		name         string
		known, asked time.Duration // the answers of Check and Describe
		says         string
	}{
		{"known to Describe", 48 * time.Hour, 3 * time.Hour, "at most 3h"},
		{"known to Check", 3 * time.Hour, 0, "at most 3h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.platform.Traits.MaxTTL = tt.known
			if tt.asked != 0 {
				traits := w.platform.Traits
				traits.MaxTTL = tt.asked
				w.Targets["db"] = &exact{w.platform, traits}
			}
			end := func(r *broker.Request) { r.TTL, r.ExpiresAt = jit.TTL{}, w.now.Add(3*time.Hour+time.Second) }
			for attribute, r := range map[string]broker.Request{
				"ttl":        request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h1s") }),
				"expires_at": request(end),
			} {
				w.mustWrite(0, func() {
					_, err := w.Preview(t.Context(), r, true)
					blames(t, err, attribute, tt.says)
					_, err = w.Grant(t.Context(), r)
					blames(t, err, attribute, tt.says)
				})
			}
			if got := w.kinds(); len(got) != 0 {
				t.Errorf("the ledger holds %v, want nothing", got)
			}

			g := w.grant(request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") }))
			w.mustWrite(0, func() {
				longer := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL("4h") })
				_, err := w.PreviewChange(t.Context(), g, longer)
				blames(t, err, "ttl", tt.says)
				_, err = w.Change(t.Context(), g, longer)
				blames(t, err, "ttl", tt.says)
			})
		})
	}
}

func blames(t *testing.T, err error, attribute string, says string) {
	t.Helper()
	wantError(t, err, jit.ErrInvalid, says)
	var user *jit.Error
	if errors.As(err, &user) && user.Attribute != attribute {
		t.Errorf("the error blames %q, want %q: %v", user.Attribute, attribute, err)
	}
}

// A length that the request states is judged before any call.
func TestALengthIsRefusedBeforeAnythingIsCalled(t *testing.T) {
	w := newWorld(t, jit.Native)
	w.platform.Traits.MinTTL, w.platform.Traits.MaxTTL = 5*time.Minute, 3*time.Hour
	w.platform.Call = func(what string) error { return errors.New(what + " was called") }
	for ttl, says := range map[string]string{"4m": "at least 5m", "4h": "at most 3h",
		"25h": "max_ttl of the provider is 1d"} {
		r := request(func(r *broker.Request) { r.TTL = jit.RecordedTTL(ttl) })
		_, err := w.Preview(t.Context(), r, true)
		blames(t, err, "ttl", says)
		_, err = w.Grant(t.Context(), r)
		blames(t, err, "ttl", says)
	}
}
