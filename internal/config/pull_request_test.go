package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
)

func TestPlanned(t *testing.T) {
	event := func(text string) string {
		path := filepath.Join(t.TempDir(), "event.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	gitHub := func(name, payload string) map[string]string {
		return map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/access", "GITHUB_SHA": "333",
			"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": event(payload)}
	}
	of := func(forge, repository string, number int, commit string) PullRequest {
		return PullRequest{forge, repository, number, commit}
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		want PullRequest
	}{
		{"no CI", map[string]string{"CI_MERGE_REQUEST_IID": "12"}, PullRequest{}},
		{"a system that does not tell", map[string]string{"CIRCLECI": "true", "CIRCLE_SHA1": "111"}, PullRequest{}},
		{"a pull request", gitHub("pull_request", `{"pull_request":{"number":12,"head":{"sha":"111"}}}`),
			of(approval.GitHub, "acme/access", 12, "111")},
		{"a comment", gitHub("issue_comment", `{"issue":{"number":12,"pull_request":{"url":"x"}}}`),
			of(approval.GitHub, "acme/access", 12, "")},
		{"a comment on an issue", gitHub("issue_comment", `{"issue":{"number":12}}`), of(approval.GitHub, "", 0, "")},
		{"a push", gitHub("push", `{"after":"333"}`), of(approval.GitHub, "acme/access", 0, "333")},
		{"a schedule", gitHub("schedule", `{}`), of(approval.GitHub, "", 0, "")},
		{"a merge request", map[string]string{"GITLAB_CI": "true", "CI_PROJECT_PATH": "eve/access", "CI_COMMIT_SHA": "111",
			"CI_MERGE_REQUEST_PROJECT_PATH": "acme/db/access", "CI_MERGE_REQUEST_IID": "12"},
			of(approval.GitLab, "acme/db/access", 12, "111")},
		{"merged results", map[string]string{"GITLAB_CI": "true", "CI_PROJECT_PATH": "acme/db/access",
			"CI_COMMIT_SHA": "444", "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "111", "CI_MERGE_REQUEST_IID": "12"},
			of(approval.GitLab, "acme/db/access", 12, "111")},
		{"a branch of GitLab", map[string]string{"GITLAB_CI": "true", "CI_PROJECT_PATH": "acme/db/access",
			"CI_COMMIT_SHA": "333"}, of(approval.GitLab, "acme/db/access", 0, "333")},
		{"Atlantis", map[string]string{"ATLANTIS_TERRAFORM_VERSION": "1.14.0", "BASE_REPO_OWNER": "acme",
			"BASE_REPO_NAME": "access", "PULL_NUM": "12", "HEAD_COMMIT": "111"}, of("", "acme/access", 12, "111")},
		{"Atlantis, a step without them", map[string]string{"ATLANTIS_TERRAFORM_VERSION": "1.14.0"}, PullRequest{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := planned(func(name string) string { return tt.env[name] })
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	for name, env := range map[string]map[string]string{
		"an event that is gone": {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": filepath.Join(t.TempDir(), "none")},
		"an event of no form":   {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": event("[]")},
		"a number in words":     {"GITLAB_CI": "true", "CI_MERGE_REQUEST_IID": "twelve"},
	} {
		if got, err := planned(func(name string) string { return env[name] }); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
