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
	boss   string // the approver's token
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

// approve requests access for a user, which the boss approves at a time.
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

// hider returns the request of a review that hides a grant.
const hider = "jit:hidden:by:another:review"

// foreign returns everything that the API key has not approved, except the reviews of tamper.
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

// tamper approves reviews for the users that expire at once and hide their valid ones.
func (g *gateway) tamper(*testing.T) {
	for _, r := range g.mine() {
		g.server.Decide(g.boss, g.server.Ask(r.User, gatewayScope, hider, time.Minute), "APPROVED",
			time.Now().Add(-time.Hour))
	}
}

// The plan refuses grants that the gateway would refuse or that would give no access, with the reason. Nothing is
// written.
func TestGatewayRefusesAtPlan(t *testing.T) {
	t.Parallel()
	g, ok := newGateway(t).(*gateway)
	if !ok {
		t.Fatal("newGateway returned another type")
	}
	g.server.Put(hooptest.Connection{Name: "open-db", Groups: []string{"engineers"}})
	g.server.Put(hooptest.Connection{Name: "short-db", JIT: true, MaxDuration: 1800, Groups: []string{"engineers"}})
	g.server.Put(hooptest.Connection{Name: "rule-db", Groups: []string{"engineers"}})
	g.server.PutRule(
		hooptest.Rule{Name: "production", Type: "jit", Connections: []string{"rule-db"}, Required: []string{"dba"}})
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
		s.Write("main.tf",
			strings.Replace(s.Read("main.tf"), "provider \"jit\" {\n", "provider \"jit\" {\n  max_ttl = \"72h\"\n", 1))
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
		t.Fatal("newGateway returned another type")
	}
	s := newSite(t, testenv.Terraforms(t)[0], g, released)
	s.configure(s.grant("a"))
	s.Apply()
	mine := g.mine()
	if len(mine) != 1 {
		t.Fatalf("the reviews are %+v", mine)
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
	if !strings.Contains(swept.Stdout, "taken_over") || !strings.Contains(swept.Stdout, "critical") ||
		len(g.mine()) != 0 {
		t.Errorf("sweep says\n%s\nand the reviews are %+v", swept.Stdout, g.mine())
	}
	if r := s.Run("destroy", "-auto-approve", "-no-color"); r.ExitCode == 0 {
		t.Errorf("destroy succeeded:\n%s", r.Text())
	} else {
		says("destroy", r.Text())
	}
	s.may(true, "by the approval of the boss")
	if r := s.jit(nil, "sweep"); r.ExitCode != 1 {
		t.Errorf("sweep: exit code %d, want 1\n%s", r.ExitCode, r.Stdout)
	}
	g.server.Decide(g.boss, mine[0].Session, "REVOKED", time.Now())
	s.mustJit("sweep")
	s.may(false, "after the boss has revoked it")
	if r := s.Run("destroy", "-auto-approve", "-no-color"); r.ExitCode != 0 {
		t.Errorf("destroy: %s", r.Text())
	}
}

// The plan warns of what a grant does not change: single commands that need no review, and a connection that the user
// cannot see.
func TestGatewayWarnsAtPlan(t *testing.T) {
	t.Parallel()
	g, ok := newGateway(t).(*gateway)
	if !ok {
		t.Fatal("newGateway returned another type")
	}
	g.server.Put(hooptest.Connection{Name: "rule-db", JIT: true, Groups: []string{"dba"}})
	s := newSite(t, testenv.Terraforms(t)[0], g, released)
	s.configure(s.grant("a", `scope = "rule-db"`))
	r := s.Plan()
	text := strings.Join(strings.Fields(r.Text()), " ")
	for _, says := range []string{
		"Single commands need no review", "access_mode_exec", "The grant may give nothing",
		s.who + " cannot see the connection",
	} {
		if !strings.Contains(text, says) {
			t.Errorf("the plan does not say %q:\n%s", says, r.Text())
		}
	}
}

// askedGateway returns a gateway on which reviewers decide.
type askedGateway struct{ *gateway }

func (g askedGateway) target() string {
	return fmt.Sprintf("{ hoop = { url = %q, api_key = %q, approval = \"hoop\" } }", g.server.URL, hooptest.Key)
}

// waiting returns the sessions whose requests nobody has decided.
func (g askedGateway) waiting() []string {
	var all []string
	for _, r := range g.server.Reviews() {
		if r.Status == "PENDING" {
			all = append(all, r.Session)
		}
	}
	return all
}

// With approval = "hoop" an apply waits for the reviewers. A sweep or the next apply completes what nobody has
// decided by then. The window begins with the approval.
func TestGatewayReviewersDecide(t *testing.T) {
	t.Parallel()
	inner, ok := newGateway(t).(*gateway)
	if !ok {
		t.Fatal("newGateway returned another type")
	}
	g := askedGateway{inner}
	s := newSite(t, testenv.Terraforms(t)[0], g, released)
	impatient := `timeouts = { create = "12s" }`
	says := func(r interface{ Text() string }, what string) {
		t.Helper()
		if !strings.Contains(strings.Join(strings.Fields(r.Text()), " "), what) {
			t.Errorf("the output does not say %q:\n%s", what, r.Text())
		}
	}
	one := func() string {
		t.Helper()
		all := g.waiting()
		if len(all) != 1 {
			t.Fatalf("%d requests wait, want 1\n%s", len(all), g.dump(t))
		}
		return all[0]
	}

	// Nobody decides while the apply waits. A sweep begins the grant after the approval.
	s.configure(s.grant("a", impatient))
	says(s.Plan(), "Reviewers decide in hoop")
	r := s.Apply()
	says(r, "The grant waits for approval")
	s.may(false, "before the approval")
	s.unchanged("while it waits")
	g.server.Decide(g.boss, one(), "APPROVED", time.Now())
	s.may(true, "with the approval")
	s.mustJit("sweep")
	shown := s.mustJit("list", "--json").Stdout
	if !strings.Contains(shown, `"active"`) {
		t.Errorf("after the sweep list says\n%s", shown)
	}
	settled := func(when string) {
		t.Helper()
		if r := s.Plan(); r.ExitCode != 0 {
			t.Errorf("%s: plan: exit code %d, want 0\n%s", when, r.ExitCode, r.Text())
		}
	}
	settled("after the approval")
	s.mustJit("audit", "verify")

	// Without a sweep, the next apply begins the grant.
	s.configure(s.grant("a", impatient), s.grant("b", impatient))
	s.Apply()
	g.server.Decide(g.boss, one(), "APPROVED", time.Now())
	if r := s.Plan(); r.ExitCode != 2 {
		t.Errorf("the plan does not complete the approved grant: %s", r.Text())
	}
	s.Apply()
	settled("after the completing apply")

	// The waiting apply continues after the approval.
	s.configure(s.grant("a", impatient), s.grant("b", impatient), s.grant("c", `timeouts = { create = "2m" }`))
	decided := make(chan string, 1)
	go func() {
		for range 600 {
			if all := g.waiting(); len(all) == 1 {
				g.server.Decide(g.boss, all[0], "APPROVED", time.Now())
				decided <- all[0]
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		decided <- ""
	}()
	s.Apply()
	if <-decided == "" {
		t.Error("no request waits for approval")
	}
	if list := s.mustJit("list", "--json").Stdout; strings.Contains(list, `"pending"`) {
		t.Errorf("after the apply list says\n%s", list)
	}

	// The error names who denied it, and nobody is asked again.
	s.configure(s.grant("d", `timeouts = { create = "2m" }`))
	go func() {
		for range 600 {
			if all := g.waiting(); len(all) == 1 {
				g.server.Decide(g.boss, all[0], "REJECTED", time.Now())
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	denied := s.Run("apply", "-auto-approve")
	if denied.ExitCode == 0 {
		t.Errorf("the apply of a denied grant says\n%s", denied.Text())
	}
	says(denied, "boss@example.com rejected the review")
	if again := s.Run("apply", "-auto-approve"); again.ExitCode == 0 || len(g.waiting()) != 0 {
		t.Errorf("apply again: exit code %d, and %d requests wait", again.ExitCode, len(g.waiting()))
	}
	s.may(false, "after every request is withdrawn or denied")
	s.mustJit("sweep")

	// Every plan reports a denial that came while no apply waited.
	s.configure(s.grant("f", impatient))
	s.Apply()
	says(s.Plan(), "The grant waits for approval")
	g.server.Decide(g.boss, one(), "REJECTED", time.Now())
	s.mustJit("sweep")
	says(s.Plan(), "The grant gave nothing")
	says(s.Plan(), "boss@example.com rejected the review")
	s.may(false, "after the denial")

	// A request is withdrawn if it is destroyed while it waits.
	s.configure(s.grant("e", impatient))
	s.Apply()
	one()
	if r := s.Run("destroy", "-auto-approve"); r.ExitCode != 0 {
		t.Errorf("destroy: %s", r.Text())
	}
	if all := g.waiting(); len(all) != 0 {
		t.Errorf("%d requests wait after the destroy", len(all))
	}
}
