package postgresql

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// adminOf creates a login role for the target and opens the platform as it.
func (s *site) adminOf(t *testing.T, name, options string, grants ...string) *Platform {
	t.Helper()
	name += databaseOf(t, s.url) // roles belong to the server that all tests share
	s.role(t, name, "LOGIN PASSWORD "+pgsession.Literal(password)+" "+options)
	for _, g := range grants {
		s.exec(t, "GRANT "+g+" TO "+quote(name)+" WITH ADMIN OPTION")
	}
	return s.openAs(t, s.as(name), time.Now)
}

func TestLeastPrivilegeAdmin(t *testing.T) {
	s := newSite(t)
	p := s.adminOf(t, "least", "CREATEROLE", quote(s.roles[0]))
	before := s.dump(t)
	a := s.access(0, 0, "least privilege")
	apply(t, p, ensured(a))
	wantWhole(t, p, a)
	if !s.allowed(t, a.Binding) {
		t.Error("no access inside the window")
	}
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	apply(t, p, ensured(a))
	wantWhole(t, p, a)
	apply(t, p, removed(a))
	if _, there := observed(t, p, a); there || s.allowed(t, a.Binding) {
		t.Error("access lives on")
	}
	if after := s.dump(t); after != before {
		t.Errorf("the foreign roles are\n%s\nwere\n%s", after, before)
	}
}

func TestAWrapperOfAnotherAdmin(t *testing.T) {
	s := newSite(t)
	role := quote(s.roles[0])
	maker, other, super := s.adminOf(t, "maker", "CREATEROLE", role), s.adminOf(t, "other", "CREATEROLE",
		role), s.open(t)
	a := s.access(0, 0, "made by another")
	apply(t, maker, ensured(a))
	err := other.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
	var user *jit.Error
	switch {
	case s.server.Major < 16:
		if err != nil || s.allowed(t, a.Binding) {
			t.Errorf("Remove by another admin: %v", err)
		}
	case !errors.As(err, &user) || !strings.Contains(user.Hint, "ADMIN OPTION on role") ||
		strings.Contains(user.Problem, "access has ended"):
		t.Errorf("Remove by another admin: %v, want an error that names the ADMIN OPTION", err)
	case !s.allowed(t, a.Binding):
		t.Error("the access has ended and the error did not say so")
	}
	apply(t, maker, ensured(a))
	// The superuser's own grant of the same pair is a second row since 16.
	wrapper := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
	s.exec(t, "GRANT "+wrapper+" TO "+quote(a.Binding.Principal)+" WITH ADMIN OPTION")
	if o, _ := observed(t, super, a); o.Damage == "" || o.Principal != a.Binding.Principal {
		t.Errorf("observed %+v, want the principal and the damage", o)
	}
	a.Marker.Window.End = a.Marker.Window.End.Add(time.Hour)
	apply(t, super, ensured(a))
	wantWhole(t, super, a)
	if !s.allowed(t, a.Binding) {
		t.Error("no access after the repair")
	}
	apply(t, super, removed(a))
	if _, there := observed(t, super, a); there || s.allowed(t, a.Binding) {
		t.Error("access lives on")
	}
}

func TestErrorsSayWhichPrivilegeIsMissing(t *testing.T) {
	s := newSite(t)
	super := "super" + databaseOf(t, s.url)
	s.role(t, super, "SUPERUSER NOLOGIN")
	toSuper := s.access(0, 0, "superuser role")
	toSuper.Binding.Role = super
	plain, creator := s.adminOf(t, "plain", ""), s.adminOf(t, "creator", "CREATEROLE")
	a := s.access(0, 0, "there already")
	apply(t, s.open(t), ensured(a))

	terminate := s.access(1, 0, "sessions")
	terminate.TerminateSessions = true
	connect(t, s.as(s.principals[1]))
	for _, c := range []struct {
		name   string
		as     *Platform
		change jit.Change
		want   string
	}{
		{"create", plain, ensured(s.access(0, 0, "new")), "CREATEROLE"},
		{"drop", plain, removed(a), "CREATEROLE"},
		{"superuser", creator, ensured(toSuper), "SUPERUSER"},
		{"terminate", creator, removed(terminate), "pg_signal_backend"},
	} {
		var user *jit.Error
		err := c.as.Apply(t.Context(), cluster, []jit.Change{c.change})[0]
		if !errors.As(err, &user) || !strings.Contains(user.Hint, c.want) {
			t.Errorf("%s: %v, want a hint that names %s", c.name, err, c.want)
		}
	}
	if !s.allowed(t, a.Binding) {
		t.Error("a Remove that was refused took the access away")
	}
}

// TestSessionsThatLiveOnAreMoreThanRemains: the access is not over as it was asked for.
func TestSessionsThatLiveOnAreMoreThanRemains(t *testing.T) {
	s := newSite(t)
	p := s.adminOf(t, "creator", "CREATEROLE", quote(s.roles[0])) // may not end sessions
	a := s.access(1, 0, "tied, with a session")
	a.TerminateSessions = true
	apply(t, p, ensured(a))
	tie(t, s, quote(wrapperName(a.Marker.Owner, a.Marker.ID)))
	connect(t, s.as(s.principals[1]))
	err := p.Apply(t.Context(), cluster, []jit.Change{removed(a)})[0]
	if err == nil || errors.Is(err, jit.ErrRemains) || !strings.Contains(err.Error(), "continue") ||
		!strings.Contains(err.Error(), "cannot be dropped") {
		t.Errorf("the error is %v, want one that says both, and is not only remains", err)
	}
	apply(t, s.open(t), removed(a))
}

func TestRolesThatAreNotThere(t *testing.T) {
	s := newSite(t)
	p := s.open(t)
	group := "group" + databaseOf(t, s.url)
	s.role(t, group, "NOLOGIN")
	good, noPrincipal, noRole, notLogin, circle := s.access(0, 0, "good"), s.access(0, 0, "a"), s.access(0, 0,
		"b"), s.access(0, 0, "c"), s.access(1, 0, "d")
	noPrincipal.Binding.Principal = "no such principal"
	noRole.Binding.Role = "no such role"
	notLogin.Binding.Principal = group
	// The role is a member of the principal, so the principal cannot become a member of the role.
	s.exec(t, "GRANT "+quote(s.principals[1])+" TO "+quote(s.roles[0]))
	errs := p.Apply(t.Context(), cluster,
		[]jit.Change{ensured(noPrincipal), ensured(circle), ensured(noRole), ensured(good), ensured(notLogin)})
	for i, want := range []struct{ attribute, text string }{
		{"principal", "no such principal"}, {"", "is a member of role"}, {"role", "no such role"}, {}, {"principal",
			"cannot log in"},
	} {
		var user *jit.Error
		switch {
		case want.text == "":
			if errs[i] != nil {
				t.Errorf("the good change: %v", errs[i])
			}
		case !errors.As(errs[i], &user) || user.Attribute != want.attribute ||
			!strings.Contains(user.Problem, want.text):
			t.Errorf("change %d: %v, want it to blame %q and to say %q", i, errs[i], want.attribute, want.text)
		}
	}
	snap, err := p.Read(t.Context(), cluster)
	if err != nil || len(snap.Ours) != 1 {
		t.Errorf("%d wrappers are left (%v), want only that of the good change", len(snap.Ours), err)
	}
	if !s.allowed(t, good.Binding) {
		t.Error("the good change gives no access")
	}
}

func TestPrincipalDroppedMeanwhile(t *testing.T) {
	s := newSite(t)
	p, a := s.open(t), s.access(0, 0, "leaver")
	a.Binding.Principal = "leaver" + databaseOf(t, s.url)
	s.exec(t, "CREATE ROLE "+a.Binding.Principal+" LOGIN")
	apply(t, p, ensured(a))
	s.exec(t, "DROP ROLE "+a.Binding.Principal)
	if o, there := observed(t, p, a); !there || o.Principal != "" || o.Damage == "" {
		t.Errorf("observed %+v, want the wrapper without a principal", o)
	}
	a.TerminateSessions = true
	apply(t, p, removed(a), removed(a))
	if _, there := observed(t, p, a); there {
		t.Error("the wrapper is still there")
	}
}

func TestConnectionErrorsTellTheAddressAndNoPassword(t *testing.T) {
	s := newSite(t)
	const secret = "hunter2-not-it"
	wrong := strings.Replace(s.url, s.server.Password, secret, 1)
	closed := "postgres://admin:" + secret + "@127.0.0.1:1/postgres?sslmode=disable"
	for _, c := range []struct{ url, want string }{
		{wrong, "password authentication failed"},
		{closed, "127.0.0.1:1"},
		{strings.Replace(s.url, databaseOf(t, s.url), "nowhere", 1), `"nowhere" does not exist`},
	} {
		p := s.openAs(t, c.url, time.Now)
		_, err := p.Read(t.Context(), cluster)
		applied := p.Apply(t.Context(), cluster, []jit.Change{ensured(s.access(0, 0, "x"))})[0]
		for _, err := range []error{err, applied} {
			var user *jit.Error
			if !errors.As(err, &user) || user.Hint == "" || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), "127.0.0.1:") {
				t.Errorf("error %v, want a *jit.Error with the address and %q", err, c.want)
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), s.server.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
		}
	}
}

func TestAStandbyIsSaidToBeOne(t *testing.T) {
	server := testenv.Standby(t)
	p, err := New(Config{URL: server.URL}, jit.Services{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	a, _ := alice()
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	if advice := snap.Advise(t.Context(), a.Binding); len(advice) == 0 || advice[0].Attribute != "target" ||
		!strings.Contains(advice[0].Text, "target_session_attrs") {
		t.Errorf("the plan says %v, want that the server is a standby", advice)
	}
	for _, change := range []jit.Change{ensured(a), removed(a)} {
		var user *jit.Error
		err := p.Apply(t.Context(), cluster, []jit.Change{change})[0]
		if !errors.As(err, &user) || !strings.Contains(user.Problem, "standby") ||
			!strings.Contains(user.Hint, "target_session_attrs") {
			t.Errorf("%s: %v, want the documented hint", change.Op, err)
		}
	}
}
