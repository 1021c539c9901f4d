package postgresql

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/platformtest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

func TestConformance(t *testing.T) {
	testenv.Acceptance(t)
	platformtest.Run(t, platformtest.Harness{New: target})
}

func target(t *testing.T) *platformtest.Target {
	s := newSite(t)
	p, r := s.principals[0], s.roles[0]
	wrapper := func(m jit.Marker) string { return quote(wrapperName(m.Owner, m.ID)) }
	return &platformtest.Target{
		Open: func(t *testing.T) jit.Platform { return s.open(t) },
		OpenAt: func(t *testing.T, offset time.Duration) jit.Platform {
			return s.openAs(t, s.url, func() time.Time { return time.Now().Add(offset) })
		},
		Principals: s.principals,
		Roles:      s.roles,
		Scope:      cluster,
		BadBindings: []platformtest.BadBinding{
			{Name: "a principal with too long a " +
				"name", Binding: jit.Binding{Principal: "x123456789012345678901234567890123456789012345678901234567890123", Role: r, Scope: cluster}, Attribute: "principal"},
			{Name: "a wrapper as role", Binding: jit.Binding{Principal: p, Role: "jit:x", Scope: cluster},
				Attribute: "role"},
			{Name: "itself", Binding: jit.Binding{Principal: p, Role: p, Scope: cluster}, Attribute: "role"},
			{Name: "one database", Binding: jit.Binding{Principal: p, Role: r, Scope: "postgres"}, Attribute: "scope"},
		},
		Aliases: []platformtest.Alias{{
			Written:   jit.Binding{Target: "db", Principal: p, Role: r},
			Canonical: jit.Binding{Target: "db", Principal: p, Role: r, Scope: cluster},
		}},
		Impossible: &jit.Binding{Principal: "nobody of that name", Role: r, Scope: cluster},
		Allowed:    s.allowed,
		Foreign: func(t *testing.T, b jit.Binding) {
			s.exec(t, "GRANT "+quote(b.Role)+" TO "+quote(b.Principal))
		},
		Dump:  s.dump,
		Calls: func() (reads, writes int) { return int(s.reads.Load()), int(s.writes.Load()) },
		Tamper: platformtest.Tamper{
			ChangeRole: func(t *testing.T, m jit.Marker, role string) {
				s.exec(t, "REVOKE "+quote(r)+" FROM "+wrapper(m))
				s.exec(t, "GRANT "+quote(role)+" TO "+wrapper(m))
			},
			ChangePrincipal: func(t *testing.T, m jit.Marker, principal string) {
				s.exec(t, "REVOKE "+wrapper(m)+" FROM "+quote(p))
				s.exec(t, "GRANT "+wrapper(m)+" TO "+quote(principal))
			},
			Delete: func(t *testing.T, m jit.Marker) { s.exec(t, "DROP ROLE "+wrapper(m)) },
		},
		Break: func(t *testing.T) (repair func()) {
			elsewhere := connect(t, s.server.URL)
			database := quote(s.text(t, "SELECT current_database()"))
			run := func(sql string) {
				if _, err := elsewhere.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			run("ALTER DATABASE " + database + " ALLOW_CONNECTIONS false")
			s.exec(t, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = "+
				"current_database() AND pid <> pg_backend_pid()")
			return func() { run("ALTER DATABASE " + database + " ALLOW_CONNECTIONS true") }
		},
	}
}
