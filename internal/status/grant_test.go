package status

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

const ciRunURL = "https://github.com/acme/access/actions/runs/42"

// storied returns a ledger with a grant that people approved, from its request to its repair.
func storied(t testing.TB) (*jittest.Ledger, jit.Grant) {
	l := &jittest.Ledger{}
	write(t, l, nil, jit.Event{Kind: jit.EventPolicyChanged, Policy: "prod-oncall"})
	p := jit.Policy{
		Name: "prod-oncall", Effect: jit.Permit, MaxTTL: 4 * time.Hour, Description: "on call",
		Match: jit.Matches{{Targets: []string{"db"}, Roles: []string{"view*"}}},
		Approval: []jit.Requirement{{Required: 1, From: []string{"group:leads"},
			Evidence: []jit.Evidence{
				jit.PullRequest,
			}, ValidFor: 24 * time.Hour, Unless: "grant.ttl < duration('5m')"}},
	}
	if err := l.Write(t.Context(), []jit.Entry{{Policy: &p}})[0]; err != nil {
		t.Fatal(err)
	}
	g := record(t, l, "db", "user:alice@example.com", "INC-1: fail over", -time.Hour, time.Hour, func(g *jit.Grant) {
		g.Policy, g.Requester, g.SessionTail = "prod-oncall", "alice", 10*time.Minute
	})
	by := jit.Actor{Name: "carol", Change: "commit abc, run " + ciRunURL, Source: jit.FromTerraform}
	review := approval.Reviewed{
		Person: "leo", Login: "leo-gh", Forge: approval.GitHub, Host: "github.com", Repository: "acme/access",
		Number: 7,
		Commit: "abc", At: noon, NotAfter: noon,
	}
	for n, e := range []jit.Event{
		{Kind: jit.EventRequested, Actor: by, Detail: map[string]string{"target": "db", "ttl": "2h"}},
		{Kind: jit.EventApproved, Actor: by, Detail: review.Details()},
		{Kind: jit.EventApproved, Actor: by, Detail: map[string]string{
			"person": "lea", "evidence": "signature", "text": "a long text", "signature": "not one",
		}},
		{Kind: jit.EventDecided, Policy: "prod-oncall", Detail: map[string]string{
			"rule": "policy \"prod-oncall\" permits it", "verdict": "permitted",
			"approval": `[{"required":1,"from":["group:leads"]}]`,
		}},
		{Kind: jit.EventDrift, Detail: map[string]string{"drift": "the end was moved", "severity": "critical"}},
		{Kind: jit.EventRepairFailed, Detail: map[string]string{"error": "dial postgres://root:hunter2@db/x: refused"}},
	} {
		e.Grant, e.At = g.ID, noon.Add(time.Duration(n)*time.Minute-time.Hour)
		write(t, l, nil, e)
	}
	return l, g
}

// The page of a grant has its facts, who decided, from which change, and its events in order.
func TestPageOfAGrant(t *testing.T) {
	l, g := storied(t)
	found := reconcile.Drifted(reconcile.Repair, g.Place(), g, jit.DriftEndLater, "the end was moved again")
	state := sweeper.State{Found: []sweeper.Result{{Step: found, Err: errors.New("no answer")}}}
	page, code, header := pageOf(t, l, state, "/grants/"+string(g.ID))
	if code != http.StatusOK || header.Get("Cache-Control") != "no-store" ||
		!strings.Contains(header.Get("Content-Security-Policy"), "form-action 'none'") ||
		strings.Contains(header.Get("Content-Security-Policy"), "script-src") {
		t.Errorf("%d, %v", code, header)
	}
	for id, want := range map[string][]string{
		"facts": {
			"user:alice@example.com", "viewer", "projects/payments", "on target db", "INC-1: fail over",
			"requester alice",
			"1 h 0 min left", "24 Nov 2026 11:00:00", "24 Nov 2026 13:00:00", "the target", "10m longer", "carol",
			`commit abc, run <a href="` + ciRunURL + `"`, "prod-oncall", "permits it", string(g.ID),
			"jit revoke " + string(g.ID),
		},
		"policy": {"4h", "targets: db", "roles: view*", "1 of group:leads, by pull request, valid for 1d", "5m"},
		"drift":  {"the end was moved again", "no answer"},
		"decisions": {
			"approved", "leo", `<a href="https://github.com/acme/access/pull/7"`, "acme/access#7 on github.com", "lea",
			"a signature that does not hold",
		},
		"events": {
			"requested", "ttl: 2h", "policy decision", "approval of: 1 of group:leads", "drift found", "repair failed",
		},
	} {
		checkText(t, id, section(page, id), want, nil)
	}
	checkText(t, "the page", page, nil, []string{"hunter2", "a long text", "<script", "target: db"})
	order := strings.Index(page, ">policy decision<") < strings.Index(page, ">drift found<")
	if !order {
		t.Error("the events are not in their order")
	}
	_, report := reportOf(t, l, noon.Add(-2*time.Hour), noon)
	checkText(t, "the report", report, []string{
		fmt.Sprintf(
			`href="#grant-%s"`,
			g.ID,
		), fmt.Sprintf(`<article id="grant-%s">`, g.ID), "approval of: 1 of group:leads",
		"drift found", `<a href="https://github.com/acme/access/pull/7"`, "policy prod-oncall",
	}, []string{"hunter2", "a long text"})
}

// A grant is found by its whole id, of every owner; a unique beginning leads to it, with the filter.
func TestWhichGrant(t *testing.T) {
	l := &jittest.Ledger{}
	add := func(id, owner string) {
		record(t, l, "db", "bob", "INC-1: "+id, -time.Hour, time.Hour, func(g *jit.Grant) {
			g.ID, g.Owner = jit.ID(id), owner
		})
	}
	const one, two, other = "3f2b8c1e-0000-8000-8000-000000000001", "3f2b8c1e-0000-8000-8000-000000000002",
		"aaaabbbb-0000-8000-8000-000000000001"
	add(one, "payments")
	add(two, "payments")
	add(other, "search")
	for path, c := range map[string]struct {
		code int
		want string
	}{
		one:                                    {http.StatusOK, "INC-1: " + one},
		strings.ToUpper(one):                   {http.StatusOK, "INC-1: " + one},
		other + "?owner=payments":              {http.StatusOK, `href="/?owner=payments"`},
		"aaaabbbb":                             {http.StatusFound, "/grants/" + other},
		"AAAABBBB-0000?owner=a%26b&x=//evil":   {http.StatusFound, "/grants/" + other + "?owner=a%26b"},
		"3f2b8c1e":                             {http.StatusNotFound, "2 grants have ids that begin with 3f2b8c1e"},
		"cccccccc":                             {http.StatusNotFound, "no grant whose id begins with cccccccc"},
		"cccccccc-0000-8000-8000-000000000001": {http.StatusNotFound, "has no grant cccccccc-0000"},
		"aaaabbb":                              {http.StatusNotFound, "neither the id of a grant"},
		"%2e%2e%2fmetrics":                     {http.StatusNotFound, "neither the id of a grant"},
		"%3Cscript%3Ealert(1)":                 {http.StatusNotFound, "neither the id of a grant"},
		one + "/x":                             {http.StatusNotFound, "404"},
		one + "?owner=" + strings.Repeat("x", 300): {http.StatusBadRequest, "too long"},
	} {
		page, code, header := pageOf(t, l, sweeper.State{}, "/grants/"+path)
		if code != c.code || header.Get("Location") != c.want && !strings.Contains(page, c.want) ||
			strings.Contains(page, "<script") || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, %v\n%s", path, code, header, page)
		}
	}
	page, _, _ := pageOf(t, l, sweeper.State{}, "/grants/3f2b8c1e")
	checkText(
		t,
		"two candidates",
		page,
		[]string{`<a href="/grants/` + one + `">`, `<a href="/grants/` + two + `">`},
		[]string{other},
	)
	l.Call = func(string) error { return errors.New("cannot read postgres://admin:hunter2@db/jit") }
	for _, path := range []string{"/grants/" + one, "/grants/3f2b8c1e", "/policies"} {
		page, code, _ := pageOf(t, l, sweeper.State{}, path)
		checkText(
			t,
			path,
			page,
			[]string{"does not answer", "cannot read postgres://…@db/jit"},
			[]string{"hunter2", "No such grant"},
		)
		if code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// The page of policies says what each permits, for how long, and who approves.
func TestPageOfPolicies(t *testing.T) {
	l, _ := storied(t)
	forbids := jit.Policy{Name: "never", Effect: jit.Forbid, Match: jit.Matches{{Roles: []string{"<owner>"}},
		{Scopes: []string{"all"}}}}
	if err := l.Write(t.Context(), []jit.Entry{{Policy: &forbids}})[0]; err != nil {
		t.Fatal(err)
	}
	page, code, _ := pageOf(t, l, sweeper.State{}, "/policies?owner=payments")
	checkText(t, "the policies", page, []string{
		"<h2>never</h2>", "forbid", "roles: &lt;owner&gt;</small><small>or</small><small>scopes: all", "<h2>prod-oncall</h2>", "4h", "targets: db",
		"1 of group:leads, by pull request, valid for 1d, unless grant.ttl &lt; duration", `href="/?owner=payments"`,
	}, nil)
	if longest := strings.Count(page, "Longest"); code != http.StatusOK || longest != 1 {
		t.Errorf("%d, %d policies have a longest window", code, longest)
	}
	page, _, _ = pageOf(t, &jittest.Ledger{}, sweeper.State{}, "/policies")
	checkText(t, "no policy", page, []string{"The ledger has no policy."}, nil)
}

// The page of a grant says what is open, with the command.
func TestWhatIsOpen(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*jit.Grant)
		want   string
	}{
		"needs approval": {func(g *jit.Grant) {
			g.TTL, g.GrantedAt, g.FailedAt, g.Awaits = jit.RecordedTTL("2h"), time.Time{}, noon, "1 of: lea"
		}, "<b>It needs the approval of 1 of: lea.</b> It has given nothing. To decide: <code>jit approve ID</code>"},
		"broke the glass": {func(g *jit.Grant) { g.BreakGlass, g.Awaits = true, "1 of: lea" },
			"<code>jit approve --sign-off ID</code>"},
		"not removed": {func(g *jit.Grant) { g.RevokedAt = noon.Add(-time.Minute) },
			"has not confirmed that the access is gone"},
		"drift": {func(g *jit.Grant) { g.OpenDrift = jit.DriftMissing },
			"The access differs from the record: missing"},
		"nothing": {func(*jit.Grant) {}, ""},
	} {
		l := &jittest.Ledger{}
		g := record(t, l, "db", "bob", "INC-1: x", -time.Hour, time.Hour, c.change)
		page, _, _ := pageOf(t, l, sweeper.State{}, "/grants/"+string(g.ID))
		_, report := reportOf(t, l, noon.Add(-24*time.Hour), noon.Add(time.Hour))
		want := strings.ReplaceAll(c.want, "ID", string(g.ID))
		if !strings.Contains(page, want) || strings.Contains(page, `role="alert"`) != (want != "") {
			t.Errorf("%s: the page does not say %q:\n%s", name, want, page)
		}
		if !g.Failed() && !strings.Contains(report, want) {
			t.Errorf("%s: the report does not say %q:\n%s", name, want, report)
		}
	}
}

// A decision names the key that signed it, and a signature of another text none.
func TestWhichKeySigned(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := approval.Sign([]byte("a text"), signer)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"a text": ssh.FingerprintSHA256(signer.PublicKey()), "another text": "a signature that does not hold",
	} {
		e := jit.Event{Detail: map[string]string{"text": text, "signature": string(signature)}}
		if got := decisionOf(e, "").Key; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// The first and the last of very many events are shown, and how many are not.
func TestManyEvents(t *testing.T) {
	l, g := storied(t)
	for n := range 1000 {
		detail := map[string]string{"drift": fmt.Sprintf("number %d.", n), "long": strings.Repeat("y", 10_000)}
		write(t, l, nil, jit.Event{At: noon, Kind: jit.EventDrift, Grant: g.ID, Detail: detail})
	}
	page, _, _ := pageOf(t, l, sweeper.State{}, "/grants/"+string(g.ID))
	_, report := reportOf(t, l, noon.Add(-24*time.Hour), noon.Add(time.Hour))
	_, report, _ = strings.Cut(report, "<article")
	for text, most := range map[string]int{page: maxEvents, report: maxTold} {
		checkText(t, "events", text, []string{
			">policy decision<", "number 0.", "number 999.", fmt.Sprintf("%d events are left out", 1007-most),
		}, []string{"number 500.<", strings.Repeat("y", maxFact+1)})
	}
}

// A report describes a bounded number of grants, and says how many it does not.
func TestReportOfManyGrants(t *testing.T) {
	l := &jittest.Ledger{}
	var entries []jit.Entry
	for n := range maxDetailed + 10 {
		g := jit.Grant{
			Owner:   "payments",
			Binding: jit.Binding{Target: "db", Principal: fmt.Sprint("user-", n), Role: "r"},
			Reason:  "x",
			Window:  jit.Window{Start: noon.Add(time.Duration(n) * time.Second), End: noon.Add(2 * time.Hour)},
		}
		g.ID = jit.NewID(g.Owner, g.Binding, g.Reason, 1)
		entries = append(entries, jit.Entry{Grant: &g, Events: []jit.Event{{Kind: jit.EventRequested, Grant: g.ID}}})
	}
	l.Write(t.Context(), entries)
	_, report := reportOf(t, l, noon.Add(-time.Hour), noon.Add(2*time.Hour))
	checkText(
		t,
		"the report",
		report[len(report)-1000:],
		[]string{"10 more are listed above without their events"},
		nil,
	)
	articles, links := strings.Count(report, "<article"), strings.Count(report, `href="#grant-`)
	if articles != maxDetailed ||
		links != maxDetailed ||
		!strings.Contains(report, fmt.Sprint("user-", maxDetailed+9)) {
		t.Errorf("%d articles, %d links", articles, links)
	}
}
