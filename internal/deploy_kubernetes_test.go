package internal_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/status"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// kubeKinds are the kinds of objects in the manifests: what they are read into, and where the API has them.
var kubeKinds = map[string]struct {
	object func() metav1.Object
	path   string
}{
	"Namespace": {func() metav1.Object { return &corev1.Namespace{} }, "/api/v1/namespaces"},
	"ConfigMap": {func() metav1.Object { return &corev1.ConfigMap{} }, "/api/v1/namespaces/jit/configmaps"},
	"ServiceAccount": {func() metav1.Object { return &corev1.ServiceAccount{} },
		"/api/v1/namespaces/jit/serviceaccounts"},
	"Service": {func() metav1.Object { return &corev1.Service{} }, "/api/v1/namespaces/jit/services"},
	"Deployment": {func() metav1.Object { return &appsv1.Deployment{} },
		"/apis/apps/v1/namespaces/jit/deployments"},
	"CronJob": {func() metav1.Object { return &batchv1.CronJob{} },
		"/apis/batch/v1/namespaces/jit/cronjobs"},
	"PodDisruptionBudget": {func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
		"/apis/policy/v1/namespaces/jit/poddisruptionbudgets"},
	"ClusterRole": {func() metav1.Object { return &rbacv1.ClusterRole{} },
		"/apis/rbac.authorization.k8s.io/v1/clusterroles"},
	"ClusterRoleBinding": {func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
		"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"},
}

// manifest is one object of a file: its text, and what it says.
type manifest struct {
	kind, text string
	object     metav1.Object
}

// manifests reads the objects of a file strictly.
func manifests(t *testing.T, path string) []manifest {
	t.Helper()
	var all []manifest
	for _, text := range strings.Split(read(t, path), "\n---\n") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		kind, ok := kubeKinds[meta.Kind]
		if !ok {
			t.Fatalf("%s: no test knows the kind %q", path, meta.Kind)
		}
		m := manifest{meta.Kind, text, kind.object()}
		if err := yaml.UnmarshalStrict([]byte(text), m.object); err != nil {
			t.Fatalf("%s: %s: %v", path, meta.Kind, err)
		}
		all = append(all, m)
	}
	return all
}

// one returns the only object of its type.
func one[T metav1.Object](t *testing.T, all []manifest) T {
	t.Helper()
	var found []T
	for _, m := range all {
		if o, ok := m.object.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of %v, want one", len(found), reflect.TypeFor[T]())
	}
	return found[0]
}

// kube is the whole example.
type kube struct {
	base, deployment, cronjob []manifest
	daemon, pass              corev1.PodTemplateSpec
	settings                  string
}

func readKube(t *testing.T) kube {
	t.Helper()
	folder := deployments + "kubernetes/"
	k := kube{base: manifests(t, folder+"base.yaml"), deployment: manifests(t, folder+"deployment.yaml"),
		cronjob: manifests(t, folder+"cronjob.yaml")}
	k.daemon = one[*appsv1.Deployment](t, k.deployment).Spec.Template
	k.pass = one[*batchv1.CronJob](t, k.cronjob).Spec.JobTemplate.Spec.Template
	k.settings = one[*corev1.ConfigMap](t, k.base).Data["jit.hcl"]
	return k
}

func TestKubernetesManifests(t *testing.T) {
	k := readKube(t)
	s := settings(t, "the ConfigMap", k.settings)
	if _, err := (status.Access{Listen: s.Listen, Token: s.ListenToken}).Check(); err != nil ||
		s.Targets["cluster"].Kubernetes == nil {
		t.Errorf("the settings: %v\n%s", err, k.settings)
	}
	for name, pod := range map[string]corev1.PodTemplateSpec{"deployment.yaml": k.daemon, "cronjob.yaml": k.pass} {
		c := pod.Spec.Containers[0]
		parses(t, name, c.Args)
		restricted(t, name, pod.Spec)
		var env []string
		for _, e := range c.Env {
			env = append(env, e.Name)
		}
		for _, m := range regexp.MustCompile(`env\("(\w+)"\)`).FindAllStringSubmatch(k.settings, -1) {
			if !slices.Contains(env, m[1]) {
				t.Errorf("%s does not set %s, which the settings read", name, m[1])
			}
		}
		if pod.Spec.ServiceAccountName != one[*corev1.ServiceAccount](t, k.base).Name {
			t.Errorf("%s runs as %q", name, pod.Spec.ServiceAccountName)
		}
	}
	d := one[*appsv1.Deployment](t, k.deployment)
	if *d.Spec.Replicas < 2 {
		t.Error("one replica is none when its node is drained")
	}
	for what, labels := range map[string]map[string]string{
		"the Deployment":          d.Spec.Selector.MatchLabels,
		"the Service":             one[*corev1.Service](t, k.deployment).Spec.Selector,
		"the PodDisruptionBudget": one[*policyv1.PodDisruptionBudget](t, k.deployment).Spec.Selector.MatchLabels,
	} {
		if len(labels) == 0 || !maps.Equal(labels, k.daemon.Labels) {
			t.Errorf("%s selects %v, the pods have %v", what, labels, k.daemon.Labels)
		}
	}
	if _, port, _ := strings.Cut(s.Listen, ":"); port != fmt.Sprint(k.daemon.Spec.Containers[0].Ports[0].ContainerPort) {
		t.Errorf("it listens on %s, the container's port is %d", s.Listen,
			k.daemon.Spec.Containers[0].Ports[0].ContainerPort)
	}
	cron := one[*batchv1.CronJob](t, k.cronjob).Spec
	if cron.ConcurrencyPolicy != batchv1.ForbidConcurrent || cron.Schedule != "* * * * *" ||
		cron.JobTemplate.Spec.ActiveDeadlineSeconds == nil {
		t.Errorf("the CronJob is %+v", cron)
	}
	// The service account may do what the guide of the platform says, and no more.
	operator := one[*rbacv1.ClusterRole](t, manifests(t, "platform/kubernetes/operator.yaml"))
	if got := one[*rbacv1.ClusterRole](t, k.base); !reflect.DeepEqual(got.Rules, operator.Rules) {
		t.Errorf("the ClusterRole has the rules\n%+v\nwant\n%+v", got.Rules, operator.Rules)
	}
}

// restricted reports what the restricted policy of Kubernetes refuses, as far as the manifests could do it wrong.
func restricted(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	own := pod.Containers[0].SecurityContext
	if p := pod.SecurityContext; p == nil || own == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot ||
		p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation || own.Capabilities == nil ||
		!slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem {
		t.Errorf("%s: the pod is not restricted: %+v, %+v", name, p, own)
	}
}

// api sends objects to a Kubernetes API.
type api struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newAPI(t *testing.T, config *rest.Config) api {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return api{t, config.Host, client}
}

// create makes the object; it is checked strictly, and only checked with dryRun.
func (a api) create(path, text string, dryRun bool) {
	a.t.Helper()
	query := "?fieldValidation=Strict"
	if dryRun {
		query += "&dryRun=All"
	}
	code, body := a.do(http.MethodPost, path+query, text)
	if code != http.StatusCreated {
		a.t.Errorf("create in %s: %d %s", path, code, body)
	}
}

func (a api) do(method, path, text string) (code int, body string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.t.Context()), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(a.base, "/")+path, strings.NewReader(text))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/yaml")
	answer, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer.StatusCode, string(content)
}

// pod runs the container of a template as the kubelet would: its arguments, and its environment and no other.
func pod(t *testing.T, binary string, template corev1.PodTemplateSpec, name, settings, kubeconfig string,
	secret map[string]string, more ...string) (*exec.Cmd, *said) {
	t.Helper()
	c := template.Spec.Containers[0]
	cmd := exec.CommandContext(t.Context(), binary, append(slices.Clone(c.Args), more...)...)
	cmd.Dir = t.TempDir()
	for _, e := range c.Env {
		value := e.Value
		switch from := e.ValueFrom; {
		case e.Name == config.EnvFile:
			value = strings.Replace(value, c.VolumeMounts[0].MountPath+"/jit.hcl", settings, 1)
		case from != nil && from.SecretKeyRef != nil:
			value = secret[from.SecretKeyRef.Key]
		case from != nil && from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.name":
			value = name
		}
		if value == "" {
			t.Fatalf("the manifest says no value of %s", e.Name)
		}
		cmd.Env = append(cmd.Env, e.Name+"="+value)
	}
	cmd.Env = append(cmd.Env, "KUBECONFIG="+kubeconfig) // in the place of the mounted service account
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	out := &said{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// A real API server takes the manifests, also under the restricted policy; what they start, with the rights that they
// give, ends a grant.
func TestKubernetesDeployment(t *testing.T) {
	server := testenv.Kubernetes(t)
	ledger := testenv.Postgres(t).Database(t)
	k := readKube(t)
	admin := newAPI(t, server.Admin())
	for _, m := range k.base {
		admin.create(kubeKinds[m.kind].path, m.text, false)
		t.Cleanup(func() { admin.do(http.MethodDelete, kubeKinds[m.kind].path+"/"+m.object.GetName(), "") })
	}
	for _, m := range slices.Concat(k.deployment, k.cronjob) {
		admin.create(kubeKinds[m.kind].path, m.text, true)
	}
	for name, template := range map[string]corev1.PodTemplateSpec{"daemon": k.daemon, "pass": k.pass} {
		text, err := yaml.Marshal(corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: template.Spec})
		if err != nil {
			t.Fatal(err)
		}
		admin.create("/api/v1/namespaces/jit/pods", string(text), true)
	}

	file := filepath.Join(t.TempDir(), "jit.hcl")
	if err := os.WriteFile(file, []byte(k.settings), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := map[string]string{"ledger": ledger, "listen-token": "a-token-that-is-long-enough"}
	kubeconfig := server.UserKubeconfig(t, "system:serviceaccount:jit:jit", "system:serviceaccounts")
	t.Setenv("KUBECONFIG", kubeconfig)
	t.Setenv("JIT_LEDGER", ledger)
	t.Setenv("JIT_LISTEN_TOKEN", secret["listen-token"])
	s, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := config.Open(t.Context(), s, config.Options{Source: jit.FromTerraform})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close() }()
	provider := acctest.Build(t)
	binary := filepath.Join(filepath.Dir(provider), "jit")
	if err := os.Symlink(provider, binary); err != nil {
		t.Fatal(err)
	}
	bindings := func() string {
		_, body := admin.do(http.MethodGet, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings?labelSelector=jit.access/owner=payments", "")
		return body
	}
	// over is a grant whose end has just come: as the record says, and its binding is there.
	over := func(reason string) jit.Grant {
		g, err := rt.Broker.Grant(t.Context(), broker.Request{
			Binding: jit.Binding{Target: "cluster", Principal: "user:alice", Role: "ClusterRole/view",
				Scope: "namespaces/default"},
			Reason: reason, Renewal: 1, TTL: jit.RecordedTTL("1h"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(bindings(), string(g.ID)) {
			t.Fatalf("grant %s has no binding", g.ID)
		}
		was := g
		g.Start, g.End = g.Start.Add(-2*time.Hour), time.Now().UTC().Truncate(time.Second)
		if err := rt.Ledger.Write(t.Context(),
			[]jit.Entry{jit.Rewrite(was, g, jit.Event{Kind: jit.EventChanged, Grant: g.ID})})[0]; err != nil {
			t.Fatal(err)
		}
		return g
	}

	g := over("INC-1: a pass")
	once, out := pod(t, binary, k.pass, "jit-sweep-1", file, kubeconfig, secret)
	if err := once.Run(); err != nil || strings.Contains(bindings(), string(g.ID)) {
		t.Fatalf("the CronJob's pass: %v\n%s", err, out)
	}

	g = over("INC-2: the daemons")
	var bases []string
	for _, name := range []string{"jit-a", "jit-b"} {
		daemon, out := pod(t, binary, k.daemon, name, file, kubeconfig, secret, "--listen", "127.0.0.1:0")
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			// The test's context is over by now, which has sent it the signal of the kubelet.
			if err := daemon.Wait(); daemon.ProcessState.ExitCode() != 0 || t.Failed() {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		})
		var found []string
		await(t, name+" listens", func() bool {
			found = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`).FindStringSubmatch(out.String())
			return found != nil
		})
		bases = append(bases, "http://"+found[1])
	}
	await(t, "the daemons end the grant", func() bool { return !strings.Contains(bindings(), string(g.ID)) })
	probes := k.daemon.Spec.Containers[0]
	for _, base := range bases {
		local := api{t, base, http.DefaultClient}
		for _, probe := range []*corev1.Probe{probes.LivenessProbe, probes.ReadinessProbe} {
			await(t, probe.HTTPGet.Path, func() bool {
				code,
					_ := local.do(http.MethodGet, probe.HTTPGet.Path, "")
				return code == http.StatusOK
			})
		}
		if code, _ := local.do(http.MethodGet, "/metrics", ""); code != http.StatusUnauthorized {
			t.Errorf("/metrics without the token: %d", code)
		}
	}
}

// await waits until something is so, in real time, for a minute at most.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
