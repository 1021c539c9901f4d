package hoop

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// A rule asks only some users for a review. A user who connects without one is refused a grant, which would change
// nothing, and counts as standing access.
func TestARuleByGroup(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule hooptest.Rule
		who  string // connects without a review
		says string
	}{
		{"a user outside of the groups that need approval", hooptest.Rule{Required: []string{"dba", "engineers"}}, "carol@example.com", "asks only members of dba, engineers for a review"},
		{"a user of a group that is skipped", hooptest.Rule{Skipped: []string{"ops"}}, "carol@example.com", "asks members of ops for no review"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			s.AddUser("carol@example.com", "ops")
			s.Put(hooptest.Connection{Name: db, Groups: []string{"engineers", "ops"}})
			everybody := hooptest.Rule{
				Name:        "production",
				Type:        "jit",
				Connections: []string{db},
				Reviewers:   []string{"admin"},
			}
			s.PutRule(everybody)
			p := s.open(t, Config{}, 0)

			of := func(email string) jit.Access {
				a := access("rule", time.Hour)
				a.Binding.Principal = email
				a.Marker.ID = jit.NewID("jit", a.Binding, "rule", 1)
				return a
			}
			must(t, apply(t, p, jit.Ensure, of(tt.who))) // the rule is for everybody so far
			tt.rule.Name, tt.rule.Type, tt.rule.Connections, tt.rule.Reviewers = everybody.Name, everybody.Type, everybody.Connections, everybody.Reviewers
			s.PutRule(tt.rule)
			snap, err := p.Read(t.Context(), db)
			must(t, err)
			if found, standing := snap.StandingOf(of(tt.who).Binding); !standing ||
				!strings.Contains(found.Detail, tt.says) {
				t.Errorf("Read tells the standing access %+v, want that of %s", snap.Standing, tt.who)
			}
			must(t, apply(t, p, jit.Remove, of(tt.who)))
			if !s.MayConnect(tt.who, db, time.Now()) || s.MayConnect(alice, db, time.Now()) {
				t.Fatal("the gateway of the test does not follow the rule")
			}

			_, writes := s.Calls()
			_, planned := s.open(t, Config{}, 0).Describe(t.Context(), of(tt.who).Binding)
			for what, err := range map[string]error{"Describe": planned, "Ensure": apply(t, p, jit.Ensure, of(tt.who))} {
				var user *jit.Error
				if !errors.As(err, &user) || user.Attribute != "principal" || !errors.Is(err, jit.ErrInvalid) ||
					!strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s = %v, want a refusal that says %q", what, err, tt.says)
				}
			}
			if _, after := s.Calls(); after != writes {
				t.Errorf("%d writes, want none", after-writes)
			}
			must(t, apply(t, p, jit.Ensure, of(alice)))
			if !s.MayConnect(alice, db, time.Now()) {
				t.Error("whom the rule asks for a review is not let in with a grant")
			}
		})
	}
}

// An attribute of the connection selects the rule before the name does. Reviewers of the connection are asked about
// everybody, whatever a rule says.
func TestWhichGateDecides(t *testing.T) {
	s := newSite(t, nil)
	s.Put(hooptest.Connection{Name: db, Groups: []string{"engineers"}})
	s.PutRule(hooptest.Rule{Name: "by name", Type: "jit", Connections: []string{db}, Required: []string{"engineers"}})
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, access("name", time.Hour)))
	s.Edit("production", func(a *hooptest.Attribute) bool { a.Connections = []string{db}; return true })
	s.PutRule(
		hooptest.Rule{
			Name:       "by attribute",
			Type:       "jit_command",
			Attributes: []string{"production"},
			Required:   []string{"dba"},
		},
	)
	if err := apply(t, s.open(t, Config{}, 0), jit.Ensure, access("attribute", time.Hour)); err == nil ||
		!strings.Contains(err.Error(), `"by attribute"`) {
		t.Errorf("Ensure = %v, want a refusal that names the rule of the attribute", err)
	}
	s.Put(connectionOf("admin"))
	s.PutRule(hooptest.Rule{Name: "by name", Type: "jit", Connections: []string{db}, Required: []string{"dba"}})
	must(t, apply(t, s.open(t, Config{}, 0), jit.Ensure, access("reviewers", time.Hour)))
}

// If the gate of a connection with grants is removed, the holders of the grants have standing access.
func TestAGateThatGoes(t *testing.T) {
	s := newSite(t, nil)
	p, a := s.open(t, Config{}, 0), access("gate", time.Hour)
	must(t, apply(t, p, jit.Ensure, a))
	s.Put(hooptest.Connection{Name: db, Groups: []string{"engineers"}})
	snap, err := p.Read(t.Context(), db)
	must(t, err)
	if found, standing := snap.StandingOf(a.Binding); !standing || !strings.Contains(found.Detail, "no review gate") {
		t.Errorf("Read tells the standing access %+v", snap.Standing)
	}
	must(t, apply(t, p, jit.Remove, a))
}

// A rule of the type jit does not stop users from running single commands.
func TestSingleCommands(t *testing.T) {
	for name, tt := range map[string]struct {
		conn hooptest.Connection
		rule string
		open bool
	}{
		"a rule for connecting":                   {hooptest.Connection{}, "jit", true},
		"commands are disabled":                   {hooptest.Connection{ExecDisabled: true}, "jit", false},
		"a rule for both":                         {hooptest.Connection{}, "jit_command", false},
		"reviewers":                               {hooptest.Connection{Reviewers: []string{"admin"}}, "jit", false},
		"a gateway that cannot tell what it does": {hooptest.Connection{Old: true, Reviewers: []string{"admin"}}, "jit", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			tt.conn.Name, tt.conn.Groups = db, []string{"engineers"}
			s.Put(tt.conn)
			s.PutRule(hooptest.Rule{Name: "production", Type: tt.rule, Connections: []string{db}})
			if got := s.MayExec(alice, db); got != tt.open {
				t.Fatalf("the gateway of the test runs commands without a review: %t", got)
			}
			snap, err := s.open(t, Config{}, 0).Read(t.Context(), db)
			must(t, err)
			if told := len(snap.Notes) == 1 && strings.Contains(snap.Notes[0].Text, "access_mode_exec"); told != tt.open ||
				len(snap.Notes) > 1 {
				t.Errorf("the notes are %+v", snap.Notes)
			}
		})
	}
}

// A review gives nothing to a user who cannot see the connection. The plan warns.
func TestAUserWhoCannotSeeTheConnection(t *testing.T) {
	s := newSite(t, nil)
	s.AddUser("carol@example.com", "ops")
	s.AddUser("root@example.com", "admin")
	caution := func(email string) string {
		t.Helper()
		b := access("sees", time.Hour).Binding
		b.Principal = email
		traits, err := s.open(t, Config{}, 0).Describe(t.Context(), b)
		must(t, err)
		return traits.Caution
	}
	if got := caution("carol@example.com"); !strings.Contains(got, "carol@example.com cannot see the connection") ||
		!strings.Contains(got, "(ops)") {
		t.Errorf("the caution is %q", got)
	}
	for _, email := range []string{alice, "root@example.com"} {
		if got := caution(email); got != "" {
			t.Errorf("of %s the caution is %q", email, got)
		}
	}
	s.Edit("shared",
		func(a *hooptest.Attribute) bool { a.Connections, a.Groups = []string{db}, []string{"ops"}; return true },
	)
	if got := caution("carol@example.com"); got != "" {
		t.Errorf("with an attribute the caution is %q", got)
	}
	s.SetAccessControl(false)
	s.AddUser("dave@example.com")
	if got := caution("dave@example.com"); got != "" {
		t.Errorf("without access control the caution is %q", got)
	}
}

// A plan of many grants asks the gateway once about each connection.
func TestDescribeAsksOnce(t *testing.T) {
	s := newSite(t, nil)
	s.Put(hooptest.Connection{Name: db, JIT: true, Groups: []string{"engineers"}})
	p, b := s.open(t, Config{}, 0), access("x", time.Hour).Binding
	for range 10 {
		_, err := p.Describe(t.Context(), b)
		must(t, err)
	}
	if reads, _ := s.Calls(); reads > 14 {
		t.Errorf("10 grants took %d reads, want each user and 4 more", reads)
	}
}
