package cli

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/forge/forgetest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	onGitHub = "acme/access#12"
	onGitLab = "acme/db/access!12"
)

// serveGitHub serves the pull request with these reviews, and serveGitLab the merge request with these approvals.
func (o *office) serveGitHub(reviews ...any) *forgetest.Site {
	o.t.Helper()
	site := forgetest.NewGitHub(o.t, reviews...)
	o.t.Setenv("GITHUB_API_URL", site.URL)
	o.t.Setenv("GITHUB_TOKEN", forgetest.Token)
	return site
}

func (o *office) serveGitLab(approvals ...any) *forgetest.Site {
	o.t.Helper()
	site := forgetest.NewGitLab(o.t, approvals...)
	o.t.Setenv("CI_API_V4_URL", site.URL)
	o.t.Setenv("GITLAB_TOKEN", forgetest.Token)
	return site
}

func (o *office) review(id int, login, commit string) any {
	return forgetest.Review(id, forgetest.Person(login), "APPROVED", commit, o.now)
}

// accepts changes the evidence that the policy accepts.
func (o *office) accepts(evidence ...jit.Evidence) {
	o.t.Helper()
	rt := o.runtime()
	defer func() { _ = rt.Close() }()
	if err := rt.Broker.PutPolicy(o.t.Context(), jit.Policy{
		Name: "prod", Effect: jit.Permit,
		Approval: []jit.Requirement{{Required: 1, From: []string{"group:leads"}, Evidence: evidence}},
	}); err != nil {
		o.t.Fatal(err)
	}
}

// A review counts only if the policy accepts reviews, and only for the requests of the plan.
func TestApproveByReview(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.serveGitHub(o.review(7, "Lea-GH", forgetest.Head), o.review(8, "stranger", forgetest.Head), o.review(9, "leo", forgetest.Older))
	args := []string{"approve", "--plan", "plan.json", "--github", onGitHub}
	o.run(args...).wantCode(exitNotDone).wantErr("no policy of", "reviews of a pull request")
	o.refused(r, "1 of: lea, leo")
	o.accepts(jit.Signature, jit.PullRequest)
	o.run(args...).wantCode(exitDone).wantOut("lea approved jit_grant.a in acme/access#12").
		wantErr(`no person whose github is "stranger"`, "older commit")
	o.run(args...).wantCode(exitDone)
	o.intact()
	o.refused(o.wish(func(r *broker.Request) { r.TTL = jit.RecordedTTL("3h") }), "1 of: lea, leo")
	o.accepts(jit.Signature)
	o.refused(r, "does not accept a pull_request")
	o.accepts(jit.PullRequest)
	g := o.granted(r)
	show := o.run("show", string(g.ID)).wantOut("evidence=pull_request", "review=7", "commit="+forgetest.Head, "number=12", "host=127.0.0.1:")
	var shown struct{ Events []jit.Event }
	o.run("show", string(g.ID), "--json").decode(&shown)
	n := 0
	for _, e := range shown.Events {
		if e.Kind == jit.EventApproved {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the review is recorded %d times\n%s", n, show.out)
	}
	o.intact()
}

// A grant does not begin on a review that does not count.
func TestReviewsThatDoNotCount(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(o *office, r *broker.Request)
		code   int
		says   string
	}{
		{"by the principal", func(o *office, _ *broker.Request) {
			rt := o.runtime()
			defer func() { _ = rt.Close() }()
			p := jit.Person{
				Name: "lea", Groups: []string{"group:leads"}, GitHub: "lea-gh", Principals: []string{o.principal},
			}
			if err := rt.Broker.PutPerson(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}, exitNotDone, "lea is the principal"},
		{"by the requester", func(_ *office, r *broker.Request) { r.Requester = "lea" }, exitNotDone, "lea is the requester"},
		{"an edited plan", func(o *office, r *broker.Request) {
			c := o.change("jit_grant.a", *r)
			c["change"].(object)["after"].(object)["reason"] = "INC-9: other"
			o.plan(c)
		}, exitNotDone, "request_digest"},
		{"without a token", func(_ *office, _ *broker.Request) { t.Setenv("GITHUB_TOKEN", "") }, exitUsage, "GITHUB_TOKEN"},
		{"closed without a merge", func(o *office, _ *broker.Request) {
			o.serveGitHub(o.review(7, "lea-gh", forgetest.Head)).Settle(time.Time{})
		}, exitNotDone, "neither open nor merged"},
		{"after the merge", func(o *office, _ *broker.Request) {
			o.serveGitHub(o.review(7, "lea-gh", forgetest.Head)).Settle(o.now.Add(-time.Hour))
		}, exitNotDone, "after the merge"},
		{"with a wrong token", func(_ *office, _ *broker.Request) { t.Setenv("GITHUB_TOKEN", "x") }, exitUnreadable, "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t, 1)
			o.accepts(jit.PullRequest)
			o.serveGitHub(o.review(7, "lea-gh", forgetest.Head))
			r := o.wish()
			o.write("plan.json", "")
			tt.before(o, &r)
			if o.read("plan.json") == "" {
				o.plan(o.change("jit_grant.a", r))
			}
			got := o.run("approve", "--plan", "plan.json", "--github", onGitHub).wantCode(tt.code).wantErr(tt.says)
			if got.out != "" {
				t.Errorf("recorded: %s", got.out)
			}
			o.refused(r, "needs the approval of")
		})
	}
}

// A review does not count after its validity has ended.
func TestOldReviews(t *testing.T) {
	o := newOffice(t, 1)
	o.accepts(jit.PullRequest)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.serveGitHub(o.review(7, "lea-gh", forgetest.Head))
	o.run("approve", "--plan", "plan.json", "--github", onGitHub, "--valid-for", "1h").wantCode(exitDone)
	o.now = o.now.Add(2 * time.Hour)
	o.refused(r, "it was valid until")
}

// The same review may be recorded with a longer validity.
func TestReviewForLonger(t *testing.T) {
	o := newOffice(t, 1)
	o.accepts(jit.PullRequest)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.serveGitHub(o.review(7, "lea-gh", forgetest.Head)).Settle(o.now)
	for _, validFor := range []string{"1h", "3h"} {
		o.run("approve", "--plan", "plan.json", "--github", onGitHub, "--valid-for", validFor).wantCode(exitDone)
	}
	o.now = o.now.Add(2 * time.Hour)
	o.granted(r)
	o.intact()
}

// One request that is of another ledger or owner holds up no other.
func TestReviewOfSomeRequests(t *testing.T) {
	o := newOffice(t, 1)
	o.accepts(jit.PullRequest)
	r := o.wish()
	other := o.change("jit_grant.other", o.wish(func(r *broker.Request) { r.Reason = "INC-2: look" }))
	other["change"].(object)["after"].(object)["request_digest"] = strings.Repeat("0", 64)
	o.plan(other, o.change("jit_grant.a", r))
	o.serveGitHub(o.review(7, "lea-gh", forgetest.Head))
	o.run("approve", "--plan", "plan.json", "--github", onGitHub).wantCode(exitNotDone).
		wantErr("jit_grant.other: ", "another ledger or owner", "nothing was decided on 1 request").
		wantOut("lea approved jit_grant.a in " + onGitHub).wantNotOut("jit_grant.other")
	o.granted(r)
}

// A merge request of GitLab decides as a pull request does. The project there lets authors approve.
func TestApproveByMergeRequest(t *testing.T) {
	o := newOffice(t, 1)
	o.accepts(jit.PullRequest)
	r := o.wish()
	o.refused(r, "1 of: lea, leo")
	o.plan(o.change("jit_grant.a", r))
	approves := func(id int, login string, at time.Time) any { return forgetest.ApprovedBy(id, login, at) }
	for _, tt := range []struct {
		name     string
		approval any
		change   func(forgetest.Object)
		says     string
	}{
		{"by the author", approves(7, "lea-gl", o.now), func(pull forgetest.Object) {
			pull["author"] = forgetest.Object{"username": "lea-gl"}
		}, "by the author"},
		{"by the last pusher", approves(6, "carol", o.now), nil, "pushed last"},
		{"before the last push", approves(7, "lea-gl", forgetest.Pushed.Add(-time.Second)), nil,
			"older than the newest commit"},
		{"by a bot", approves(8, "lea-gl", o.now), nil, "a bot"},
		{"by a stranger", approves(5, "stranger", o.now), nil, `no person whose gitlab is "stranger"`},
		{"by an account of GitHub's name", approves(4, "lea-gh", o.now), nil, `no person whose gitlab is "lea-gh"`},
		{"of a closed one", approves(7, "lea-gl", o.now), func(pull forgetest.Object) {
			pull["state"] = "closed"
		}, "neither open nor merged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := o.serveGitLab(tt.approval)
			if tt.change != nil {
				tt.change(site.Objects[forgetest.GitLabMerge].(forgetest.Object))
			}
			got := o.run("approve", "--plan", "plan.json", "--gitlab", onGitLab).wantCode(exitNotDone).wantErr(tt.says)
			if got.out != "" {
				t.Errorf("recorded: %s", got.out)
			}
			o.refused(r, "1 of: lea, leo")
		})
	}
	o.serveGitLab(approves(7, "lea-gl", o.now)).Settle(o.now)
	o.run("approve", "--plan", "plan.json", "--gitlab", onGitLab).wantCode(exitDone).
		wantOut("lea approved jit_grant.a in acme/db/access")
	g := o.granted(r)
	o.run("show", string(g.ID)).wantOut("forge=gitlab", "host=127.0.0.1:", "repository=acme/db/access")
	o.intact()
}

// In CI, the reviews must be of what the run plans.
func TestReviewOfAnotherRun(t *testing.T) {
	o := newOffice(t, 1)
	o.accepts(jit.PullRequest)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	gitHub := func(repository, event, sha, payload string) map[string]string {
		return map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": repository, "GITHUB_EVENT_NAME": event,
			"GITHUB_SHA": sha, "GITHUB_EVENT_PATH": filepath.Join(o.dir, payload)}
	}
	o.write("older.json", `{"pull_request":{"number":12,"head":{"sha":"`+forgetest.Older+`"}}}`)
	o.write("other.json", `{"pull_request":{"number":13,"head":{"sha":"`+forgetest.Head+`"}}}`)
	o.write("own.json", `{"pull_request":{"number":12,"head":{"sha":"`+forgetest.Head+`"}}}`)
	o.write("push.json", `{}`)
	for _, tt := range []struct {
		name string
		env  map[string]string
		code int
		says string
	}{
		{"another number", gitHub("acme/access", "pull_request", "x", "other.json"), exitUsage, "plans acme/access#13"},
		{"another repository", gitHub("eve/access", "pull_request", "x", "own.json"), exitUsage, "plans eve/access#12"},
		{"a job of an older commit", gitHub("acme/access", "pull_request", "x", "older.json"), exitNotDone,
			"plans commit " + forgetest.Older},
		{"a push of a later commit", gitHub("acme/access", "push", forgetest.Older, "push.json"), exitNotDone,
			"are about " + forgetest.Head},
		{"an event that is gone", gitHub("acme/access", "push", "x", "none.json"), exitUnreadable, "GITHUB_EVENT_PATH"},
		{"the commit of the merge", gitHub("ACME/access", "push", forgetest.Merged, "push.json"), exitDone, ""},
		{"its own", gitHub("acme/access", "pull_request", "x", "own.json"), exitDone, ""},
		{"a run of another forge", map[string]string{"GITLAB_CI": "true", "CI_PROJECT_PATH": "x/y", "CI_COMMIT_SHA": "z"},
			exitDone, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			t.Setenv("GITHUB_API_URL", "")
			o.t = t
			o.serveGitHub(o.review(7, "lea-gh", forgetest.Head)).Settle(o.now)
			got := o.run("approve", "--plan", "plan.json", "--github", onGitHub).wantCode(tt.code).wantErr(tt.says)
			if recorded := got.out != ""; recorded != (tt.code == exitDone) {
				t.Errorf("recorded: %s", got.out)
			}
		})
	}
}

func TestWrongReviewFlags(t *testing.T) {
	o := newOffice(t, 1)
	o.plan()
	t.Setenv("GITHUB_TOKEN", "a-token")
	for _, args := range [][]string{
		{"--github", "acme"}, {"--github", onGitHub, "--gitlab", "a/b!1"}, {"--github", onGitHub, "--print"},
		{"--github", onGitHub, "--key", "lea.key"}, {"--gitlab", "a/b!1"},
	} {
		t.Setenv("GITLAB_TOKEN", "")
		o.run(append([]string{"approve", "--plan", "plan.json"}, args...)...).wantCode(exitUsage).wantErr("--git")
	}
	o.run("approve", "--github", onGitHub).wantCode(exitUsage)
	o.run("approve", "3f2b8c1e", "--github", onGitHub).wantCode(exitUsage).wantErr("--plan")
}
