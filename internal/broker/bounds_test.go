package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A platform that takes no longer grants refuses them at plan, at apply and at a change, and nothing is written.
func TestNoGrantIsLongerThanItsPlatformTakes(t *testing.T) {
	for _, tt := range []struct {
		name          string
		known, scoped time.Duration // what Check tells, and what the read of the scope tells
		says          string
	}{
		{"known without a call", 3 * time.Hour, 0, "at most 3h"},
		{"told by the scope", 48 * time.Hour, 3 * time.Hour, "at most 3h"},
		{"the scope takes more", 3 * time.Hour, 4 * time.Hour, "at most 3h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, jit.Native)
			w.platform.Traits.MaxTTL, w.platform.MaxTTL = tt.known, tt.scoped
			end := func(r *broker.Request) { r.TTL, r.ExpiresAt = "", w.now.Add(3*time.Hour+time.Second) }
			for attribute, r := range map[string]broker.Request{
				"ttl":        request(func(r *broker.Request) { r.TTL = "3h1s" }),
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

			g := w.grant(request(func(r *broker.Request) { r.TTL = "3h" }))
			w.mustWrite(0, func() {
				longer := request(func(r *broker.Request) { r.TTL = "4h" })
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
