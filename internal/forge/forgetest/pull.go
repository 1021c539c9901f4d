package forgetest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Token is the token that the sites accept.
const Token = "ghp_onlyForThisTest" // #nosec G101 -- it opens nothing

// The commits of the pull request: its head, the one before, and the merge.
const (
	Head   = "1111111111111111111111111111111111111111"
	Older  = "2222222222222222222222222222222222222222"
	Merged = "3333333333333333333333333333333333333333"
)

// Pushed is when carol pushed the head commit.
var Pushed = time.Date(2020, 6, 1, 12, 0, 0, 0, time.UTC)

// gitHub requires what docs.github.com/rest/using-the-rest-api/getting-started-with-the-rest-api requires: a user agent
// (403), and a token that may see the repository (401, 404).
func gitHub(h http.Header) (int, string) {
	switch {
	case h.Get("User-Agent") == "" || strings.HasPrefix(h.Get("User-Agent"), "Go-http-client"):
		return http.StatusForbidden, "Request forbidden by administrative rules"
	case h.Get("Authorization") == "":
		return http.StatusNotFound, "Not Found"
	case h.Get("Authorization") != "Bearer "+Token:
		return http.StatusUnauthorized, "Bad credentials"
	case h.Get("Accept") != "application/vnd.github+json" || h.Get("X-Github-Api-Version") != "2022-11-28":
		return http.StatusUnsupportedMediaType, "Unsupported Media Type"
	}
	return 0, ""
}

// gitLab requires a token, as docs.gitlab.com/api/rest/authentication says; without one a private project is not found.
func gitLab(h http.Header) (int, string) {
	switch h.Get("Private-Token") {
	case Token:
		return 0, ""
	case "":
		return http.StatusNotFound, "404 Project Not Found"
	}
	return http.StatusUnauthorized, "401 Unauthorized"
}

// Person is an account of GitHub.
func Person(login string) Object { return Object{"login": login, "type": "User"} }

// Review is a review on GitHub (docs.github.com/rest/pulls/reviews).
func Review(id int, by Object, state, commit string, at time.Time) any {
	return Object{"id": id, "user": by, "state": state, "commit_id": commit, "submitted_at": at.Format(time.RFC3339)}
}

// GitHubPull is the path of the pull request on GitHub.
const GitHubPull = "/repos/acme/access/pulls/12"

// NewGitHub serves the pull request acme/access#12 of alice, last pushed by carol, with these reviews.
func NewGitHub(t testing.TB, reviews ...any) *Site {
	t.Helper()
	return newSite(t, gitHub, map[string]any{
		GitHubPull: Object{
			"state": "open", "merged_at": nil, "merge_commit_sha": "4444444444444444444444444444444444444444",
			"user": Person("alice"),
			"head": Object{"sha": Head, "ref": "jit/x", "repo": Object{"full_name": "acme/access"}},
		},
		GitHubPull + "/reviews": reviews,
		"/repos/acme/access/activity": []any{
			Object{"after": Merged, "actor": Person("later"), "activity_type": "push"},
			Object{"after": Older, "actor": Person("bob"), "activity_type": "push"},
			Object{"after": Head, "actor": Person("carol"), "activity_type": "force_push"},
		},
	})
}

// ApprovedBy is an element of approved_by on GitLab (docs.gitlab.com/api/merge_request_approvals); a zero time is none.
func ApprovedBy(id int, username string, at time.Time) any {
	a := Object{"user": Object{"id": id, "username": username}}
	if !at.IsZero() {
		a["approved_at"] = at.Format("2006-01-02T15:04:05.000Z07:00")
	}
	return a
}

// GitLabMerge is the path of the merge request on GitLab.
const GitLabMerge = "/projects/acme%2Fdb%2Faccess/merge_requests/12"

// NewGitLab serves the merge request acme/db/access!12 of alice, last pushed by carol. Users 1 to 7 are people, 8 is a
// bot, and of 9 it does not say. The project lets authors approve: "prevent approval by author" is off.
func NewGitLab(t testing.TB, approvals ...any) *Site {
	t.Helper()
	site := newSite(t, gitLab, map[string]any{
		GitLabMerge: Object{
			"state": "opened", "merged_at": nil, "merge_commit_sha": nil, "squash_commit_sha": nil,
			"sha": Head, "author": Object{"username": "alice"}, "source_project_id": 5, "source_branch": "jit/x",
		},
		GitLabMerge + "/versions": []any{
			Object{"head_commit_sha": Head, "created_at": Pushed.Format(time.RFC3339)},
			Object{"head_commit_sha": Older, "created_at": Pushed.Add(-time.Hour).Format(time.RFC3339)},
		},
		GitLabMerge + "/approvals": Object{"approved_by": approvals},
		"/projects/5/events": []any{
			Object{"author_username": "dave", "push_data": Object{"commit_to": Head, "ref": "other"}},
			Object{"author_username": "bob", "push_data": Object{"commit_to": Older, "ref": "jit/x"}},
			Object{"author_username": "carol", "push_data": Object{"commit_to": Head, "ref": "jit/x"}},
		},
		"/users/8": Object{"id": 8, "bot": true}, "/users/9": Object{"id": 9},
	})
	for id := 1; id < 8; id++ {
		site.Objects["/users/"+string(rune('0'+id))] = Object{"id": id, "bot": false}
	}
	return site
}

// Settle closes the pull request of a site; merged says when, and with a commit of its own, unless it is zero.
func (s *Site) Settle(merged time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range []string{GitHubPull, GitLabMerge} {
		pull, ok := s.Objects[path].(Object)
		if !ok {
			continue
		}
		pull["state"] = "closed"
		if merged.IsZero() {
			continue
		}
		pull["merged_at"], pull["merge_commit_sha"] = merged.Format(time.RFC3339), Merged
		if path == GitLabMerge {
			pull["state"] = "merged"
		}
	}
}
