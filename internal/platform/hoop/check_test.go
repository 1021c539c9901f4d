package hoop

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

func TestRefusedBeforeAnythingIsWritten(t *testing.T) {
	for _, tt := range []struct {
		name      string
		prepare   func(s *site)
		change    func(a *jit.Access)
		cfg       Config
		attribute string
		says      string
		onlyApply bool // it depends on the window
	}{
		{name: "no such user", change: func(a *jit.Access) { a.Binding.Principal = "eve@example.com" }, attribute: "principal", says: `no user "eve@example.com"`},
		{name: "other capitals", change: func(a *jit.Access) { a.Binding.Principal = "Alice@example.com" }, attribute: "principal", says: "capitals"},
		{name: "an inactive user", prepare: func(s *site) { s.SetStatus(alice, "inactive") }, attribute: "principal", says: "is inactive"},
		{name: "no such connection", prepare: func(s *site) { s.DeleteConnection(db) }, attribute: "scope", says: `no connection "payments-db"`},
		{name: "no review gate", prepare: func(s *site) { s.Put(hooptest.Connection{Name: db}) }, attribute: "scope", says: "no review gate"},
		{name: "no review gate, of an old gateway", prepare: func(s *site) { s.Put(hooptest.Connection{Name: db, Old: true}) }, attribute: "scope", says: "no review gate"},
		{name: "nobody can connect", prepare: func(s *site) {
			s.Put(hooptest.Connection{Name: db, JIT: true, Disabled: true})
		}, attribute: "scope", says: "access_mode_connect"},
		{name: "metadata missing", prepare: func(s *site) {
			s.Put(hooptest.Connection{Name: db, JIT: true, Mandatory: []string{"ticket", "team"}})
		}, cfg: Config{Metadata: map[string]string{"team": "db"}}, attribute: "target", says: "ticket"},
		{name: "longer than 48 hours", change: func(a *jit.Access) { a.Marker.Window.End = a.Marker.Window.Start.Add(49 * time.Hour) }, attribute: "ttl", says: "at most 2d", onlyApply: true},
		{name: "longer than the connection takes", prepare: func(s *site) {
			s.Put(hooptest.Connection{Name: db, JIT: true, MaxDuration: 1800})
		}, attribute: "ttl", says: "at most 30m", onlyApply: true},
		{name: "longer than the rule takes", prepare: func(s *site) {
			s.Put(hooptest.Connection{Name: db, JIT: true, JITDuration: 900})
		}, attribute: "ttl", says: "at most 15m", onlyApply: true},
		{name: "over", change: func(a *jit.Access) { a.Marker.Window.End = jit.Second(time.Now()).Add(-time.Second) }, attribute: "expires_at", says: "ends at", onlyApply: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			if tt.prepare != nil {
				tt.prepare(s)
			}
			p, a := s.open(t, tt.cfg, 0), access("refused", time.Hour)
			if tt.change != nil {
				tt.change(&a)
			}
			_, planned := p.Describe(t.Context(), a.Binding)
			applied := apply(t, p, jit.Ensure, a)
			errs := []error{applied, planned}
			if tt.onlyApply {
				errs = errs[:1]
			}
			for _, err := range errs {
				var user *jit.Error
				if !errors.As(err, &user) || !errors.Is(err, jit.ErrInvalid) || user.Attribute != tt.attribute ||
					user.Hint == "" ||
					!strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want a refusal of %s that says %q and what to do", err, tt.attribute, tt.says)
				}
			}
			if _, writes := s.Calls(); writes != 0 || s.Sessions() != 0 {
				t.Errorf("%d writes and %d sessions, want none", writes, s.Sessions())
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	s := newSite(t, nil)
	s.Put(hooptest.Connection{Name: db, JIT: true, MaxDuration: 3600, JITDuration: 1800})
	traits, err := s.open(t, Config{}, 0).Describe(t.Context(), access("x", time.Hour).Binding)
	if err != nil || traits.MaxTTL != 30*time.Minute || traits.SessionTail != 30*time.Minute ||
		traits.Enforcement != jit.Native ||
		!traits.CanTerminate {
		t.Errorf("Describe = %+v, %v", traits, err)
	}
}
