package hoop

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// TestConformanceOnARealGateway runs the suite against the gateway at JIT_HOOP_URL. It needs the key of an
// administrator (JIT_HOOP_API_KEY), two test users (JIT_HOOP_USERS, as a@example.com,b@example.com) and a connection
// with a review gate (JIT_HOOP_CONNECTIONS). It revokes every approved review of these users on that connection.
func TestConformanceOnARealGateway(t *testing.T) {
	cfg := Config{URL: os.Getenv("JIT_HOOP_URL"), APIKey: os.Getenv("JIT_HOOP_API_KEY")}
	users, connection := strings.Split(os.Getenv("JIT_HOOP_USERS"), ","), os.Getenv("JIT_HOOP_CONNECTIONS")
	if cfg.URL == "" || cfg.APIKey == "" || len(users) != 2 || connection == "" {
		t.Skip(
			"no real gateway: set JIT_HOOP_URL, JIT_HOOP_API_KEY, JIT_HOOP_USERS (two, with a comma) and JIT_HOOP_CONNECTIONS (one)",
		)
	}
	platformtest.Run(t,
		platformtest.Harness{
			New: func(t *testing.T) *platformtest.Target { return overTheAPI(t, cfg, users, connection) },
		},
	)
}

// TestConformanceOverTheAPI tries the harness for a real gateway on the one in memory.
func TestConformanceOverTheAPI(t *testing.T) {
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		return overTheAPI(t, Config{URL: newSite(t, nil).URL, APIKey: hooptest.Key}, []string{alice, bob}, db)
	}})
}

// overTheAPI describes a connection that is reached only through the API. It decides who may connect by the gateway's
// rule: the latest approved review.
func overTheAPI(t *testing.T, cfg Config, users []string, scope string) *platformtest.Target {
	t.Helper()
	var reads, writes atomic.Int32
	open := func(t *testing.T, offset time.Duration) *Platform {
		t.Helper()
		p, err := New(cfg, jit.Services{Now: func() time.Time { return time.Now().Add(offset) }})
		if err != nil {
			t.Fatal(err)
		}
		p.OnCall = func(op string) {
			if op == "read" {
				reads.Add(1)
			} else {
				writes.Add(1)
			}
		}
		return p
	}
	hand := open(t, 0)
	hand.OnCall = nil
	// there lists the sessions with an approved review of the users, the latest first.
	there := func(ctx context.Context) []session {
		all, err := hand.sessions(ctx,
			url.Values{"connection": {scope}, "review.status": {approved}},
			time.Now().Add(-lookBack),
		)
		if err != nil {
			t.Fatal(err)
		}
		var kept []session
		for _, s := range all {
			if s.Connection == scope && (s.UserEmail == users[0] || s.UserEmail == users[1]) {
				kept = append(kept, s)
			}
		}
		return kept
	}
	clean := func(ctx context.Context) {
		for _, s := range there(ctx) {
			if _, err := hand.revoke(ctx, s.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	clean(t.Context())
	t.Cleanup(func() { clean(context.Background()) })
	make := func(t *testing.T, email, correlation string, lasts time.Duration) {
		if _, err := hand.provision(t.Context(), email, scope, correlation, int64(lasts/time.Second), nil, false); err != nil {
			t.Fatal(err)
		}
	}
	allowedAt := func(t *testing.T, b jit.Binding, at time.Time) bool {
		for _, s := range there(t.Context()) {
			if s.UserEmail == b.Principal {
				return s.Review.RevokeAt != nil && !s.Review.RevokeAt.Before(at)
			}
		}
		return false
	}
	return &platformtest.Target{
		Open:       func(t *testing.T) jit.Platform { return open(t, 0) },
		OpenAt:     func(t *testing.T, offset time.Duration) jit.Platform { return open(t, offset) },
		Principals: users, Roles: []string{connect}, Scope: scope, Gone: "jit-conformance-vanished",
		BadBindings: []platformtest.BadBinding{bad("a group", "principal", "group:oncall", connect, scope)},
		Impossible:  &jit.Binding{Principal: "nobody@jit-conformance.invalid", Role: connect, Scope: scope},
		Allowed:     func(t *testing.T, b jit.Binding) bool { return allowedAt(t, b, time.Now()) },
		AllowedAt:   allowedAt,
		Foreign:     func(t *testing.T, b jit.Binding) { make(t, b.Principal, "", maxTTL) },
		Dump: func(t *testing.T) string {
			var b strings.Builder
			for _, s := range there(t.Context()) {
				if _, marked := jit.ParseMarker(s.CorrelationID); !marked {
					fmt.Fprintln(&b, s.ID, s.UserEmail, s.Review.Status, s.Review.RevokeAt)
				}
			}
			return b.String()
		},
		Calls: func() (int, int) { return int(reads.Load()), int(writes.Load()) },
		MaxCalls: func(op jit.Op, n int) (int, int) {
			if op == jit.Remove {
				return 5, n
			}
			return 6, n
		},
		Tamper: platformtest.Tamper{
			Duplicate: func(t *testing.T, m jit.Marker) { make(t, users[0], m.String(), time.Until(m.Window.End)) },
			Delete: func(t *testing.T, m jit.Marker) {
				for _, s := range there(t.Context()) {
					if s.CorrelationID == m.String() {
						if _, err := hand.revoke(t.Context(), s.ID); err != nil {
							t.Fatal(err)
						}
					}
				}
			},
		},
	}
}
