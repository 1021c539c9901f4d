package config

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
)

// PullRequest is what a CI run plans, as its environment says. An empty field is unknown.
type PullRequest struct {
	// Forge is where the repository is: [approval.GitHub] or [approval.GitLab].
	Forge, Repository string
	Number            int
	// Commit is the one that is planned: the head of the pull request, or what its merge made of it.
	Commit string
}

// OfForge reports whether the repository may be on that forge.
func (p PullRequest) OfForge(forge string) bool { return p.Forge == "" || p.Forge == forge }

// Planned returns what this CI run plans. Outside of CI, and in runs that no change started, it is unknown.
func Planned() (PullRequest, error) { return planned(os.Getenv) }

func planned(env func(string) string) (PullRequest, error) {
	i := slices.IndexFunc(ciSystems, func(ci ciSystem) bool { return ci.starts(env) })
	if i < 0 || ciSystems[i].plans == nil {
		return PullRequest{}, nil
	}
	return ciSystems[i].plans(env)
}

// ofAtlantis: https://www.runatlantis.io/docs/custom-workflows#native-environment-variables
func ofAtlantis(env func(string) string) (PullRequest, error) {
	p := PullRequest{Commit: env("HEAD_COMMIT")}
	if owner, name := env("BASE_REPO_OWNER"), env("BASE_REPO_NAME"); owner != "" && name != "" {
		p.Repository = owner + "/" + name
	}
	return p.numbered(env("PULL_NUM"))
}

// ofGitHub reads the event that started the run. GITHUB_SHA is the planned commit of a push alone: in a pull request it
// is a merge on trial, and elsewhere the newest commit of some branch.
// https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
func ofGitHub(env func(string) string) (p PullRequest, err error) {
	p.Forge = approval.GitHub
	var event struct {
		Pull *struct {
			Number int
			Head   struct{ SHA string }
		} `json:"pull_request"`
		Issue *struct {
			Number int
			Pull   *struct{} `json:"pull_request"`
		}
	}
	if path := env("GITHUB_EVENT_PATH"); path != "" {
		text, err := os.ReadFile(path) // #nosec G304,G703 -- the CI system names it
		if err == nil {
			err = json.Unmarshal(text, &event)
		}
		if err != nil {
			return p, fmt.Errorf("read the event of the CI run, GITHUB_EVENT_PATH: %w", err)
		}
	}
	switch {
	case event.Pull != nil:
		p.Number, p.Commit = event.Pull.Number, event.Pull.Head.SHA
	case event.Issue != nil && event.Issue.Pull != nil: // a comment on the pull request
		p.Number = event.Issue.Number
	case env("GITHUB_EVENT_NAME") == "push":
		p.Commit = env("GITHUB_SHA")
	default:
		return p, nil
	}
	p.Repository = env("GITHUB_REPOSITORY")
	return p, nil
}

// ofGitLab: every job plans CI_COMMIT_SHA, which pipelines for merged results replace by a merge on trial.
// https://docs.gitlab.com/ci/variables/predefined_variables
func ofGitLab(env func(string) string) (PullRequest, error) {
	p := PullRequest{
		Forge:      approval.GitLab,
		Repository: first(env, []string{"CI_MERGE_REQUEST_PROJECT_PATH", "CI_PROJECT_PATH"}),
		Commit:     first(env, []string{"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"}),
	}
	return p.numbered(env("CI_MERGE_REQUEST_IID"))
}

func (p PullRequest) numbered(text string) (_ PullRequest, err error) {
	if text = strings.TrimSpace(text); text != "" {
		if p.Number, err = strconv.Atoi(text); err != nil {
			return p, fmt.Errorf("read the number of the pull request that this CI run plans: %w", err)
		}
	}
	return p, nil
}
