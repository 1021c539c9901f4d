package internal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const pipelines = "../examples/ci/"

// actions is a workflow of GitHub Actions.
type actions struct {
	Name        string            `json:"name"`
	On          map[string]any    `json:"on"`
	Permissions map[string]string `json:"permissions"`
	Concurrency struct {
		Group  string `json:"group"`
		Cancel any    `json:"cancel-in-progress"`
	} `json:"concurrency"`
	Jobs map[string]actionsJob `json:"jobs"`
}

type actionsJob struct {
	If          string            `json:"if"`
	Needs       string            `json:"needs"`
	RunsOn      string            `json:"runs-on"`
	Timeout     int               `json:"timeout-minutes"`
	Environment string            `json:"environment"`
	Permissions map[string]string `json:"permissions"`
	Outputs     map[string]string `json:"outputs"`
	Steps       []actionsStep     `json:"steps"`
}

type actionsStep struct {
	Name     string            `json:"name"`
	ID       string            `json:"id"`
	If       string            `json:"if"`
	Uses     string            `json:"uses"`
	With     map[string]any    `json:"with"`
	Env      map[string]string `json:"env"`
	Run      string            `json:"run"`
	Continue bool              `json:"continue-on-error"`
}

func readActions(t *testing.T, name string) actions {
	t.Helper()
	text := strings.Replace(read(t, pipelines+"github/"+name), "\non:\n", "\n\"on\":\n", 1) // for YAML 1.1 on is true
	var w actions
	if err := yaml.UnmarshalStrict([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// runner runs workflows as GitHub's does, as far as the examples go: each job in an empty folder, each run step in a
// bash of its own with the environment of a hosted runner and nothing else.
type runner struct {
	*ciWorld
	secrets map[string]string
	number  int
}

// expressions is what an expression sees.
type expressions map[string]any

// lookup returns a value such as github.event.pull_request.number; "" if there is none.
func (c expressions) lookup(path string) string {
	var at any = map[string]any(c)
	for name := range strings.SplitSeq(path, ".") {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}

// evaluate reads an expression of paths, texts, ==, !=, && and ||. && binds tighter, and both return an operand.
func (c expressions) evaluate(expression string) (value string) {
	for either := range strings.SplitSeq(expression, "||") {
		for both := range strings.SplitSeq(either, "&&") {
			value = c.operand(both)
			if value == "" || value == "false" {
				value = ""
				break
			}
		}
		if value != "" {
			return value
		}
	}
	return ""
}

func (c expressions) operand(text string) string {
	text = strings.TrimSpace(text)
	for _, operator := range []string{"==", "!="} {
		if left, right, found := strings.Cut(text, operator); found {
			return fmt.Sprint((c.operand(left) == c.operand(right)) == (operator == "=="))
		}
	}
	switch {
	case text == "!cancelled()":
		return "true"
	case strings.HasPrefix(text, "'"), strings.HasPrefix(text, `"`):
		return strings.Trim(text, `'"`)
	}
	return c.lookup(strings.TrimPrefix(text, "$"))
}

var expression = regexp.MustCompile(`\$\{\{(.*?)\}\}`)

// fill replaces the expressions of a text.
func (c expressions) fill(text any) string {
	return expression.ReplaceAllStringFunc(fmt.Sprint(text), func(e string) string {
		return c.evaluate(expression.FindStringSubmatch(e)[1])
	})
}

// runs reports whether a job or a step with this condition runs. Unless the condition says otherwise, everything before
// it must have succeeded.
func (c expressions) runs(condition string, succeeded bool) bool {
	condition = strings.TrimSuffix(strings.TrimPrefix(condition, "${{"), "}}")
	if !strings.Contains(condition, "cancelled()") && !succeeded {
		return false
	}
	return condition == "" || c.evaluate(condition) != ""
}

// outcome is how a job ended.
type outcome struct {
	result  string // success, failure or skipped
	log     string
	outputs map[string]any
}

// run runs a workflow for an event. change, if not nil, completes the github context.
func (r *runner) run(w actions, name, sha string, event object, change func(github object)) map[string]outcome {
	r.t.Helper()
	r.number++
	ref := "refs/heads/main"
	if pull, ok := event["pull_request"].(object); ok {
		ref = fmt.Sprintf("refs/pull/%v/merge", pull["number"])
	}
	github := object{"event_name": name, "ref": ref, "sha": sha, "repository": "acme/access", "event": event,
		"run_id": r.number}
	if change != nil {
		change(github)
	}
	done := map[string]outcome{}
	for len(done) < len(w.Jobs) {
		for _, job := range slices.Sorted(maps.Keys(w.Jobs)) {
			j := w.Jobs[job]
			before, ready := done[j.Needs]
			if _, over := done[job]; over || j.Needs != "" && !ready {
				continue
			}
			c := expressions{"github": maps.Clone(github), "secrets": object{}, "steps": object{},
				"needs": object{j.Needs: object{"outputs": before.outputs, "result": before.result}}}
			if !c.runs(j.If, j.Needs == "" || before.result == "success") {
				done[job] = outcome{result: "skipped"}
				continue
			}
			done[job] = r.job(j, c)
			r.t.Logf("%s, job %s: %s", w.Name, job, done[job].result)
		}
	}
	if name == "pull_request" {
		pull := event["pull_request"].(object)
		r.forge.runs = append([]object{{"id": r.number, "event": name, "status": "completed",
			"head_sha": pull["head"].(object)["sha"]}}, r.forge.runs...)
	}
	return done
}

// job runs one job, with a token that has its permissions and no more.
func (r *runner) job(j actionsJob, c expressions) outcome {
	r.t.Helper()
	dir := folders(r.t, "workspace", "temp", "home")
	token := r.forge.token(j.Permissions)
	c["github"].(object)["token"] = token
	c["runner"] = object{"temp": filepath.Join(dir, "temp")}
	for name, value := range r.secrets {
		c["secrets"].(object)[name] = value
	}
	o := outcome{result: "success", outputs: object{}}
	for _, s := range j.Steps {
		state := object{"conclusion": "skipped", "outputs": object{}}
		if s.ID != "" {
			c["steps"].(object)[s.ID] = state
		}
		if !c.runs(s.If, o.result == "success") {
			continue
		}
		log, err := r.step(s, c, dir, state["outputs"].(object))
		o.log += log
		state["conclusion"] = "success"
		if err != nil {
			o.log += err.Error() + "\n"
			state["conclusion"] = "failure"
			if !s.Continue {
				o.result = "failure"
			}
		}
	}
	for name, value := range j.Outputs {
		o.outputs[name] = c.fill(value)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "temp", "tmp.*")); len(left) > 0 {
		r.t.Errorf("the job leaves a plan behind: %v", left)
	}
	return o
}

// step runs one step.
func (r *runner) step(s actionsStep, c expressions, dir string, outputs object) (log string, err error) {
	r.t.Helper()
	workspace := filepath.Join(dir, "workspace")
	with := func(name string) string { return c.fill(s.With[name]) }
	action, _, _ := strings.Cut(s.Uses, "@")
	switch action {
	case "actions/checkout":
		if with("persist-credentials") != "false" {
			r.t.Error("a checkout keeps its token")
		}
		r.checkout(workspace, c.lookup("github.sha"))
		if c.lookup("github.event_name") == "pull_request" { // what is planned is the merge
			r.git(workspace, "checkout", "-q", "--detach", "origin/main")
			r.git(workspace, "merge", "-q", "--no-ff", "-m", "merge", c.lookup("github.sha"))
			r.git(workspace, "remote", "remove", "origin") // no token, so nothing can be fetched
		}
		return "", nil
	case "hashicorp/setup-terraform":
		return "", os.Symlink(r.cli.Path, filepath.Join(dir, "terraform"))
	case "actions/upload-artifact":
		from := filepath.Join(workspace, with("path"))
		if _, err := os.Stat(from); err != nil {
			return "", err
		}
		return "", os.CopyFS(r.artifact(c.lookup("github.run_id"), with("name")), os.DirFS(from))
	case "actions/download-artifact":
		run := c.lookup("github.run_id")
		if s.With["run-id"] != nil {
			run = with("run-id")
			if with("github-token") != c.lookup("github.token") {
				return "", errors.New("another run's artifact needs a token")
			}
		}
		to := with("path")
		if !filepath.IsAbs(to) {
			to = filepath.Join(workspace, to)
		}
		return "", os.CopyFS(to, os.DirFS(r.artifact(run, with("name"))))
	case "":
		return r.shell(s, c, dir, outputs)
	}
	return "", fmt.Errorf("no action %s", s.Uses)
}

func (r *runner) artifact(run, name string) string {
	return filepath.Join(r.dir, "artifacts", run, name)
}

// shell runs a run step as the runner does (docs.github.com, "jobs.<job_id>.steps[*].shell").
func (r *runner) shell(s actionsStep, c expressions, dir string, outputs object) (log string, err error) {
	event, err := json.Marshal(c["github"].(object)["event"])
	if err != nil {
		return "", err
	}
	files := map[string]string{"event.json": string(event), "step.sh": c.fill(s.Run), "output": ""}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	env := append(r.environment(dir), "GITHUB_ACTIONS=true", "GITHUB_REPOSITORY=acme/access",
		"GITHUB_REPOSITORY_OWNER=acme", "GITHUB_TRIGGERING_ACTOR=alice-gh", "GITHUB_REF_NAME=main",
		"GITHUB_API_URL="+r.forge.URL, "GITHUB_SERVER_URL=file://"+r.dir, "GITHUB_SHA="+c.lookup("github.sha"),
		"GITHUB_RUN_ID="+c.lookup("github.run_id"), "GITHUB_EVENT_NAME="+c.lookup("github.event_name"),
		"GITHUB_EVENT_PATH="+filepath.Join(dir, "event.json"), "GITHUB_OUTPUT="+filepath.Join(dir, "output"),
		"RUNNER_TEMP="+filepath.Join(dir, "temp"))
	for name, value := range s.Env {
		env = append(env, name+"="+c.fill(value))
	}
	log, err = r.exec(filepath.Join(dir, "workspace"), env, "bash", "--noprofile", "--norc", "-eo", "pipefail",
		filepath.Join(dir, "step.sh"))
	for line := range strings.Lines(read(r.t, filepath.Join(dir, "output"))) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		outputs[name] = value
	}
	return log, err
}

// token returns a new token with these permissions.
func (f *ciForge) token(permissions map[string]string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	token := fmt.Sprintf("token-%d", len(f.tokens))
	f.tokens[token] = permissions
	return token
}

// wants fails the test unless a job ended so.
func (o outcome) wants(t *testing.T, result string, says ...string) {
	t.Helper()
	if o.result != result {
		t.Fatalf("the job: %s, want %s\n%s", o.result, result, o.log)
	}
	for _, text := range says {
		if !strings.Contains(o.log, text) {
			t.Errorf("the job does not say %q:\n%s", text, o.log)
		}
	}
}
