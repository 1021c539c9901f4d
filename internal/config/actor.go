package config

import (
	"cmp"
	"os"
	"os/user"
	"slices"
	"strings"
	"unicode"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// EnvActor and EnvChange are the environment variables that name the actor and the change, in place of the CI system's.
const (
	EnvActor  = "JIT_ACTOR"
	EnvChange = "JIT_CHANGE"
)

// ciSystem says how a CI system names a run in its environment: who started it, and from which commit. Any of name,
// commit and run may be empty.
type ciSystem struct {
	// mark is a variable that only runs of this system have; also, if set, recognises runs without it.
	mark string
	also func(env func(string) string) bool
	// name and commit are variables; the first one that is set counts.
	name, commit []string
	run          func(env func(string) string) string
	// plans says which pull request and commit the run plans; nil if the system does not tell.
	plans func(env func(string) string) (PullRequest, error)
}

// ciSystems are the known systems. Systems that run inside jobs of others come first.
var ciSystems = []ciSystem{
	{
		// HCP Terraform and Terraform Enterprise do not name who started the run, so the workspace stands for it.
		// https://developer.hashicorp.com/terraform/cloud-docs/run/run-environment
		mark:   "TFC_RUN_ID",
		name:   []string{"TFC_WORKSPACE_SLUG"},
		commit: []string{"TFC_CONFIGURATION_VERSION_GIT_COMMIT_SHA"},
		run:    variable("TFC_RUN_ID"),
	},
	{
		// Atlantis sets USER_NAME and the others for run steps. Its built-in plan and apply steps get only the mark:
		// there an env step must set JIT_ACTOR and JIT_CHANGE from them.
		// https://www.runatlantis.io/docs/custom-workflows#native-environment-variables
		mark:   "ATLANTIS_TERRAFORM_VERSION",
		name:   []string{"USER_NAME", "PULL_AUTHOR"},
		commit: []string{"HEAD_COMMIT"},
		run:    variable("PULL_URL"),
		plans:  ofAtlantis,
	},
	{
		// GITHUB_TRIGGERING_ACTOR is who started this attempt, GITHUB_ACTOR who started the first.
		// https://docs.github.com/en/actions/reference/variables-reference
		mark:   "GITHUB_ACTIONS",
		name:   []string{"GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"},
		commit: []string{"GITHUB_SHA"},
		run: func(env func(string) string) string {
			if env("GITHUB_REPOSITORY") == "" || env("GITHUB_RUN_ID") == "" {
				return ""
			}
			server := cmp.Or(env("GITHUB_SERVER_URL"), "https://github.com")
			return server + "/" + env("GITHUB_REPOSITORY") + "/actions/runs/" + env("GITHUB_RUN_ID")
		},
		plans: ofGitHub,
	},
	{
		// GITLAB_USER_LOGIN is who started the job, for a manual job who started it by hand.
		// https://docs.gitlab.com/ci/variables/predefined_variables
		mark:   "GITLAB_CI",
		name:   []string{"GITLAB_USER_LOGIN"},
		commit: []string{"CI_COMMIT_SHA"},
		run:    variable("CI_JOB_URL", "CI_PIPELINE_URL"),
		plans:  ofGitLab,
	},
	{
		// BUILDKITE_UNBLOCKER_EMAIL is who released a block step before this one.
		// https://buildkite.com/docs/pipelines/environment-variables
		mark: "BUILDKITE",
		name: []string{
			"BUILDKITE_UNBLOCKER_EMAIL", "BUILDKITE_UNBLOCKER", "BUILDKITE_BUILD_CREATOR_EMAIL",
			"BUILDKITE_BUILD_CREATOR",
		},
		commit: []string{"BUILDKITE_COMMIT"},
		run:    variable("BUILDKITE_BUILD_URL"),
	},
	{
		// https://circleci.com/docs/variables
		mark:   "CIRCLECI",
		name:   []string{"CIRCLE_USERNAME"},
		commit: []string{"CIRCLE_SHA1"},
		run:    variable("CIRCLE_BUILD_URL"),
	},
	{
		// BUILD_USER_ID comes from the plugin Build User Vars, CHANGE_AUTHOR from multibranch projects. JENKINS_URL and
		// BUILD_URL need the URL in the system configuration. BUILD_TAG, which other programs set too, always is
		// jenkins-${JOB_NAME}-${BUILD_NUMBER}.
		// https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
		mark: "JENKINS_URL",
		also: func(env func(string) string) bool {
			return strings.HasPrefix(env("BUILD_TAG"), "jenkins-") && env("JOB_NAME") != ""
		},
		name:   []string{"BUILD_USER_ID", "CHANGE_AUTHOR"},
		commit: []string{"GIT_COMMIT"},
		run:    variable("BUILD_URL", "BUILD_TAG"),
	},
}

// variable returns the first of the named variables that is set.
func variable(names ...string) func(func(string) string) string {
	return func(env func(string) string) string { return first(env, names) }
}

func first(env func(string) string, names []string) string {
	for _, name := range names {
		if v := env(name); v != "" {
			return v
		}
	}
	return ""
}

// actor returns who acts: JIT_ACTOR and JIT_CHANGE, or else the user of the CI system, or else of the operating system.
func actor(source jit.Source) jit.Actor {
	a := fromEnvironment(os.Getenv)
	a.Source = source
	if a.Name == "" {
		a.Name = osUser()
	}
	return a
}

// starts reports whether the system started this run.
func (ci ciSystem) starts(env func(string) string) bool {
	return env(ci.mark) != "" || ci.also != nil && ci.also(env)
}

// change names the commit and the run.
func (ci ciSystem) change(env func(string) string) string {
	var parts []string
	if commit := first(env, ci.commit); commit != "" {
		parts = append(parts, "commit "+commit)
	}
	if run := ci.run(env); run != "" {
		parts = append(parts, "run "+run)
	}
	return strings.Join(parts, ", ")
}

func fromEnvironment(env func(string) string) (a jit.Actor) {
	i := slices.IndexFunc(ciSystems, func(ci ciSystem) bool { return ci.starts(env) })
	if i >= 0 {
		a.Name, a.Change = first(env, ciSystems[i].name), ciSystems[i].change(env)
	}
	a.Name = oneLine(cmp.Or(env(EnvActor), a.Name))
	a.Change = oneLine(cmp.Or(env(EnvChange), a.Change))
	return a
}

func osUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return oneLine(u.Username)
	}
	return "unknown"
}

// oneLine makes the value of an environment variable safe for the record: no control characters, at most 300
// characters.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 300 {
		return string(runes[:300])
	}
	return s
}
