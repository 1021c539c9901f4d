package hoop

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// as returns an instance that uses another key.
func (s *site) as(t *testing.T, key string, cfg Config) *Platform {
	t.Helper()
	cfg.URL, cfg.APIKey = s.URL, key
	p, err := New(cfg, jit.Services{Now: time.Now})
	must(t, err)
	return p
}

// A key that cannot make grants is refused by name, at plan and at apply, before anything is written. Others' grants
// are neither found nor reported as missing.
func TestKeysThatCannotGrant(t *testing.T) {
	s := newSite(t, nil)
	s.Put(hooptest.Connection{Name: db, Reviewers: []string{"dev"}, Groups: []string{"engineers", "dev"}})
	s.AddKey("hpk_dev", "deploys", "dev")
	s.AddKey("hpk_auditor", "audits", "auditor", "dev")
	live := access("live", time.Hour)
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, live))
	for _, tt := range []struct{ name, key, says string }{
		{"may approve and not list", "hpk_dev", `the API key "deploys" may not list the sessions of others`},
		{"an auditor's", "hpk_auditor", `the API key "audits" is an auditor's and may not approve`},
		{"a user's token", s.boss, "the token of the user boss@example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, a := s.as(t, tt.key, Config{}), access(tt.name, time.Hour)
			_, writes := s.Calls()
			_, planned := p.Describe(t.Context(), a.Binding)
			_, read := p.Read(t.Context(), db)
			_, listed := p.Scopes(t.Context())
			for what, err := range map[string]error{
				"Describe": planned, "Read": read, "Scopes": listed,
				"Ensure": apply(t, p, jit.Ensure, a), "Remove": apply(t, p, jit.Remove, live),
			} {
				var user *jit.Error
				if !errors.As(err, &user) || user.Attribute != "target" || user.Hint == "" ||
					!strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s = %v, want an error that says %q", what, err, tt.says)
				}
			}
			if _, after := s.Calls(); after != writes || len(s.Reviews()) != 1 {
				t.Errorf("%d writes, and there are %d reviews", after-writes, len(s.Reviews()))
			}
		})
	}
}

// A key that loses its group during an apply cannot list what it has made. The apply revokes that by its session, or
// names it in the error.
func TestAKeyThatLosesItsGroup(t *testing.T) {
	for _, tt := range []struct {
		name string
		left []string
		says string
		may  bool
	}{
		{"and may still revoke", []string{"dev"}, "it was revoked", false},
		{"and may do nothing more", nil, "could not be revoked", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			s.Put(hooptest.Connection{Name: db, Reviewers: []string{"dev"}, Groups: []string{"engineers"}})
			s.AddKey("hpk_fading", "fading", "admin", "dev")
			made := false
			s.Interrupt(func(r *http.Request) hooptest.Cut {
				if made && r.Method == http.MethodGet {
					s.AddKey("hpk_fading", "fading", tt.left...)
				}
				made = made || r.Method == http.MethodPost
				return hooptest.Through
			})
			err := apply(t, s.as(t, "hpk_fading", Config{}), jit.Ensure, access("fading", time.Hour))
			all := s.Reviews()
			if len(all) != 1 {
				t.Fatalf("%d reviews were made, want 1", len(all))
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), all[0].Session) {
				t.Errorf("got %v, want an error that says %q and names the session", err, tt.says)
			}
			s.may(t, time.Now(), tt.may, "after the apply")
		})
	}
}

// A review that the list never shows is revoked, and the apply stops.
func TestAReviewThatIsNeverListed(t *testing.T) {
	s := newSite(t, nil)
	s.Lag(time.Hour)
	p := s.open(t, Config{}, 0)
	p.patience = 500 * time.Millisecond
	err := apply(t, p, jit.Ensure, access("unlisted", time.Hour))
	if all := s.Reviews(); len(all) != 1 || err == nil ||
		!strings.Contains(err.Error(), "does not show the review of session "+all[0].Session) {
		t.Errorf("%d reviews, and %v", len(all), err)
	}
	s.may(t, time.Now(), false, "after the apply")
}
