package internal_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// gitLabJob is a job of a .gitlab-ci.yml.
type gitLabJob struct {
	Stage     string            `json:"stage"`
	Rules     []gitLabRule      `json:"rules"`
	Variables map[string]string `json:"variables"`
	Script    []string          `json:"script"`
	Allow     struct {
		Codes []int `json:"exit_codes"`
	} `json:"allow_failure"`
	Artifacts *struct {
		When   string   `json:"when"`
		Access string   `json:"access"`
		Paths  []string `json:"paths"`
	} `json:"artifacts"`
	Group         string `json:"resource_group"`
	Environment   string `json:"environment"`
	Interruptible bool   `json:"interruptible"`
}

type gitLabRule struct {
	If   string `json:"if"`
	When string `json:"when"`
}

// gitLab runs the pipeline of the example as a runner does: the script of a job in one shell, with the variables of
// the project.
type gitLab struct {
	*ciWorld
	stages   []string
	workflow []gitLabRule
	jobs     map[string]gitLabJob
	// variables are those of the project; protected ones are for main alone.
	variables, protected map[string]string
	number               int
}

func newGitLab(t *testing.T, cli testenv.CLI, binary string) *gitLab {
	t.Helper()
	g := &gitLab{ciWorld: newCIWorld(t, cli, binary), jobs: map[string]gitLabJob{}}
	var sections map[string]any
	if err := yaml.Unmarshal([]byte(read(t, pipelines+"gitlab/.gitlab-ci.yml")), &sections); err != nil {
		t.Fatal(err)
	}
	for name, section := range sections {
		text, err := yaml.Marshal(section)
		if err != nil {
			t.Fatal(err)
		}
		var job gitLabJob
		switch name {
		case "default":
			continue
		case "stages":
			err = yaml.UnmarshalStrict(text, &g.stages)
		case "workflow":
			var w struct {
				Rules []gitLabRule `json:"rules"`
			}
			err = yaml.UnmarshalStrict(text, &w)
			g.workflow = w.Rules
		default:
			err = yaml.UnmarshalStrict(text, &job)
			g.jobs[name] = job
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	g.forge.login = "project_7_bot"
	ledger := "sqlite://" + filepath.ToSlash(filepath.Join(t.TempDir(), "ledger.db"))
	g.variables = map[string]string{"JIT_LEDGER_PLAN": ledger,
		"JIT_COMMENT_TOKEN": g.forge.token(map[string]string{"notes": "write"})}
	g.protected = map[string]string{"JIT_LEDGER_APPLY": ledger,
		"GITLAB_TOKEN":    g.forge.token(map[string]string{"read_api": "read"}),
		"JIT_PRUNE_TOKEN": g.forge.token(map[string]string{"api": "write"})}
	if err := os.Symlink(g.bare(), g.bare()+".git"); err != nil {
		t.Fatal(err)
	}
	return g
}

// chosen returns the first rule whose condition holds.
func chosen(rules []gitLabRule, variables expressions) *gitLabRule {
	i := slices.IndexFunc(rules, func(r gitLabRule) bool { return variables.evaluate(r.If) != "" })
	if i < 0 {
		return nil
	}
	return &rules[i]
}

// run runs a pipeline. extra are the predefined variables of its kind.
func (g *gitLab) run(source, commit string, extra map[string]string) map[string]outcome {
	g.t.Helper()
	g.number += 100
	variables := expressions{"CI_PIPELINE_SOURCE": source, "CI_COMMIT_SHA": commit, "CI_DEFAULT_BRANCH": "main",
		"CI_PROJECT_ID": "7", "CI_PROJECT_PATH": "acme/access", "CI_PROJECT_URL": "file://" + g.bare(), "GITLAB_CI": "true",
		"CI_API_V4_URL": g.forge.URL, "CI_PIPELINE_URL": g.forge.URL + "/pipeline", "CI_JOB_URL": g.forge.URL + "/job",
		"GITLAB_USER_LOGIN": "alice-gl"}
	secrets := []map[string]string{g.variables, extra}
	if source != "merge_request_event" {
		variables["CI_COMMIT_BRANCH"] = "main"
		secrets = append(secrets, g.protected)
	}
	for _, more := range secrets {
		for name, value := range more {
			variables[name] = value
		}
	}
	done := map[string]outcome{}
	if chosen(g.workflow, variables) == nil {
		return done
	}
	artifacts, failed := filepath.Join(g.dir, fmt.Sprint(g.number)), false
	g.forge.mu.Lock()
	g.forge.artifacts[g.number] = artifacts
	g.forge.mu.Unlock()
	for _, stage := range g.stages {
		for _, name := range slices.Sorted(maps.Keys(g.jobs)) {
			job := g.jobs[name]
			rule := chosen(job.Rules, variables)
			if job.Stage != stage || rule == nil || failed && rule.When != "always" {
				continue
			}
			done[name] = g.job(job, variables, commit, artifacts)
			failed = failed || done[name].result == "failure"
			g.t.Logf("pipeline of %s, job %s: %s", source, name, done[name].result)
		}
	}
	return done
}

// job runs the script of a job.
func (g *gitLab) job(job gitLabJob, variables expressions, commit, artifacts string) outcome {
	g.t.Helper()
	dir := folders(g.t, "workspace", "temp", "home")
	workspace := filepath.Join(dir, "workspace")
	if job.Variables["GIT_STRATEGY"] != "none" {
		g.checkout(workspace, commit)
	}
	if _, err := os.Stat(artifacts); err == nil {
		if err := os.CopyFS(workspace, os.DirFS(artifacts)); err != nil {
			g.t.Fatal(err)
		}
	}
	if err := os.Symlink(g.cli.Path, filepath.Join(dir, "terraform")); err != nil {
		g.t.Fatal(err)
	}
	env := g.environment(dir)
	for name, value := range variables {
		env = append(env, fmt.Sprintf("%s=%v", name, value))
	}
	for name, value := range job.Variables {
		env = append(env, name+"="+os.Expand(value, func(name string) string { return variables.lookup(name) }))
	}
	script := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(script, []byte(strings.Join(job.Script, "\n")+"\n"), 0o600); err != nil {
		g.t.Fatal(err)
	}
	log, err := g.exec(workspace, env, "sh", "-e", script)
	o := outcome{result: "success", log: log}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && slices.Contains(job.Allow.Codes, exit.ExitCode()):
		o.result = "warning"
	case err != nil:
		o.result = "failure"
	}
	g.keep(job, workspace, artifacts, o.result != "failure")
	if left, _ := filepath.Glob(filepath.Join(dir, "temp", "tmp.*")); len(left) > 0 {
		g.t.Errorf("the job leaves a plan behind: %v", left)
	}
	return o
}

// keep stores the artifacts of a job. A warning fails the job too, so it needs "always".
func (g *gitLab) keep(job gitLabJob, workspace, artifacts string, succeeded bool) {
	g.t.Helper()
	if job.Artifacts == nil || job.Artifacts.When != "always" && !succeeded {
		return
	}
	for _, path := range job.Artifacts.Paths {
		if err := os.CopyFS(filepath.Join(artifacts, path), os.DirFS(filepath.Join(workspace, path))); err != nil {
			g.t.Error(err)
		}
	}
}

// request opens merge request 12, or pushes to it, and runs its pipeline.
func (g *gitLab) request(branch string, files map[string]string) map[string]outcome {
	g.t.Helper()
	head := g.push(branch, files)
	g.forge.mu.Lock()
	g.forge.pulls = []object{{"iid": 12, "number": 12, "state": "opened", "merged_at": nil, "sha": head,
		"source_branch": branch, "source_project_id": 7, "author": object{"username": "alice-gl"},
		"squash_commit_sha": nil, "merge_commit_sha": nil,
		"head_pipeline": object{"id": g.number + 100, "source": "merge_request_event"}}}
	g.forge.mu.Unlock()
	return g.run("merge_request_event", head, map[string]string{"CI_MERGE_REQUEST_IID": "12",
		"CI_MERGE_REQUEST_PROJECT_PATH": "acme/access", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "7",
		"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
		"CI_MERGE_REQUEST_TITLE":              "$(touch /tmp/jit-ci-owned)"})
}

// A merge request becomes access and access ends: reviewed, approved on GitLab, merged, applied, over, pruned.
func pipelineOfGitLab(t *testing.T, binary string) {
	g := newGitLab(t, testenv.Terraforms(t)[0], binary)
	byHand := func() outcome { return g.run("web", g.ref("main"), nil)["apply"] }
	byHand().wants(t, "success")
	_, key := testenv.NewSSHKey(t)
	for i := range 3 {
		g.forge.addComment("alice-gl", "12", fmt.Sprintf("<!-- jit-review -->\nmine %d", i))
	}
	g.request("longer", g.longer())["plan"].wants(t, "warning")
	if c := g.forge.comment(t); !strings.Contains(c, longerSays) {
		t.Errorf("the comment:\n%s", c)
	}
	g.request("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "2h")})
	jobs := g.request("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "1h")})
	jobs["plan"].wants(t, "warning")
	jobs["comment"].wants(t, "success")
	if c := g.forge.comment(t); !strings.Contains(c, "INC-1: look") || !strings.Contains(c, "1h") {
		t.Errorf("the comment:\n%s", c)
	}
	if _, runs := jobs["apply"]; runs {
		t.Error("a merge request is applied")
	}

	g.forge.mu.Lock()
	g.forge.reviews = []any{object{"user": object{"id": 3, "username": "bob-gl"},
		"approved_at": time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05.000Z07:00")}}
	g.forge.mu.Unlock()
	old, commit := g.ref("main"), g.merge("ask")
	g.forge.merged(12, commit)
	g.run("push", old, nil)["apply"].wants(t, "failure", "Only its pipeline applies")
	g.run("push", commit, nil)["apply"].wants(t, "success", "bob@example.com approved jit_grant.alice")
	g.allows(key, true)

	g.end(g.protected["JIT_LEDGER_APPLY"], binary)
	g.run("schedule", commit, map[string]string{"JIT_TASK": "sweep"})["sweep"].wants(t, "success")
	g.allows(key, false)
	for range 2 {
		g.run("schedule", commit, map[string]string{"JIT_TASK": "prune"})["prune"].wants(t, "success")
	}
	if g.ref("jit/prune") == "" || len(g.forge.pulls) != 2 {
		t.Errorf("prune opens %d merge requests, want one", len(g.forge.pulls)-1)
	}
	direct := g.push("main", map[string]string{"note.txt": "no merge request"})
	g.run("push", direct, nil)["apply"].wants(t, "failure", "came without a merge request")

	jobs = g.request("bad", map[string]string{"bad.tf": "resource \"jit_grant\" \"x\" {}\n"})
	jobs["plan"].wants(t, "failure")
	jobs["comment"].wants(t, "success")
	if c := g.forge.comment(t); !strings.Contains(c, "❌ **The plan failed.**") {
		t.Errorf("the comment:\n%s", c)
	}
	if len(g.forge.refused) > 0 {
		t.Errorf("the forge refused: %q", g.forge.refused)
	}
}
