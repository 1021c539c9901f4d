package internal_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The pipelines of the examples lead from a pull request to access that ends: the steps are run as the CI systems do.
func TestPipelines(t *testing.T) {
	binary := acctest.Build(t)
	for name, test := range map[string]func(*testing.T, string){
		"GitHub": pipelineOfGitHub, "what was reviewed": pipelineAppliesWhatWasReviewed, "failures": pipelineThatFails,
		"servers": pipelineOnServers, "bucket": pipelineWithABucket,
		"GitLab": pipelineOfGitLab, "Atlantis": pipelineOfAtlantis,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, binary)
		})
	}
}

// atlantis is the server-side configuration of Atlantis.
type atlantis struct {
	Repos []struct {
		ID           string   `json:"id"`
		Branch       string   `json:"branch"`
		Workflow     string   `json:"workflow"`
		Requirements []string `json:"apply_requirements"`
		Overrides    []string `json:"allowed_overrides"`
		Own          bool     `json:"allow_custom_workflows"`
	} `json:"repos"`
	Workflows map[string]map[string]struct {
		// Steps are names, or objects with one name.
		Steps []any `json:"steps"`
	} `json:"workflows"`
}

// stage runs a stage of the workflow in a checkout, as the server does: run and env steps have the variables of the
// pull request, and the built-in ones only those that env steps set. It returns what the comment shows.
func (w *ciWorld) stage(steps []any, dir string, secrets []string) (comment string, err error) {
	w.t.Helper()
	workspace, plan := filepath.Join(dir, "workspace"), filepath.Join(dir, "default.tfplan")
	env := append(w.environment(dir), "ATLANTIS_TERRAFORM_VERSION="+w.cli.Version)
	env = append(env, secrets...)
	pull := []string{"PLANFILE=" + plan, "USER_NAME=alice-gh", "PULL_NUM=12", "BASE_REPO_OWNER=acme",
		"PULL_URL=https://github.com/acme/access/pull/12", "HEAD_COMMIT=" + w.ref("ask"), "BASE_REPO_NAME=access",
		"BASE_BRANCH_NAME=main"}
	builtIn := map[string][]string{"init": {"init", "-input=false"}, "apply": {"apply", "-input=false", "-no-color", plan},
		"plan": {"plan", "-input=false", "-no-color", "-out", plan}}
	for _, step := range steps {
		name, _ := step.(string)
		options, _ := step.(map[string]any)
		for only := range options {
			name = only
		}
		details, _ := options[name].(map[string]any)
		var out string
		if args, ok := builtIn[name]; ok {
			extra, _ := details["extra_args"].([]any)
			for _, arg := range extra {
				args = append(args, fmt.Sprint(arg))
			}
			out, err = w.exec(workspace, env, w.cli.Path, args...)
		} else {
			out, err = w.exec(workspace, append(slices.Clone(env), pull...), "sh", "-c", fmt.Sprint(details["command"]))
		}
		if err != nil {
			return comment + out, fmt.Errorf("%s: %w", name, err)
		}
		if name == "env" {
			env = append(env, fmt.Sprintf("%v=%s", details["name"], out))
			continue
		}
		comment += out
	}
	return comment, nil
}

// Atlantis shows the review in its comment, applies the plan that it shows, and records who commanded it.
func pipelineOfAtlantis(t *testing.T, binary string) {
	w := newCIWorld(t, testenv.Terraforms(t)[0], binary)
	var server atlantis
	if err := yaml.UnmarshalStrict([]byte(read(t, pipelines+"atlantis/repos.yaml")), &server); err != nil {
		t.Fatal(err)
	}
	repo := server.Repos[0]
	if repo.Own || len(repo.Overrides) > 0 || !slices.Contains(repo.Requirements, "approved") {
		t.Errorf("a pull request can change its workflow, or is applied without an approval: %+v", repo)
	}
	workflow := server.Workflows[repo.Workflow]
	ledger := "sqlite://" + filepath.ToSlash(filepath.Join(t.TempDir(), "ledger.db"))
	secrets := []string{"JIT_LEDGER_PLAN=" + ledger, "JIT_LEDGER_APPLY=" + ledger, "GITHUB_API_URL=" + w.forge.URL,
		"GITHUB_TOKEN=" + w.forge.token(map[string]string{"pull-requests": "read", "contents": "read"})}
	dir := ""
	checkout := func(branch string) {
		t.Helper()
		dir = folders(t, "temp", "home")
		w.checkout(filepath.Join(dir, "workspace"), branch)
		if err := os.Symlink(w.cli.Path, filepath.Join(dir, "terraform")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(dir, "workspace/ci/jit-ci.sh"), filepath.Join(dir, "jit-ci.sh")); err != nil {
			t.Fatal(err)
		}
	}
	both := func(branch string, says ...string) {
		t.Helper()
		checkout(branch)
		comment, err := w.stage(workflow["plan"].Steps, dir, secrets)
		if err != nil {
			t.Fatalf("plan: %v\n%s", err, comment)
		}
		for _, text := range says {
			if !strings.Contains(comment, text) {
				t.Errorf("the comment does not say %q:\n%s", text, comment)
			}
		}
		if out, err := w.stage(workflow["apply"].Steps, dir, secrets); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
	}
	_, key := testenv.NewSSHKey(t)
	head := w.push("ask", map[string]string{"alice.tf": grantFile(key, "INC-1: look", "2h")})
	w.forge.pulls = []object{{"number": 12, "state": "open", "merged_at": nil, "user": object{"login": "alice-gh"},
		"head": object{"sha": head, "ref": "ask", "repo": object{"full_name": "acme/access"}}}}
	w.forge.approve(head)
	both("main")
	w.push("longer", w.longer())
	checkout("longer")
	comment, err := w.stage(workflow["plan"].Steps, dir, secrets)
	if err != nil || !strings.Contains(comment, longerSays) {
		t.Errorf("plan: %v\n%s", err, comment)
	}
	both("ask", "INC-1: look")
	w.allows(key, true)

	granted := regexp.MustCompile(`.*"kind":"granted".*`).FindString(w.jit(binary, ledger, "audit", "export"))
	for _, text := range []string{`"alice-gh"`, "commit " + head + ", run https://github.com/acme/access/pull/12"} {
		if !strings.Contains(granted, text) {
			t.Errorf("the record of the grant does not say %q:\n%s", text, granted)
		}
	}
}

// pinned are the actions by their commits, as the tags of their repositories name them.
var pinned = map[string]string{
	"actions/checkout":          "3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
	"actions/upload-artifact":   "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0",
	"actions/download-artifact": "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
	"hashicorp/setup-terraform": "dfe3c3f87815947d99a8997f908cb6525fc44e9e # v4.0.1",
}

// No job has a right, a secret or somebody's code that it has no need of.
func TestPipelinesAreCareful(t *testing.T) {
	for _, name := range []string{"access.yml", "scheduled.yml"} {
		w, text := readActions(t, name), read(t, pipelines+"github/"+name)
		if _, wrong := w.On["pull_request_target"]; wrong || w.Permissions == nil || len(w.Permissions) > 0 ||
			w.Concurrency.Group == "" {
			t.Errorf("%s: on %v, with permissions %v", name, w.On, w.Permissions)
		}
		for _, m := range regexp.MustCompile(`uses: (\S+)@(.*)`).FindAllStringSubmatch(text, -1) {
			if pinned[m[1]] != m[2] {
				t.Errorf("%s is not pinned to a known commit: %s", m[1], m[2])
			}
		}
		for id, job := range w.Jobs {
			careful(t, id, job)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-n", pipelines+"shell/jit-ci.sh").CombinedOutput(); err != nil {
		t.Errorf("jit-ci.sh: %v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`(?m)\bjit ([a-z]+)((?: --[a-z-]+)*)`).FindAllStringSubmatch(
		read(t, pipelines+"shell/jit-ci.sh"), -1) {
		if slices.Contains([]string{"review", "approve", "sweep", "prune"}, m[1]) {
			parses(t, "jit-ci.sh", []string{m[1]})
		}
	}
}

// careful checks one job.
func careful(t *testing.T, id string, job actionsJob) {
	t.Helper()
	if job.Timeout == 0 {
		t.Errorf("%s has no end", id)
	}
	text := fmt.Sprint(job)
	if strings.Contains(text, "JIT_LEDGER_APPLY") && job.Environment == "" {
		t.Errorf("%s has the secret of the ledger, which every branch can read", id)
	}
	checksOut := false
	for _, s := range job.Steps {
		if strings.Contains(s.Run, "${{") {
			t.Errorf("%s: an expression in a shell command: %s", id, s.Run)
		}
		if strings.HasPrefix(s.Uses, "actions/checkout") {
			checksOut = true
			if s.With["persist-credentials"] != false {
				t.Errorf("%s keeps the token of the checkout", id)
			}
		}
	}
	onPull := strings.Contains(job.If, "pull_request.head") || strings.Contains(job.If, "== 'pull_request'")
	for permission, level := range job.Permissions {
		if onPull && checksOut && level == "write" && permission != "id-token" {
			t.Errorf("%s runs code of a pull request and may write %s", id, permission)
		}
	}
}
