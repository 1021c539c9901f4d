package lifetest_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// gateway is a connection of a hoop gateway with a colleague whose access somebody has approved.
type gateway struct {
	server *hooptest.Server
	boss   string // the token of who approves
}

const (
	gatewayScope = "payments-db"
	gatewayKey   = "jit" // the name of the API key
)

func newGateway(t *testing.T) place {
	t.Helper()
	g := &gateway{server: hooptest.New(t, nil)}
	g.boss = g.server.AddUser("boss@example.com", "admin")
	g.server.AddUser("colleague@example.com", "engineers")
	g.server.Put(hooptest.Connection{Name: gatewayScope, Reviewers: []string{"admin"}, Groups: []string{"engineers"}})
	g.approve("colleague@example.com", 24*time.Hour, time.Now())
	return g
}

// approve lets a user ask for access, which the boss approves at a time.
func (g *gateway) approve(email string, lasts time.Duration, at time.Time) {
	g.server.Decide(g.boss, g.server.Ask(email, gatewayScope, "jit:is:a:colleague", lasts), "APPROVED", at)
}

func (g *gateway) target() string {
	return fmt.Sprintf("{ hoop = { url = %q, api_key = %q } }", g.server.URL, hooptest.Key)
}
func (g *gateway) role() string           { return "connect" }
func (g *gateway) scope() string          { return gatewayScope }
func (g *gateway) native() bool           { return true }
func (g *gateway) begins() bool           { return false }
func (g *gateway) settles() time.Duration { return 0 }

func (g *gateway) people(_ *testing.T, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = strings.ToLower(rand.Text()[:8]) + "@example.com"
		g.server.AddUser(all[i], "engineers")
	}
	return all
}

func (g *gateway) tries(_ *testing.T, principal string) bool {
	return g.server.MayConnect(principal, gatewayScope, time.Now())
}

// hider is who asks for the review that hides a grant.
const hider = "jit:hidden:by:another:review"

// foreign is all that the API key has not approved, without the reviews that tamper makes.
func (g *gateway) foreign(*testing.T) string {
	var kept []hooptest.Review
	for _, r := range g.server.Reviews() {
		if r.By != gatewayKey && r.CorrelationID != hider {
			kept = append(kept, r)
		}
	}
	return fmt.Sprintf("%+v\n%+v", kept, g.server.Attributes())
}

func (g *gateway) dump(*testing.T) string { return fmt.Sprintf("%+v", g.server.Reviews()) }

// mine returns the reviews of grants that are not revoked.
func (g *gateway) mine() []hooptest.Review {
	var all []hooptest.Review
	for _, r := range g.server.Reviews() {
		if r.By == gatewayKey && r.Status == "APPROVED" && ours.MatchString(r.CorrelationID) {
			all = append(all, r)
		}
	}
	return all
}

func (g *gateway) marked(*testing.T) int { return len(g.mine()) }

// tamper lets the users have reviews approved that are over at once, and hide what they have.
func (g *gateway) tamper(*testing.T) {
	for _, r := range g.mine() {
		g.server.Decide(g.boss, g.server.Ask(r.User, gatewayScope, hider, time.Minute), "APPROVED", time.Now().Add(-time.Hour))
	}
}

// What the gateway would refuse, or what would give nothing, is refused at plan with the reason, and nothing is written.
func TestGatewayRefusesAtPlan(t *testing.T) {
	t.Parallel()
	g, ok := newGateway(t).(*gateway)
	if !ok {
		t.Fatal("newGateway makes another place")
	}
	g.server.Put(hooptest.Connection{Name: "open-db", Groups: []string{"engineers"}})
	g.server.Put(hooptest.Connection{Name: "short-db", JIT: true, MaxDuration: 1800, Groups: []string{"engineers"}})
	g.server.Put(hooptest.Connection{Name: "rule-db", Groups: []string{"engineers"}})
	g.server.PutRule(hooptest.Rule{Name: "production", Type: "jit", Connections: []string{"rule-db"}, Required: []string{"dba"}})
	s := newSite(t, testenv.Terraforms(t)[0], g, released)
	before := g.dump(t)
	for _, tt := range []struct{ line, says string }{
		{`ttl = "49h"`, "lasts at most 2d"},
		{`expires_at = "` + time.Now().Add(50*time.Hour).UTC().Format(time.RFC3339) + `"`, "lasts at most 2d"},
		{`scope = "short-db"`, "lasts at most 30m"},
		{`scope = "open-db"`, "no review gate"},
		{`scope = "none-db"`, "no connection"},
		{`scope = "rule-db"`, "connects to \"rule-db\" without a review"},
		{`principal = "nobody@example.com"`, "no user"},
	} {
		lines := []string{tt.line}
		if strings.HasPrefix(tt.line, "expires_at") {
			lines = append(lines, "ttl =")
		}
		s.configure(s.grant("a", lines...))
		s.Write("main.tf", strings.Replace(s.Read("main.tf"), "provider \"jit\" {\n", "provider \"jit\" {\n  max_ttl = \"72h\"\n", 1))
		if r := s.Plan(); r.ExitCode != 1 || !strings.Contains(strings.Join(strings.Fields(r.Text()), " "), tt.says) {
			t.Errorf("%s: exit code %d, want a refusal that says %q:\n%s", tt.line, r.ExitCode, tt.says, r.Text())
		}
		same(t, before, g.dump(t), tt.line+": the gateway holds")
	}
}

// A reviewer approves the review of a grant again, which makes it theirs and moves its end. Plan and sweep name the
// reviewer, and nothing says that the access has ended before it has.
func TestGatewayApprovedAgain(t *testing.T) {
	t.Parallel()
	g, ok := newGateway(t).(*gateway)
	if !ok {
		t.Fatal("newGateway makes another place")
	}
	s := newSite(t, testenv.Terraforms(t)[0], g, released)
	s.configure(s.grant("a"))
	s.Apply()
	mine := g.mine()
	if len(mine) != 1 {
		t.Fatalf("there are %+v", mine)
	}
	g.server.Decide(g.boss, mine[0].Session, "APPROVED", time.Now())
	const name = "approved again by boss@example.com until "
	says := func(what, text string) {
		t.Helper()
		if !strings.Contains(strings.Join(strings.Fields(text), " "), name) {
			t.Errorf("%s does not say who approved it again:\n%s", what, text)
		}
	}
	r := s.Plan()
	says("plan", r.Text())
	swept := s.jit(nil, "sweep", "--json")
	says("sweep", swept.Stdout)
	if !strings.Contains(swept.Stdout, "taken_over") || !strings.Contains(swept.Stdout, "critical") || len(g.mine()) != 0 {
		t.Errorf("sweep says\n%s\nand there are %+v", swept.Stdout, g.mine())
	}
	if r := s.Run("destroy", "-auto-approve", "-no-color"); r.ExitCode == 0 {
		t.Errorf("destroy says that it is done:\n%s", r.Text())
	} else {
		says("destroy", r.Text())
	}
	s.may(true, "by the approval of the boss")
	if r := s.jit(nil, "sweep"); r.ExitCode != 1 {
		t.Errorf("sweep: exit code %d, want 1\n%s", r.ExitCode, r.Stdout)
	}
	g.server.Decide(g.boss, mine[0].Session, "REVOKED", time.Now())
	s.mustJit("sweep")
	s.may(false, "when the boss has revoked it")
	if r := s.Run("destroy", "-auto-approve", "-no-color"); r.ExitCode != 0 {
		t.Errorf("destroy: %s", r.Text())
	}
}

// What a grant does not change is told at plan: single commands that nothing asks a review for, and a connection that the
// user cannot see.
func TestGatewayWarnsAtPlan(t *testing.T) {
	t.Parallel()
	g, ok := newGateway(t).(*gateway)
	if !ok {
		t.Fatal("newGateway makes another place")
	}
	g.server.Put(hooptest.Connection{Name: "rule-db", JIT: true, Groups: []string{"dba"}})
	s := newSite(t, testenv.Terraforms(t)[0], g, released)
	s.configure(s.grant("a", `scope = "rule-db"`))
	r := s.Plan()
	text := strings.Join(strings.Fields(r.Text()), " ")
	for _, says := range []string{"Single commands need no review", "access_mode_exec", "The grant may give nothing", s.who + " cannot see the connection"} {
		if !strings.Contains(text, says) {
			t.Errorf("the plan does not say %q:\n%s", says, r.Text())
		}
	}
}
