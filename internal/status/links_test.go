package status

import "testing"

// Only an address of a CI run in a form that this program writes is a link.
func TestWhichChangesAreLinks(t *testing.T) {
	links := map[string]string{}
	for _, run := range []string{
		"https://github.com/acme/access/actions/runs/42",
		"https://git.example.com:8443/a/b/c/-/jobs/1",
		"https://gitlab.com/a/b/-/pipelines/7",
		"https://github.com/acme/access/pull/7",
		"https://buildkite.com/acme/access/builds/9",
		"https://circleci.com/gh/acme/access/9",
		"https://ci.example.com/job/access%20all/job/b/12/",
	} {
		links["run "+run], links["commit abc, run "+run], links[run] = run, run, ""
	}
	for _, change := range []string{
		"commit abc, run http://github.com/acme/access/actions/runs/42",
		"commit abc, run https://bob:pw@github.com/acme/access/actions/runs/42",
		"commit abc, run https://github.com/acme/access",
		"commit abc, run https://github.com/../x/actions/runs/42",
		"commit abc, run https://github.com/a/b/actions/runs/42?x=1",
		"commit abc, run https://github.com/a/b/actions/runs/42#javascript:",
		"commit abc, run https://github.com/a/b/actions/runs/42 x",
		"commit abc, run https://gıthub.com/a/b/actions/runs/42",
		"commit abc, run javascript:alert(1)//https://x/a/b/pull/1",
		"run-a1b2",
		"",
	} {
		links[change] = ""
	}
	for change, want := range links {
		got, text := "", ""
		for _, p := range changeParts(change) {
			got += p.Link
			text += p.Text
		}
		if got != want || text != change {
			t.Errorf("%q links to %q, want %q; its text is %q", change, got, want, text)
		}
	}
}

func TestWhichPullRequestsAreLinks(t *testing.T) {
	for _, c := range []struct{ forge, host, repository, number, want string }{
		{"github", "github.com", "acme/access", "7", "https://github.com/acme/access/pull/7"},
		{"gitlab", "git.example.com", "a/b/c", "7", "https://git.example.com/a/b/c/-/merge_requests/7"},
		{"gitea", "github.com", "acme/access", "7", ""},
		{"github", "bob:pw@github.com", "acme/access", "7", ""},
		{"github", "github.com/x", "acme/access", "7", ""},
		{"github", "github.com", "../..", "7", ""},
		{"github", "github.com", "acme/access?x", "7", ""},
		{"github", "github.com", "acme/access", "7/../8", ""},
	} {
		d := map[string]string{"forge": c.forge, "host": c.host, "repository": c.repository, "number": c.number}
		if got := pullRequest(d); got.Link != c.want || got.Text == "" {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
