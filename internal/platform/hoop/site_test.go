package hoop

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
	db    = "payments-db"
)

// site is a test gateway with two users, two groups and one connection.
type site struct {
	*hooptest.Server
	// boss is the token of a human administrator.
	boss string
}

// newSite makes a gateway. now is its clock; nil means time.Now.
func newSite(t *testing.T, now func() time.Time) *site {
	t.Helper()
	s := &site{Server: hooptest.New(t, now)}
	s.AddUser(alice, "engineers")
	s.AddUser(bob, "engineers")
	s.boss = s.AddUser("boss@example.com", "admin")
	s.AddGroup("oncall")
	s.AddGroup("support")
	s.Put(
		hooptest.Connection{
			Name:        db,
			Reviewers:   []string{"admin"},
			Groups:      []string{"engineers"},
			MaxDuration: int(48 * time.Hour / time.Second),
		},
	)
	return s
}

// connectionOf is the connection with these groups of reviewers.
func connectionOf(reviewers ...string) hooptest.Connection {
	return hooptest.Connection{Name: db, Reviewers: reviewers, Groups: []string{"engineers"}}
}

// open returns a new instance for the gateway, with a clock that may be off.
func (s *site) open(t *testing.T, cfg Config, offset time.Duration) *Platform {
	t.Helper()
	cfg.URL, cfg.APIKey = s.URL, hooptest.Key
	p, err := New(cfg, jit.Services{Now: func() time.Time { return time.Now().Add(offset) }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ours returns the approved reviews with the marker, the latest last.
func (s *site) ours(m jit.Marker) []hooptest.Review {
	var all []hooptest.Review
	for _, r := range s.Reviews() {
		if found, ok := jit.ParseMarker(r.CorrelationID); ok && found.ID == m.ID && found.Owner == m.Owner &&
			r.Status == approved {
			all = append(all, r)
		}
	}
	return all
}

// breakDown makes the gateway unreachable until repair is called.
func (s *site) breakDown(*testing.T) (repair func()) {
	s.Interrupt(unavailable)
	return func() { s.Interrupt(nil) }
}
