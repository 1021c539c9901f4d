package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// serveGitHub serves a pull request of alice that carol pushed last, with reviews. The answers are those of
// docs.github.com/rest/pulls and docs.github.com/rest/repos/repos.
func (o *office) serveGitHub(reviews ...object) {
	o.t.Helper()
	user := func(login string) object { return object{"login": login, "type": "User"} }
	answers := map[string]any{
		"/repos/acme/access/pulls/12": object{
			"state": "open", "user": user("alice"),
			"head": object{"sha": "1111", "ref": "x", "repo": object{"full_name": "acme/access"}},
		},
		"/repos/acme/access/pulls/12/reviews": reviews,
		"/repos/acme/access/activity":         []object{{"after": "1111", "actor": user("carol")}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.URL.Path]
		if !known || r.Header.Get("Authorization") != "Bearer a-token" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(answer) // the client notices
	}))
	o.t.Cleanup(server.Close)
	o.t.Setenv("GITHUB_API_URL", server.URL)
	o.t.Setenv("GITHUB_TOKEN", "a-token")
}

func (o *office) review(id int, login, commit string) object {
	return object{
		"id": id, "user": object{"login": login, "type": "User"}, "state": "APPROVED", "commit_id": commit,
		"submitted_at": jit.FormatTime(o.now),
	}
}

// accepts changes which evidence the policy takes.
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

// A review counts where the policy takes it, for the requests of the plan alone.
func TestApproveByReview(t *testing.T) {
	o := newOffice(t, 1)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.serveGitHub(o.review(7, "Lea-GH", "1111"), o.review(8, "stranger", "1111"), o.review(9, "leo", "0000"))
	args := []string{"approve", "--plan", "plan.json", "--github", "acme/access#12"}
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
	show := o.run("show", string(g.ID)).wantOut("evidence=pull_request", "review=7", "commit=1111", "number=12")
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

// Reviews that do not count let nothing begin.
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
		}, exitUsage, "request_digest"},
		{"without a token", func(_ *office, _ *broker.Request) { t.Setenv("GITHUB_TOKEN", "") }, exitUsage, "GITHUB_TOKEN"},
		{"with a wrong token", func(_ *office, _ *broker.Request) { t.Setenv("GITHUB_TOKEN", "x") }, exitUnreadable, "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffice(t, 1)
			o.accepts(jit.PullRequest)
			o.serveGitHub(o.review(7, "lea-gh", "1111"))
			r := o.wish()
			o.write("plan.json", "")
			tt.before(o, &r)
			if o.read("plan.json") == "" {
				o.plan(o.change("jit_grant.a", r))
			}
			got := o.run("approve", "--plan", "plan.json", "--github", "acme/access#12").wantCode(tt.code).wantErr(tt.says)
			if got.out != "" {
				t.Errorf("recorded: %s", got.out)
			}
			o.refused(r, "needs the approval of")
		})
	}
}

// A review lapses, and a login name that another person has today proves nothing.
func TestOldReviews(t *testing.T) {
	o := newOffice(t, 1)
	o.accepts(jit.PullRequest)
	r := o.wish()
	o.plan(o.change("jit_grant.a", r))
	o.serveGitHub(o.review(7, "lea-gh", "1111"))
	o.run("approve", "--plan", "plan.json", "--github", "acme/access#12", "--valid-for", "1h").wantCode(exitDone)
	o.now = o.now.Add(2 * time.Hour)
	o.refused(r, "it was valid until")
}

func TestWrongReviewFlags(t *testing.T) {
	o := newOffice(t, 1)
	o.plan()
	t.Setenv("GITHUB_TOKEN", "a-token")
	for _, args := range [][]string{
		{"--github", "acme"}, {"--github", "acme/access#12", "--gitlab", "a/b!1"}, {"--github", "acme/access#12", "--print"},
		{"--github", "acme/access#12", "--key", "lea.key"}, {"--gitlab", "a/b!1"},
	} {
		t.Setenv("GITLAB_TOKEN", "")
		o.run(append([]string{"approve", "--plan", "plan.json"}, args...)...).wantCode(exitUsage).wantErr("--git")
	}
	o.run("approve", "--github", "acme/access#12").wantCode(exitUsage)
	o.run("approve", "3f2b8c1e", "--github", "acme/access#12").wantCode(exitUsage).wantErr("--plan")
}
