package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// kubeconfig writes a kubeconfig file with the contexts one and two of a server.
func kubeconfig(t *testing.T, path, server, current, user string) {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %q
clusters:
- {name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}
- {name: other, cluster: {server: "https://127.0.0.1:1"}}
users:
- {name: u, user: {%s}}
contexts:
- {name: one, context: {cluster: c, user: u}}
- {name: two, context: {cluster: other, user: u}}
`, current, server, user)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secure serves the fake cluster over TLS, without which client-go sends no credentials.
func secure(t *testing.T, s *site) (url string) {
	t.Helper()
	server := httptest.NewTLSServer(s.fake)
	t.Cleanup(server.Close)
	return server.URL
}

// Where somebody means a file, the cluster of the pod that the program runs in does not stand in for it.
func TestAPodIsNoFallbackForAFile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	empty, without := filepath.Join(home, "empty"), filepath.Join(home, "without")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig(t, without, "https://127.0.0.1:1", "", "token: t")
	for name, tt := range map[string]struct {
		cfg  Config
		env  string
		says string
		pod  bool
	}{
		"an empty file":           {cfg: Config{Kubeconfig: empty}, says: "no current context"},
		"no current context":      {cfg: Config{Kubeconfig: without}, says: "no current context"},
		"no file":                 {cfg: Config{Kubeconfig: home + "/none"}, says: "no such file"},
		"a context alone":         {cfg: Config{Context: "prod"}, says: "prod"},
		"KUBECONFIG, empty":       {env: empty, says: "no current context"},
		"KUBECONFIG, not there":   {env: home + "/none", says: "no current context"},
		"KUBECONFIG, no context":  {env: without, says: "no current context"},
		"nothing at all, a pod":   {pod: true},
		"a context of an empty":   {cfg: Config{Kubeconfig: empty, Context: "prod"}, says: "prod"},
		"a context that is there": {cfg: Config{Kubeconfig: without, Context: "one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tt.env)
			asked := false
			config, _, err := tt.cfg.restConfig(func() (*rest.Config, error) {
				asked = true
				return &rest.Config{Host: "https://pod"}, nil
			})
			var user *jit.Error
			if asked != tt.pod || tt.says != "" && (!errors.As(err, &user) || !strings.Contains(user.Problem, tt.says)) ||
				tt.says == "" && (err != nil || config == nil) {
				t.Errorf("%+v, %v; the pod was asked: %t", config, err, asked)
			}
		})
	}
	t.Setenv("KUBECONFIG", "")
	_, _, err := Config{}.restConfig(func() (*rest.Config, error) { return nil, rest.ErrNotInCluster })
	if err == nil || !strings.Contains(err.Error(), "there is no kubeconfig file") {
		t.Errorf("without anything: %v", err)
	}
}

// The command that a kubeconfig runs for credentials may hang; the time-out of the caller holds.
func TestACommandForCredentialsThatHangsIsGivenUp(t *testing.T) {
	s := fakeSite(t)
	path, url := filepath.Join(t.TempDir(), "kubeconfig"), secure(t, s)
	kubeconfig(t, path, url, "one", `exec: {apiVersion: client.authentication.k8s.io/v1, command: sleep, `+
		`args: ["3"], interactiveMode: Never}`)
	p := s.openAs(t, Config{Kubeconfig: path}, time.Now)
	a := s.access("cluster", "user:alice", "ClusterRole/"+s.role(0), "hangs")
	for name, call := range map[string]func(ctx context.Context) error{
		"read":   func(ctx context.Context) error { _, err := p.Read(ctx, "cluster"); return err },
		"remove": func(ctx context.Context) error { return p.Apply(ctx, "cluster", []jit.Change{removed(a)})[0] },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
			t.Errorf("%s took %s: %v", name, took, err)
		}
	}
}

// A token that stands in the kubeconfig is renewed while the program runs; the cluster stays the one it began with.
func TestATokenInTheKubeconfigIsRenewed(t *testing.T) {
	s := fakeSite(t)
	path, url := filepath.Join(t.TempDir(), "kubeconfig"), secure(t, s)
	p := s.openAs(t, Config{Kubeconfig: path}, time.Now)
	scopes := func() error { _, err := p.Scopes(t.Context()); return err }
	kubeconfig(t, path, url, "one", "token: old")
	if err := scopes(); err == nil || !strings.Contains(err.Error(), "have expired") {
		t.Errorf("with another token: %v", err)
	}
	kubeconfig(t, path, url, "one", "token: token-of-the-admin")
	if err := scopes(); err != nil {
		t.Errorf("with the new token: %v", err)
	}
	kubeconfig(t, path, url, "two", "token: token-of-the-admin")
	if err := scopes(); err != nil {
		t.Errorf("after somebody chose another current context: %v", err)
	}
	kubeconfig(t, path, "https://127.0.0.1:1/other", "one", "token: token-of-the-admin")
	wantTold(t, scopes(), "kubeconfig", "another cluster")
}

// A kubeconfig that is emptied, removed or half written while the program runs does not keep access from ending.
func TestAKubeconfigThatGoesAwayStopsNoRevocation(t *testing.T) {
	s := fakeSite(t)
	path, url := filepath.Join(t.TempDir(), "kubeconfig"), secure(t, s)
	p := s.openAs(t, Config{Kubeconfig: path}, time.Now)
	kubeconfig(t, path, url, "one", "token: token-of-the-admin")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := s.access("namespaces/"+s.namespace, "user:"+s.name+"-alice", "ClusterRole/"+s.role(0), "x")
	for name, spoil := range map[string]func() error{
		"emptied":      func() error { return os.WriteFile(path, nil, 0o600) },
		"half written": func() error { return os.WriteFile(path, whole[:len(whole)/2], 0o600) },
		"removed":      func() error { return os.Remove(path) },
	} {
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		apply(t, p, ensured(a))
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(t.Context(), a.Binding.Scope, []jit.Change{held(removed(a))})[0]; err != nil ||
			s.allowed(t, a.Binding) {
			t.Errorf("%s: the grant does not end: %v", name, err)
		}
	}
}
