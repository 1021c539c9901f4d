package internal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/cli"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

func deployFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../examples/deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// commandLine fails the test unless the command understands the words, which it shows by asking for its help.
func commandLine(t *testing.T, words []string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Run(t.Context(), append(slices.Clone(words), "--help"), strings.NewReader(""), &out, &errs, cli.Options{}); code != 0 || !strings.Contains(out.String(), "Usage:") {
		t.Errorf("jit %s: exit code %d: %s", strings.Join(words, " "), code, errs.String())
	}
}

// kubernetesTypes are what the manifests may hold.
var kubernetesTypes = map[string]func() any{
	"v1/ServiceAccount": func() any { return &corev1.ServiceAccount{} }, "v1/ConfigMap": func() any { return &corev1.ConfigMap{} },
	"apps/v1/Deployment": func() any { return &appsv1.Deployment{} }, "batch/v1/CronJob": func() any { return &batchv1.CronJob{} },
	"policy/v1/PodDisruptionBudget": func() any { return &policyv1.PodDisruptionBudget{} },
}

// The manifests have no field that Kubernetes does not know, run commands that jit understands, with settings that it reads, and as little right as they can.
func TestDeployKubernetes(t *testing.T) {
	pods := 0
	var settings string
	for _, file := range []string{"kubernetes/deployment.yaml", "kubernetes/cronjob.yaml"} {
		for text := range strings.SplitSeq(deployFile(t, file), "\n---\n") {
			var kind metav1.TypeMeta
			if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
				t.Fatal(err)
			}
			empty, ok := kubernetesTypes[kind.APIVersion+"/"+kind.Kind]
			if !ok {
				t.Fatalf("%s: nobody checks a %s of %s", file, kind.Kind, kind.APIVersion)
			}
			object := empty()
			if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			switch o := object.(type) {
			case *corev1.ConfigMap:
				settings = o.Data["jit.hcl"]
			case *appsv1.Deployment:
				restricted(t, o.Spec.Template.Spec)
				pods++
			case *batchv1.CronJob:
				restricted(t, o.Spec.JobTemplate.Spec.Template.Spec)
				pods++
			}
		}
	}
	if pods != 2 {
		t.Errorf("%d pods, want those of the Deployment and of the CronJob", pods)
	}
	t.Setenv("JIT_LEDGER", "postgres://jit@127.0.0.1/jit")
	t.Setenv("JIT_LISTEN_TOKEN", strings.Repeat("x", 32))
	path := filepath.Join(t.TempDir(), "jit.hcl")
	if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (status.Access{Listen: s.Listen, Token: s.ListenToken}).Check(); err != nil || len(s.Targets) != 1 {
		t.Errorf("%v, %d targets", err, len(s.Targets))
	}
}

// restricted is what of the Pod Security Standard "restricted" can be asked of a pod, and that its command is understood.
func restricted(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	c := pod.Containers[0]
	switch {
	case len(pod.Containers) != 1, pod.SecurityContext.RunAsNonRoot == nil, !*pod.SecurityContext.RunAsNonRoot, c.SecurityContext.AllowPrivilegeEscalation == nil,
		*c.SecurityContext.AllowPrivilegeEscalation, !slices.Contains(c.SecurityContext.Capabilities.Drop, "ALL"), pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Errorf("the pod is not restricted: %+v, %+v", pod.SecurityContext, c.SecurityContext)
	}
	commandLine(t, c.Args)
	for _, e := range c.Env {
		if e.Value != "" {
			t.Errorf("%s has its value in the manifest", e.Name)
		}
	}
}

// The units run commands that jit understands; systemd itself reads them where it is there.
func TestDeploySystemd(t *testing.T) {
	units, err := filepath.Glob("../examples/deploy/systemd/*")
	if err != nil || len(units) != 3 {
		t.Fatal(units, err)
	}
	commands := 0
	for _, unit := range units {
		text := deployFile(t, filepath.Join("systemd", filepath.Base(unit)))
		for line := range strings.Lines(text) {
			if command, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/jit "); ok {
				commandLine(t, strings.Fields(command))
				commands++
			}
		}
	}
	if commands != 2 {
		t.Errorf("%d commands, want 2", commands)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here: the keys of the units were not checked")
	}
	dir := t.TempDir()
	for _, unit := range units { // with a command that exists
		text := strings.ReplaceAll(deployFile(t, filepath.Join("systemd", filepath.Base(unit))), "/usr/local/bin/jit", "/bin/true")
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(unit)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copies, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, copies...)...).CombinedOutput()
	if strings.Contains(string(out), "Failed to initialize manager") || strings.Contains(string(out), "not been booted with systemd") {
		t.Skipf("systemd does not run here: %s", out)
	}
	if err != nil || strings.Contains(string(out), "Unknown") {
		t.Errorf("%v: %s", err, out)
	}
}

// workflow is the part of a workflow of GitHub Actions that ours has; anything else is an error.
type workflow struct {
	Name string `json:"name"`
	On   struct {
		Schedule []struct {
			Cron string `json:"cron"`
		} `json:"schedule"`
		Dispatch struct{} `json:"workflow_dispatch"`
	} `json:"on"`
	Permissions map[string]string `json:"permissions"`
	Concurrency struct {
		Group  string `json:"group"`
		Cancel bool   `json:"cancel-in-progress"`
	} `json:"concurrency"`
	Jobs map[string]struct {
		RunsOn  string `json:"runs-on"`
		Timeout int    `json:"timeout-minutes"`
		Env     string `json:"environment"`
		Steps   []struct {
			Name string            `json:"name"`
			Uses string            `json:"uses"`
			Run  string            `json:"run"`
			Env  map[string]string `json:"env"`
		} `json:"steps"`
	} `json:"jobs"`
}

func TestDeployGitHubActions(t *testing.T) {
	var w workflow
	// "on" is a truth value to YAML 1.1, which GitHub does not follow there.
	text := strings.Replace(deployFile(t, "github-actions/sweep.yml"), "\non:", "\n\"on\":", 1)
	if err := yaml.UnmarshalStrict([]byte(text), &w); err != nil {
		t.Fatal(err)
	}
	if w.Permissions["contents"] != "read" || w.Concurrency.Cancel || len(w.On.Schedule) != 1 || !regexp.MustCompile(`^\*/5( \*){4}$`).MatchString(w.On.Schedule[0].Cron) {
		t.Errorf("%+v", w)
	}
	commands := 0
	for _, job := range w.Jobs {
		for _, step := range job.Steps {
			if step.Uses != "" && !regexp.MustCompile(`^[\w-]+/[\w-]+@v\d+$`).MatchString(step.Uses) {
				t.Errorf("%q is not pinned", step.Uses)
			}
			if command, ok := strings.CutPrefix(step.Run, "./bin/jit "); ok {
				commandLine(t, strings.Fields(command))
				commands++
			}
			for name, value := range step.Env {
				if !strings.HasPrefix(value, "${{ secrets.") {
					t.Errorf("%s is not a secret: %s", name, value)
				}
			}
		}
	}
	if commands != 1 {
		t.Errorf("%d commands, want 1", commands)
	}
}

// metricsOf lists the metrics that a server tells.
func metricsOf(t *testing.T, s *status.Server) (names []string) {
	ctx, stop := context.WithCancel(t.Context())
	address, done := make(chan string), make(chan error, 1)
	go func() { done <- s.Serve(ctx, func(a string) { address <- a }) }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+<-address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(rest)[0])
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return names
}

// Every metric that an alert or a panel names is one that the daemon exports.
func TestDeployMetrics(t *testing.T) {
	m := status.NewMetrics("test")
	l := &jittest.Ledger{}
	grant := jit.Grant{ID: "a", Owner: "jit", Binding: jit.Binding{Target: "a"}, Window: jit.Window{Start: time.Now(), End: time.Now().Add(time.Hour)}}
	l.Write(t.Context(), []jit.Entry{{Grant: &grant}})
	stuck := func() sweeper.State {
		return sweeper.State{Stuck: []sweeper.Stuck{{Grant: grant}}, Unread: []sweeper.Unread{{Place: jit.Place{Target: "a"}}}}
	}
	m.Watch(l, "jit", time.Now, stuck)
	m.Stepped(sweeper.Result{Step: reconcile.Step{Drift: jit.DriftMissing}}, -1)
	m.Passed("due", sweeper.Passed{})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Wrap("a", &jittest.Platform{Now: time.Now}).Read(cancelled, "all"); err == nil {
		t.Fatal("the read did not fail")
	}
	exported := metricsOf(t, &status.Server{Access: status.Access{Listen: "127.0.0.1:0"}, Metrics: m, State: stuck, Now: time.Now, Page: http.NotFoundHandler()})
	names := func(text string) []string {
		return regexp.MustCompile(`jit_[a-z_]+`).FindAllString(text, -1)
	}
	var rules struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict([]byte(deployFile(t, "prometheus/alerts.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, rule := range rules.Groups[0].Rules {
		if rule.Alert == "" || rule.Annotations["summary"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("%+v", rule)
		}
		used = append(used, names(rule.Expr)...)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(deployFile(t, "grafana/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%+v", p)
		}
		for _, target := range p.Targets {
			used = append(used, names(target.Expr)...)
		}
	}
	if len(used) < 20 {
		t.Fatalf("only %d uses were found", len(used))
	}
	for _, name := range used {
		if !slices.Contains(exported, strings.TrimSuffix(name, "_bucket")) {
			t.Errorf("%s is not exported", name)
		}
	}
}
