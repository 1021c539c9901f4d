package hoop

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

func unavailable(*http.Request) hooptest.Cut { return hooptest.Unavailable }

func bad(name, attribute, principal, role, scope string) platformtest.BadBinding {
	return platformtest.BadBinding{
		Name:      name,
		Attribute: attribute,
		Binding:   jit.Binding{Principal: principal, Role: role, Scope: scope},
	}
}

// TestConformanceOfReviews runs the suite with reviews of users.
func TestConformanceOfReviews(t *testing.T) {
	platformtest.Run(t,
		platformtest.Harness{New: func(t *testing.T) *platformtest.Target { return reviewTarget(newSite(t, nil), 0) }},
	)
}

// TestConformanceUnderLag runs the suite on a gateway whose list is behind, and which loses the answer to every tenth
// write after carrying it out.
func TestConformanceUnderLag(t *testing.T) {
	lag := platformtest.Lag(50 * time.Millisecond)
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		s := newSite(t, nil)
		s.Lag(lag)
		lossy := lossy()
		s.Interrupt(lossy)
		target := reviewTarget(s, lag)
		looks := 1 + 4*int(lag/time.Second) // the list is read, and reviews are revoked, until it follows
		target.MaxCalls = func(_ jit.Op, n int) (reads, writes int) { return looks * (20 + 2*n), looks * 2 * n }
		target.Break = func(*testing.T) (repair func()) {
			s.Interrupt(unavailable)
			return func() { s.Interrupt(lossy) }
		}
		return target
	}})
}

// lossy loses the answer to every tenth write.
func lossy() func(r *http.Request) hooptest.Cut {
	var writes atomic.Int32
	return func(r *http.Request) hooptest.Cut {
		if r.Method != http.MethodGet && writes.Add(1)%10 == 0 {
			return hooptest.Unanswered
		}
		return hooptest.Through
	}
}

// reviewTarget describes a gateway whose list is behind by lag.
func reviewTarget(s *site, lag time.Duration) *platformtest.Target {
	return &platformtest.Target{
		Open:       func(t *testing.T) jit.Platform { return s.open(t, Config{}, 0) },
		OpenAt:     func(t *testing.T, offset time.Duration) jit.Platform { return s.open(t, Config{}, offset) },
		Principals: []string{alice, bob}, Roles: []string{connect}, Scope: db, Gone: "vanished-db",
		BadBindings: []platformtest.BadBinding{
			bad("a group", "principal", "group:oncall", connect, db),
			bad("no e-mail", "principal", "alice", connect, db),
			bad("a name beside the e-mail", "principal", "Alice <alice@example.com>", connect, db),
			bad("another role", "role", alice, "admin", db),
			bad("no scope", "scope", alice, connect, ""),
			bad("a path as scope", "scope", alice, connect, "../users"),
		},
		Aliases: []platformtest.Alias{{
			Written:   jit.Binding{Principal: "user:" + alice, Role: connect, Scope: db},
			Canonical: jit.Binding{Principal: alice, Role: connect, Scope: db},
		}},
		Impossible: &jit.Binding{Principal: "Alice@example.com", Role: connect, Scope: db},
		Allowed:    func(_ *testing.T, b jit.Binding) bool { return s.MayConnect(b.Principal, b.Scope, time.Now()) },
		AllowedAt:  func(_ *testing.T, b jit.Binding, at time.Time) bool { return s.MayConnect(b.Principal, b.Scope, at) },
		// A connection may let its users ask for years. Somebody has approved that.
		Foreign: func(_ *testing.T, b jit.Binding) {
			s.Decide(s.boss, s.Ask(b.Principal, b.Scope, "", 10*365*24*time.Hour), approved, time.Now())
			time.Sleep(2 * lag)
		},
		Dump:  func(*testing.T) string { return s.Dump("jit", "") },
		Calls: s.Calls,
		MaxCalls: func(op jit.Op, n int) (reads, writes int) {
			if op == jit.Remove {
				return 5, n // who we are, the connection, what waits there, its reviews, and those once more
			}
			return 6, n // and each of the users, and the reviews once more
		},
		Tamper: platformtest.Tamper{
			// Approving again restarts the time.
			MoveEnd: func(t *testing.T, m jit.Marker, end time.Time) {
				r := s.ours(m)[0]
				s.Decide(hooptest.Key, r.Session, approved, end.Add(-time.Second/2-r.Ends.Sub(r.Created)))
				time.Sleep(2 * lag)
			},
			Duplicate: func(t *testing.T, m jit.Marker) {
				p, r := s.open(t, Config{}, 0), s.ours(m)[0]
				seconds := int64(time.Until(m.Window.End)/time.Second) - 1
				if _, err := p.provision(t.Context(), r.User, r.Connection, r.CorrelationID, seconds, nil, false); err != nil &&
					!unsure(err) {
					t.Fatal(err)
				}
				time.Sleep(2 * lag)
			},
			Delete: func(t *testing.T, m jit.Marker) {
				for _, r := range s.ours(m) {
					s.Decide(s.boss, r.Session, "REVOKED", time.Now())
				}
				time.Sleep(2 * lag)
			},
		},
		Break: s.breakDown,
	}
}

// TestConformanceOfAttributes runs the suite with attributes of groups.
func TestConformanceOfAttributes(t *testing.T) {
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		return attributeTarget(newSite(t, nil), 0)
	}})
}

// TestConformanceOfAttributesUnderLag is TestConformanceUnderLag with attributes of groups.
func TestConformanceOfAttributesUnderLag(t *testing.T) {
	t.Parallel()
	lag := platformtest.Lag(50 * time.Millisecond)
	platformtest.Run(t, platformtest.Harness{New: func(t *testing.T) *platformtest.Target {
		s := newSite(t, nil)
		s.Lag(lag)
		lossy := lossy()
		s.Interrupt(lossy)
		target := attributeTarget(s, lag)
		target.Open = func(t *testing.T) jit.Platform {
			p := s.open(t, Config{Mode: modeAttribute}, 0)
			p.patience = min(40*lag, listPatience) // what was cut off is ruled out after that
			return p
		}
		target.MaxCalls = func(_ jit.Op, n int) (reads, writes int) { return 20 + 2*n, 2 * n }
		target.Break = func(*testing.T) (repair func()) {
			s.Interrupt(unavailable)
			return func() { s.Interrupt(lossy) }
		}
		return target
	}})
}

// attributeTarget describes a gateway whose list is behind by lag.
func attributeTarget(s *site, lag time.Duration) *platformtest.Target {
	s.Put(hooptest.Connection{Name: db})
	cfg := Config{Mode: modeAttribute}
	members := map[string]string{"group:oncall": "carol@example.com", "group:support": "dave@example.com"}
	for group, email := range members {
		s.AddUser(email, strings.TrimPrefix(group, "group:"))
	}
	edit := func(m jit.Marker, change func(a *hooptest.Attribute)) {
		s.Edit(attributeName(m), func(a *hooptest.Attribute) bool { change(a); return true })
		time.Sleep(2 * lag)
	}
	return &platformtest.Target{
		Open:   func(t *testing.T) jit.Platform { return s.open(t, cfg, 0) },
		OpenAt: func(t *testing.T, offset time.Duration) jit.Platform { return s.open(t, cfg, offset) },
		Principals: []string{
			"group:oncall",
			"group:support",
		}, Roles: []string{connect}, Scope: db, Gone: "vanished-db",
		BadBindings: []platformtest.BadBinding{
			bad("a user", "principal", alice, connect, db),
			bad("a group without a name", "principal", "group:", connect, db),
			bad("another role", "role", "group:oncall", "admin", db),
			bad("no scope", "scope", "group:oncall", connect, ""),
		},
		Impossible: &jit.Binding{Principal: "group:nobody", Role: connect, Scope: db},
		Allowed: func(_ *testing.T, b jit.Binding) bool {
			return s.MayConnect(members[b.Principal], b.Scope, time.Now())
		},
		Foreign: func(_ *testing.T, b jit.Binding) {
			name := "team-" + strings.TrimPrefix(b.Principal, "group:")
			s.Edit(name, func(a *hooptest.Attribute) bool {
				a.Connections, a.Groups = []string{b.Scope}, []string{strings.TrimPrefix(b.Principal, "group:")}
				return true
			})
			time.Sleep(2 * lag)
		},
		Dump:  func(*testing.T) string { return s.Dump("jit", "jit-") },
		Calls: s.Calls,
		MaxCalls: func(op jit.Op, n int) (reads, writes int) {
			if op == jit.Remove {
				return 2, n // the attributes, and those once more
			}
			return 6, n // and who we are, the connection, the groups, the access control
		},
		Tamper: platformtest.Tamper{
			ChangePrincipal: func(_ *testing.T, m jit.Marker, principal string) {
				edit(m,
					func(a *hooptest.Attribute) { a.Groups = []string{strings.TrimPrefix(principal, "group:")} },
				)
			},
			Delete: func(_ *testing.T, m jit.Marker) {
				s.Edit(attributeName(m), func(*hooptest.Attribute) bool { return false })
				time.Sleep(2 * lag)
			},
		},
		Break: s.breakDown,
	}
}
