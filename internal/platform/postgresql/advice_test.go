package postgresql

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// TestAPlanSaysWhatWillNotWork: what is said about a binding is what then comes true on the server.
func TestAPlanSaysWhatWillNotWork(t *testing.T) {
	s := newSite(t)
	p, tag := s.open(t), databaseOf(t, s.url)
	group, powers, owner, heir, super := "group"+tag, "powers"+tag, "owner"+tag, "heir"+tag, "super"+tag
	s.role(t, group, "NOLOGIN")
	s.role(t, powers, "NOLOGIN BYPASSRLS CREATEDB")
	s.role(t, owner, "NOLOGIN")
	s.role(t, heir, "NOLOGIN IN ROLE "+owner)
	s.role(t, super, "LOGIN SUPERUSER")
	s.exec(t, "CREATE SCHEMA owned AUTHORIZATION "+owner)
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		principal, role string
		attribute       string
		want            []string
		fails           bool
	}{
		{principal: s.principals[0], role: s.roles[0]},
		{principal: "nobody", role: s.roles[0], attribute: "principal", want: []string{`no role "nobody"`},
			fails: true},
		{principal: group, role: s.roles[0], attribute: "principal", want: []string{"cannot log in"}, fails: true},
		{principal: super, role: s.roles[0], attribute: "principal", want: []string{"change nothing"}},
		{principal: s.principals[0], role: "nothing", attribute: "role", want: []string{`no role "nothing"`},
			fails: true},
		{principal: s.principals[0], role: powers, attribute: "role",
			want: []string{"CREATEDB, BYPASSRLS", "not attributes"}},
		{principal: s.principals[0], role: owner, attribute: "role", want: []string{owner, "outlive the grant"}},
		{principal: s.principals[0], role: heir, attribute: "role", want: []string{owner, "outlive the grant"}},
	} {
		b := jit.Binding{Target: "db", Principal: c.principal, Role: c.role, Scope: cluster}
		advice := snap.Advise(t.Context(), b)
		if (len(advice) > 0) != (c.attribute != "") {
			t.Errorf("%s to %s: %v", c.role, c.principal, advice)
		}
		for _, a := range advice {
			if a.Attribute != c.attribute ||
				slices.ContainsFunc(c.want, func(w string) bool { return !strings.Contains(a.Text, w) }) {
				t.Errorf("%s to %s: %+v, want %q about %s", c.role, c.principal, a, c.want, c.attribute)
			}
		}
		start := jit.Second(time.Now())
		access := jit.Access{Binding: b, Marker: jit.Marker{Owner: "payments",
			ID: jit.NewID("payments", b, "advice", 1), Window: jit.Window{Start: start, End: start.Add(time.Hour)}}}
		if err := p.Apply(t.Context(), cluster, []jit.Change{ensured(access)})[0]; (err != nil) != c.fails {
			t.Errorf("%s to %s: %v", c.role, c.principal, err)
		}
	}
	session := connect(t, s.as(s.principals[0]))
	if _, err := session.Exec(t.Context(), "CREATE DATABASE gained"+tag); err == nil {
		t.Error("CREATEDB came with membership")
		s.exec(t, "DROP DATABASE gained"+tag)
	}
}

// TestAPrincipalMadeAgainIsAnother: it does not get what was granted to its predecessor.
func TestAPrincipalMadeAgainIsAnother(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "leaver")
	a.Binding.Principal = "leaver" + databaseOf(t, s.url)
	s.exec(t, "CREATE ROLE "+a.Binding.Principal+" LOGIN")
	apply(t, p, ensured(a))
	s.exec(t, "DROP ROLE "+a.Binding.Principal)
	s.role(t, a.Binding.Principal, "LOGIN PASSWORD "+pgsession.Literal(password))
	err := p.Apply(t.Context(), cluster, []jit.Change{ensured(a)})[0]
	if err == nil || !strings.Contains(err.Error(), "another one than the grant was made for") ||
		!strings.Contains(err.Error(), "renewal") {
		t.Errorf("the repair says %v, want that the principal is another one", err)
	}
	if s.allowed(t, a.Binding) {
		t.Error("the new role has the access of the old one")
	}
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	g := jit.Grant{ID: a.Marker.ID, Owner: a.Marker.Owner, Binding: a.Binding, Window: a.Marker.Window}
	if got := g.Differs(snap); got.Kind != jit.DriftGone {
		t.Errorf("drift is %q (%s), want that the principal is gone, so that a sweep ends the grant", got.Kind, got.Words)
	}
	apply(t, p, removed(a))
	apply(t, p, ensured(a)) // a new grant is another matter
	if !s.allowed(t, a.Binding) {
		t.Error("no access after a grant to the new role")
	}
}

// TestAttributesAreStandingAccess: of everybody but the operator.
func TestAttributesAreStandingAccess(t *testing.T) {
	s := newSite(t)
	tag := databaseOf(t, s.url)
	s.role(t, "mighty"+tag, "LOGIN SUPERUSER CREATEROLE BYPASSRLS CREATEDB")
	s.role(t, "team"+tag, "NOLOGIN SUPERUSER")
	operator := s.adminOf(t, "operator", "CREATEROLE", quote(s.roles[0]))
	snap, err := operator.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range snap.Standing {
		if strings.HasSuffix(st.Principal, tag) {
			got = append(got, st.Principal+" "+st.Role)
		}
	}
	if want := []string{"mighty" + tag + " SUPERUSER", "mighty" + tag + " CREATEROLE", "mighty" + tag +
		" BYPASSRLS"}; !slices.Equal(got, want) {
		t.Errorf("standing access is %q, want %q", got, want)
	}
}
