package config

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

func TestActorFromCI(t *testing.T) {
	for _, tt := range []struct {
		name, actor, change string
		env                 map[string]string
	}{
		{name: "nothing"},
		{
			name: "GitHub Actions", actor: "alice",
			change: "commit 83a20ec, run https://github.example.com/acme/access/actions/runs/42",
			env: map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_TRIGGERING_ACTOR": "alice", "GITHUB_ACTOR": "bob",
				"GITHUB_SHA":        "83a20ec",
				"GITHUB_SERVER_URL": "https://github.example.com", "GITHUB_REPOSITORY": "acme/access",
				"GITHUB_RUN_ID": "42"},
		},
		{
			name: "GitLab", actor: "alice", change: "commit 83a20ec, run https://gitlab.example.com/-/jobs/7",
			env: map[string]string{"GITLAB_CI": "true", "GITLAB_USER_LOGIN": "alice", "CI_COMMIT_SHA": "83a20ec",
				"CI_JOB_URL": "https://gitlab.example.com/-/jobs/7", "CI_PIPELINE_URL": "no"},
		},
		{
			name: "Buildkite, unblocked", actor: "carol@example.com",
			change: "commit 83a20ec, run https://buildkite.com/acme/access/builds/7",
			env: map[string]string{"BUILDKITE": "true", "BUILDKITE_UNBLOCKER_EMAIL": "carol@example.com",
				"BUILDKITE_BUILD_CREATOR_EMAIL": "alice@example.com",
				"BUILDKITE_COMMIT":              "83a20ec",
				"BUILDKITE_BUILD_URL":           "https://buildkite.com/acme/access/builds/7"},
		},
		{
			name: "Buildkite", actor: "alice@example.com",
			env: map[string]string{"BUILDKITE": "true", "BUILDKITE_BUILD_CREATOR_EMAIL": "alice@example.com",
				"BUILDKITE_BUILD_CREATOR": "Alice"},
		},
		{
			name: "CircleCI", actor: "alice", change: "commit 83a20ec, run https://circleci.com/gh/acme/access/7",
			env: map[string]string{"CIRCLECI": "true", "CIRCLE_USERNAME": "alice", "CIRCLE_SHA1": "83a20ec",
				"CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/access/7"},
		},
		{
			name: "Jenkins", actor: "alice", change: "commit 83a20ec, run https://ci.example.com/job/access/7/",
			env: map[string]string{"JENKINS_URL": "https://ci.example.com/", "BUILD_USER_ID": "alice",
				"CHANGE_AUTHOR": "bob", "GIT_COMMIT": "83a20ec", "BUILD_URL": "https://ci.example.com/job/access/7/"},
		},
		{
			name: "Jenkins that was not told its URL", actor: "alice",
			change: "commit 83a20ec, run jenkins-acme-access-7",
			env: map[string]string{"BUILD_TAG": "jenkins-acme-access-7", "JOB_NAME": "acme/access", "BUILD_NUMBER": "7",
				"BUILD_USER_ID": "alice", "GIT_COMMIT": "83a20ec"},
		},
		{
			name: "a tag of another build",
			env: map[string]string{"BUILD_TAG": "v1.2.3", "JOB_NAME": "access", "BUILD_USER_ID": "alice",
				"GIT_COMMIT": "83a20ec"},
		},
		{
			name: "a Jenkins image that was built elsewhere",
			env:  map[string]string{"BUILD_TAG": "jenkins-lts", "BUILD_USER_ID": "alice", "GIT_COMMIT": "83a20ec"},
		},
		{
			name: "Atlantis on a Jenkins agent", actor: "alice",
			change: "commit 83a20ec, run https://github.com/acme/access/pull/2",
			env: map[string]string{"ATLANTIS_TERRAFORM_VERSION": "1.14.0", "USER_NAME": "alice", "PULL_AUTHOR": "bob",
				"HEAD_COMMIT": "83a20ec",
				"PULL_URL":    "https://github.com/acme/access/pull/2", "JENKINS_URL": "https://ci.example.com/",
				"BUILD_TAG": "jenkins-atlantis-1", "JOB_NAME": "atlantis", "GIT_COMMIT": "other"},
		},
		{
			name: "HCP Terraform", actor: "acme/access", change: "commit 83a20ec, run run-CKuwsxMGgMd6W7Ui",
			env: map[string]string{"TFC_RUN_ID": "run-CKuwsxMGgMd6W7Ui", "TFC_WORKSPACE_SLUG": "acme/access",
				"TFC_CONFIGURATION_VERSION_GIT_COMMIT_SHA": "83a20ec"},
		},
		{
			name: "a variable of no CI run does not count",
			env:  map[string]string{"GITHUB_ACTOR": "alice", "GIT_COMMIT": "83a20ec", "USER_NAME": "bob"},
		},
		{
			name: "what is said outright counts", actor: "dave", change: "CHG-7",
			env: map[string]string{"GITLAB_CI": "true", "GITLAB_USER_LOGIN": "alice", "CI_COMMIT_SHA": "83a20ec",
				EnvActor: "dave", EnvChange: "CHG-7"},
		},
		{
			name: "control characters are dropped", actor: "eve[31m", change: "ab",
			env: map[string]string{EnvActor: "e\nve\x1b[31m\u202e", EnvChange: "a\x00\r\nb"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := fromEnvironment(func(name string) string { return tt.env[name] })
			if got.Name != tt.actor || got.Change != tt.change {
				t.Errorf("got %q, %q; want %q, %q", got.Name, got.Change, tt.actor, tt.change)
			}
		})
	}
	long := fromEnvironment(func(name string) string {
		if name == EnvActor {
			return strings.Repeat("é", 1000)
		}
		return ""
	})
	if n := len([]rune(long.Name)); n != 300 {
		t.Errorf("an actor of 1000 characters is kept with %d, want 300", n)
	}
}

// clearCI takes the variables of the machine that runs the test out of the way.
func clearCI(t *testing.T) {
	t.Helper()
	for _, ci := range ciSystems {
		t.Setenv(ci.mark, "")
	}
	for _, name := range []string{EnvActor, EnvChange, EnvLedger, EnvFile, "CI", "BUILD_TAG"} {
		t.Setenv(name, "")
	}
}

func TestActorIsTheUserOfTheMachine(t *testing.T) {
	clearCI(t)
	if got := actor(jit.FromCLI); got.Name == "" || got.Change != "" || got.Source != jit.FromCLI {
		t.Errorf("actor() = %+v", got)
	}
	t.Setenv(EnvActor, "alice")
	if got := actor(jit.FromTerraform); got.Name != "alice" || got.Source != jit.FromTerraform {
		t.Errorf("actor() = %+v", got)
	}
}

func TestWarnsOfALocalLedgerInCI(t *testing.T) {
	clearCI(t)
	for _, tt := range []struct {
		ci, ledger string
		warns      bool
	}{
		{"true", "", true},
		{"1", "sqlite://x.db", true},
		{"", "", false},
		{"false", "", false},
		{"0", "", false},
		{"true", "postgres://u:hunter2@db/jit", false},
	} {
		t.Setenv("CI", tt.ci)
		got := Warnings(Settings{Ledger: tt.ledger})
		if (len(got) == 1) != tt.warns {
			t.Errorf("CI=%q, ledger %q: %v", tt.ci, tt.ledger, got)
		}
		if tt.warns && (got[0].Attribute != "ledger" || !strings.Contains(got[0].Detail, "sqlite:")) {
			t.Errorf("CI=%q, ledger %q: %+v", tt.ci, tt.ledger, got[0])
		}
	}
}
