package forge_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/forge"
)

// gitLab requires a token, as docs.gitlab.com/api/rest/authentication says; without one a private project is not found.
func gitLab(h http.Header) (int, string) {
	switch h.Get("Private-Token") {
	case token:
		return 0, ""
	case "":
		return http.StatusNotFound, "404 Project Not Found"
	}
	return http.StatusUnauthorized, "401 Unauthorized"
}

// approvedBy is an element of approved_by.
func approvedBy(id int, username, at string) any {
	a := object{"user": object{"id": id, "username": username}}
	if at != "" {
		a["approved_at"] = at
	}
	return a
}

// merge is a merge request of alice, last pushed by carol at noon. User 7 is bob, 8 a bot.
func merge(approvals ...any) map[string]any {
	const path = "/projects/acme%2Fdb%2Faccess/merge_requests/12"
	return map[string]any{
		path: object{
			"sha":               head,
			"author":            object{"username": "alice"},
			"source_project_id": 5,
			"source_branch":     "jit/x",
		},
		path + "/versions": []any{
			object{"head_commit_sha": head, "created_at": "2026-11-23T12:00:00.000Z"},
			object{"head_commit_sha": older, "created_at": "2026-11-23T11:00:00.000Z"},
		},
		path + "/approvals": object{"approved_by": approvals},
		"/projects/5/events": []any{
			object{"author_username": "dave", "push_data": object{"commit_to": head, "ref": "other"}},
			object{"author_username": "bob", "push_data": object{"commit_to": older, "ref": "jit/x"}},
			object{"author_username": "carol", "push_data": object{"commit_to": head, "ref": "jit/x"}},
		},
		"/users/7": object{
			"id":  7,
			"bot": false,
		}, "/users/8": object{"id": 8, "bot": true}, "/users/9": object{"id": 9},
	}
}

func TestGitLabReviews(t *testing.T) {
	const before, after = "2026-11-23T11:30:00.000Z", "2026-11-23T12:30:00.000Z"
	const path = "/projects/acme%2Fdb%2Faccess/merge_requests/12"
	for name, c := range map[string]struct {
		approvals []any
		change    func(map[string]any)
		want      []string
		says      string
	}{
		"none":                          {want: []string{}},
		"approved":                      {approvals: []any{approvedBy(7, "bob", after)}, want: []string{"bob"}},
		"before the newest commit":      {approvals: []any{approvedBy(7, "bob", before)}, want: []string{}, says: "older than the newest commit"},
		"by the author":                 {approvals: []any{approvedBy(7, "alice", after)}, want: []string{}, says: "by the author"},
		"by the last pusher":            {approvals: []any{approvedBy(7, "carol", after)}, want: []string{}, says: "pushed last"},
		"by a bot":                      {approvals: []any{approvedBy(8, "project_5_bot", after)}, want: []string{}, says: "a bot"},
		"by an account of no kind":      {approvals: []any{approvedBy(9, "eve", after)}, want: []string{}, says: "a bot"},
		"without a time":                {approvals: []any{approvedBy(7, "bob", "")}, says: "newer version"},
		"a version that is not there":   {change: func(o map[string]any) { o[path+"/versions"] = []any{object{"head_commit_sha": older}} }, says: "not compared"},
		"a push that is not told yet":   {change: func(o map[string]any) { o["/projects/5/events"] = []any{} }, says: "does not say who pushed"},
		"a source project that is gone": {change: func(o map[string]any) { o[path].(object)["source_project_id"] = nil }, says: "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := merge(c.approvals...)
			if c.change != nil {
				c.change(objects)
			}
			s := newSite(t, gitLab, objects)
			g, err := forge.NewGitLab(s.URL, token)
			if err != nil {
				t.Fatal(err)
			}
			got, err := g.Reviews(t.Context(), forge.Ref{Repository: "acme/db/access", Number: 12})
			if c.want == nil {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %+v, %v; want %q", got, err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(logins(got), c.want) || !strings.Contains(strings.Join(got.Ignored, "\n"), c.says) {
				t.Errorf("approved by %q, ignored %q; want %q, %q", logins(got), got.Ignored, c.want, c.says)
			}
		})
	}
}
