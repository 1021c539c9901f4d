package bench_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// rounds is how often each side runs each command.
const rounds = 3

// peers are the providers that a user would pick instead. This project does not ship them: a row is measured if the
// variable names the binary.
var peers = []struct {
	name, source, variable string
	// sides returns the configurations that do the same, ours and the peer's.
	sides func(testing.TB) (ours, theirs string)
}{
	{"postgresql_grant_role", "cyrilgdn/postgresql", "JIT_BENCH_POSTGRESQL", postgresqlSides},
	{"kubernetes_role_binding_v1", "hashicorp/kubernetes", "JIT_BENCH_KUBERNETES", kubernetesSides},
}

// BenchmarkPeers measures the rows of the peers alone.
func BenchmarkPeers(b *testing.B) {
	t := &table{b: b}
	for b.Loop() {
		t.peers(testenv.Terraforms(b)[0])
	}
	t.print()
}

// peers times apply, plan and destroy of 1,000 beside the peers.
func (t *table) peers(cli testenv.CLI) {
	us := acctest.Build(t.b)
	for _, backend := range []struct {
		name string
		goal float64
	}{{"http", 1.0}, {"local", 1.3}} {
		for _, p := range peers {
			binary := os.Getenv(p.variable)
			if binary == "" {
				t.unmeasured(fmt.Sprintf("apply, plan, destroy of 1,000 beside %s, %s state", p.name, backend.name),
					backend.goal,
					"set "+p.variable+" to the provider's binary")
				continue
			}
			ours, theirs := p.sides(t.b)
			t.beside(p.name, backend.name, backend.goal,
				newSide(t.b, cli, "jitaccess/jit", us, ours, backend.name),
				newSide(t.b, cli, p.source, binary, theirs, backend.name))
		}
	}
}

// beside runs each command on both sides in turn, in rounds whose order alternates, and compares the medians.
func (t *table) beside(peer, backend string, goal float64, ours, theirs *side) {
	for round := range rounds {
		order := []*side{ours, theirs}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, command := range commands {
			for _, s := range order {
				s.run(command, round+1)
			}
		}
	}
	for _, command := range commands {
		t.ratio(fmt.Sprintf("%s of 1,000 beside %s, %s state", command, peer, backend),
			median(ours.took[command]), median(theirs.took[command]), goal)
	}
}

var commands = []string{"apply", "plan", "destroy"}

func median(of []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(of))[len(of)/2]
}

// side is one provider in a workspace of its own.
type side struct {
	*acctest.World
	took map[string][]time.Duration
}

// run runs a command. Each round renews the grants, because an ended grant does not come back.
func (s *side) run(command string, round int) {
	args := []string{command}
	if command != "plan" {
		args = append(args, "-auto-approve")
	}
	began := time.Now()
	r := s.RunWith([]string{fmt.Sprint("TF_VAR_round=", round)}, args...)
	if s.took[command] = append(s.took[command], time.Since(began)); r.ExitCode != 0 {
		panic(r.Stdout + r.Stderr)
	}
}

// newSide initializes a workspace that installs the provider from a directory.
func newSide(b *testing.B, cli testenv.CLI, source, binary, config, backend string) *side {
	mirror := b.TempDir()
	dir := filepath.Join(mirror, "registry.terraform.io", source, "9.9.9", runtime.GOOS+"_"+runtime.GOARCH)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	binary, err := filepath.Abs(binary)
	if err == nil {
		err = os.Symlink(binary, filepath.Join(dir, "terraform-provider-"+filepath.Base(source)))
	}
	rc := filepath.Join(b.TempDir(), "cli.tfrc")
	if err == nil {
		err = os.WriteFile(rc, fmt.Appendf(nil, "provider_installation {\n  filesystem_mirror { path = %q }\n}\n",
			mirror), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	w := acctest.New(b, cli, acctest.Options{Binary: binary, Env: []string{"TF_CLI_CONFIG_FILE=" + rc}})
	if backend == "http" {
		config += fmt.Sprintf("terraform {\n  backend \"http\" { address = %q }\n}\n", stateServer(b))
	}
	w.Write("main.tf", fmt.Sprintf("terraform {\n  required_providers {\n    %s = { source = %q }\n  }\n}\n",
		filepath.Base(source), source)+config)
	w.Must("init")
	return &side{w, map[string][]time.Duration{}}
}

// stateServer stores one state for the http backend and returns its address.
func stateServer(b *testing.B) string {
	var mu sync.Mutex
	var state []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method {
		case http.MethodGet:
			if state == nil {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write(state) // the client notices
		case http.MethodDelete:
			state = nil
		default:
			state, _ = io.ReadAll(r.Body)
		}
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// postgresqlSides grants one role to 1,000 users.
func postgresqlSides(b testing.TB) (ours, theirs string) {
	server := testenv.Postgres(b)
	admin, err := pgx.Connect(b.Context(), server.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = admin.Close(b.Context()) }()
	prefix := fmt.Sprint("bench", time.Now().UnixNano(), "_")
	_, err = admin.Exec(b.Context(), fmt.Sprintf(`DO $$ BEGIN
	CREATE ROLE %[1]sreports NOLOGIN;
	FOR i IN 0..%[2]d LOOP EXECUTE format('CREATE ROLE %[1]s%%s LOGIN', i); END LOOP;
END $$`, prefix, grants-1))
	if err != nil {
		b.Fatal(err)
	}
	ours = fmt.Sprintf(`
variable "round" { default = 1 }
provider "jit" {
  targets = { db = { postgresql = { url = %q } } }
}
resource "jit_grant" "all" {
  count     = %d
  target    = "db"
  principal = "%s${count.index}"
  role      = "%[3]sreports"
  reason    = "INC-${count.index}: measure"
  renewal   = var.round
  ttl       = "2h"
}
`, server.URL, grants, prefix)
	theirs = fmt.Sprintf(`
provider "postgresql" {
  host     = %q
  port     = %d
  username = %q
  password = %q
  sslmode  = "disable"
}
resource "postgresql_grant_role" "all" {
  count      = %d
  role       = "%s${count.index}"
  grant_role = "%[6]sreports"
}
`, server.Host, server.Port, server.User, server.Password, grants, prefix)
	return ours, theirs
}

// kubernetesSides binds a role to 1,000 users in one namespace.
func kubernetesSides(b testing.TB) (ours, theirs string) {
	server := testenv.Kubernetes(b)
	ours = fmt.Sprintf(`
variable "round" { default = 1 }
provider "jit" {
  targets = { cluster = { kubernetes = { kubeconfig = %q } } }
}
resource "jit_grant" "all" {
  count     = %d
  target    = "cluster"
  principal = "user:user-${count.index}@example.com"
  role      = "ClusterRole/view"
  scope     = "namespaces/default"
  reason    = "INC-${count.index}: measure"
  renewal   = var.round
  ttl       = "2h"
}
`, server.Kubeconfig, grants)
	theirs = fmt.Sprintf(`
provider "kubernetes" {
  config_path = %q
}
resource "kubernetes_role_binding_v1" "all" {
  count = %d
  metadata {
    name      = "peer-${count.index}"
    namespace = "default"
  }
  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "ClusterRole"
    name      = "view"
  }
  subject {
    kind      = "User"
    name      = "user-${count.index}@example.com"
    api_group = "rbac.authorization.k8s.io"
  }
}
`, server.Kubeconfig, grants)
	return ours, theirs
}
