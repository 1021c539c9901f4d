package postgresql

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

func TestDamageIsSeenAndRepaired(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	for _, c := range []struct {
		name   string
		damage string // %w is the wrapper, %p the principal, %q the other, %r the role, %s the other
		want   string // part of what Read says
	}{
		{"principal revoked", "REVOKE %w FROM %p", "no principal"},
		{"role revoked", "REVOKE %r FROM %w", "not a member of any role"},
		{"admin option", "GRANT %w TO %p WITH ADMIN OPTION", "wrong options"},
		{"admin option on the role", "GRANT %r TO %w WITH ADMIN OPTION", "wrong options"},
		{"login", "ALTER ROLE %w LOGIN", "it is LOGIN"},
		{"no inherit", "ALTER ROLE %w NOINHERIT", "it is NOINHERIT"},
		{"powers", "ALTER ROLE %w SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS",
			"it is SUPERUSER; it is CREATEROLE; it is CREATEDB; it is REPLICATION; it is BYPASSRLS"},
	} {
		a := s.access(0, 0, c.name)
		apply(t, p, ensured(a))
		s.exec(t, strings.NewReplacer("%w", quote(wrapperName(a.Marker.Owner, a.Marker.ID)), "%p",
			quote(s.principals[0]), "%q", quote(s.principals[1]),
			"%r", quote(s.roles[0]), "%s", quote(s.roles[1])).Replace(c.damage))
		if o, _ := observed(t, p, a); !strings.Contains(o.Damage, c.want) {
			t.Errorf("%s: Read says %q, want %q in it", c.name, o.Damage, c.want)
		}
		apply(t, p, ensured(a))
		wantWhole(t, p, a)
		if !s.allowed(t, a.Binding) {
			t.Errorf("%s: no access after the repair", c.name)
		}
		apply(t, p, removed(a))
	}
}

// TestDriftHasItsKind: who has what through a wrapper decides, not what is left of it.
func TestDriftHasItsKind(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	for _, c := range []struct {
		name  string
		drift string // as in TestDamageIsSeenAndRepaired
		want  jit.DriftKind
	}{
		{"principal taken off", "REVOKE %w FROM %p", jit.DriftMissing},
		{"role taken off", "REVOKE %r FROM %w", jit.DriftMissing},
		{"both taken off", "REVOKE %w FROM %p; REVOKE %r FROM %w", jit.DriftMissing},
		{"another member too", "GRANT %w TO %q", jit.DriftPrincipal},
		{"another member instead", "REVOKE %w FROM %p; GRANT %w TO %q", jit.DriftPrincipal},
		{"another role too", "GRANT %s TO %w", jit.DriftRole},
		{"another role instead", "REVOKE %r FROM %w; GRANT %s TO %w", jit.DriftRole},
		{"the role in between logs in", "ALTER ROLE %w LOGIN", jit.DriftPrincipal},
	} {
		a := s.access(0, 0, c.name)
		apply(t, p, ensured(a))
		s.exec(t, strings.NewReplacer("%w", quote(wrapperName(a.Marker.Owner, a.Marker.ID)), "%p",
			quote(s.principals[0]), "%q", quote(s.principals[1]),
			"%r", quote(s.roles[0]), "%s", quote(s.roles[1])).Replace(c.drift))
		snap, err := p.Read(t.Context(), cluster)
		if err != nil {
			t.Fatal(err)
		}
		g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window}
		if got := g.Differs(snap); got.Kind != c.want {
			t.Errorf("%s: drift is %q (%s), want %q", c.name, got.Kind, got.Words, c.want)
		}
		apply(t, p, ensured(a))
		wantWhole(t, p, a)
		apply(t, p, removed(a))
	}
}

func TestALostMarkerIsStandingAccessUntilItIsRepaired(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "no comment")
	standing := func() bool {
		snap, err := p.Read(t.Context(), cluster)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range snap.Standing {
			if st.Principal == a.Binding.Principal && st.Role == a.Binding.Role &&
				strings.Contains(st.Detail, "through") {
				return true
			}
		}
		return false
	}
	lose := func() { s.exec(t, "COMMENT ON ROLE "+quote(wrapperName(a.Marker.Owner, a.Marker.ID))+" IS NULL") }
	apply(t, p, ensured(a))
	if standing() {
		t.Error("a grant with its marker is listed as standing access")
	}
	lose()
	if _, there := observed(t, p, a); there || !standing() {
		t.Error("a wrapper without its marker is not listed as standing access")
	}
	apply(t, p, ensured(a))
	wantWhole(t, p, a)
	lose()
	apply(t, p, removed(a))
	if s.allowed(t, a.Binding) {
		t.Error("the access lives on because the marker was lost")
	}
}

// TestAMarkerOfAnotherGrant: what bears it is not touched, unless its name and all that it gives are those of a grant
// that ends.
func TestAMarkerOfAnotherGrant(t *testing.T) {
	s := newSite(t)
	p, a, other := s.open(t), s.access(0, 0, "forged"), s.access(0, 0, "another").Marker
	apply(t, p, ensured(a))
	other.Owner = "another-team"
	s.exec(t, "COMMENT ON ROLE "+quote(wrapperName(a.Marker.Owner,
		a.Marker.ID))+" IS "+pgsession.Literal(other.String()))
	for i, err := range p.Apply(t.Context(), cluster, []jit.Change{ensured(a), removed(jit.Access{Marker: a.Marker})}) {
		if err == nil || !strings.Contains(err.Error(), "another-team") {
			t.Errorf("change %d: %v, want an error that names the other marker", i, err)
		}
	}
	if !s.allowed(t, a.Binding) {
		t.Error("the wrapper was touched")
	}
	apply(t, p, removed(a)) // whoever may write a comment must not keep the access from ending
	if s.allowed(t, a.Binding) {
		t.Error("access lives on")
	}
}

func TestStandingAccessThroughGroups(t *testing.T) {
	s := newSite(t)
	p, group := s.open(t), "group"+databaseOf(t, s.url)
	s.role(t, group, "NOLOGIN")
	s.exec(t, "GRANT "+quote(s.roles[0])+" TO "+group)
	s.exec(t, "GRANT "+group+" TO "+quote(s.principals[0]))
	s.exec(t, "GRANT "+quote(s.roles[0])+" TO "+quote(s.principals[1]))
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	got := map[jit.Standing]bool{}
	for _, st := range snap.Standing {
		got[st] = true
	}
	for _, want := range []jit.Standing{
		{Principal: s.principals[0], Role: group, Detail: "member"},
		{Principal: s.principals[0], Role: s.roles[0], Detail: `member through "` + group + `"`},
		{Principal: s.principals[1], Role: s.roles[0], Detail: "member"},
	} {
		if !got[want] {
			t.Errorf("%+v is not in %+v", want, snap.Standing)
		}
	}
	if len(got) != 3 || len(snap.Standing) != 3 {
		t.Errorf("found %+v, want three", snap.Standing)
	}
}
