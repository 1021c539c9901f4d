package forge_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/forge"
	"github.com/jitaccess/terraform-provider-jit/internal/forge/forgetest"
)

func readGitLab(t *testing.T, s *forgetest.Site) (*forge.Reviews, error) {
	t.Helper()
	g, err := forge.NewGitLab(s.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	return g.Reviews(t.Context(), forge.Ref{Repository: "acme/db/access", Number: 12})
}

func TestGitLabReviews(t *testing.T) {
	before, after := forgetest.Pushed.Add(-time.Minute), forgetest.Pushed.Add(time.Minute)
	const path = forgetest.GitLabMerge
	for name, c := range map[string]struct {
		approvals []any
		change    func(map[string]any)
		want      []string
		says      string
	}{
		"none":                          {want: []string{}},
		"approved":                      {approvals: []any{forgetest.ApprovedBy(7, "bob", after)}, want: []string{"bob"}},
		"before the newest commit":      {approvals: []any{forgetest.ApprovedBy(7, "bob", before)}, want: []string{}, says: "older than the newest commit"},
		"by the author":                 {approvals: []any{forgetest.ApprovedBy(7, "alice", after)}, want: []string{}, says: "by the author"},
		"by the last pusher":            {approvals: []any{forgetest.ApprovedBy(7, "carol", after)}, want: []string{}, says: "pushed last"},
		"by a bot":                      {approvals: []any{forgetest.ApprovedBy(8, "project_5_bot", after)}, want: []string{}, says: "a bot"},
		"by an account of no kind":      {approvals: []any{forgetest.ApprovedBy(9, "eve", after)}, want: []string{}, says: "a bot"},
		"without a time":                {approvals: []any{forgetest.ApprovedBy(7, "bob", time.Time{})}, says: "newer version"},
		"a version that is not there":   {change: func(o map[string]any) { o[path+"/versions"] = []any{forgetest.Object{"head_commit_sha": older}} }, says: "not compared"},
		"a push that is not told yet":   {change: func(o map[string]any) { o["/projects/5/events"] = []any{} }, says: "does not say who pushed"},
		"a source project that is gone": {change: func(o map[string]any) { o[path].(forgetest.Object)["source_project_id"] = nil }, says: "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			s := forgetest.NewGitLab(t, c.approvals...)
			if c.change != nil {
				c.change(s.Objects)
			}
			got, err := readGitLab(t, s)
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
