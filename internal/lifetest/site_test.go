package lifetest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// site is a workspace for grants on one place.
type site struct {
	*acctest.World
	place
	t *testing.T
	// binary is the path of the provider; jit is beside it.
	binary string
	// ledger and owner are settings of the same names; an empty ledger is left out. Each site has its own owner,
	// because sites share servers and must not sweep each other's grants.
	ledger, owner string
	// serves, if set, is the one owner that the site's sweeps serve.
	serves string
	// who is the default principal of the grants.
	who string
}

// newSite makes a workspace. build is released or killable.
func newSite(t *testing.T, cli testenv.CLI, p place, build func() (string, error)) *site {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return &site{World: acctest.New(t, cli, acctest.Options{Binary: binary, Env: environment(p)}), place: p, t: t,
		binary: binary, owner: "life-" + strings.ToLower(rand.Text()[:10]), who: p.people(t, 1)[0]}
}

// configure writes main.tf with the resources and jit.hcl with the same settings.
func (s *site) configure(resources ...string) {
	s.t.Helper()
	settings := fmt.Sprintf("  targets = { here = %s }\n", s.target())
	for name, value := range map[string]string{"ledger": s.ledger, "owner": s.owner} {
		if value != "" {
			settings += fmt.Sprintf("  %s = %q\n", name, value)
		}
	}
	served := ""
	if s.serves != "" {
		served = fmt.Sprintf("  owners = [%q]\n", s.serves)
	}
	s.Write("jit.hcl", settings+served)
	s.Write("main.tf", "terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n  }\n}\n"+
		"provider \"jit\" {\n"+settings+"}\n"+strings.Join(resources, "\n"))
}

// grant returns the block of jit_grant.<name>, by default for who and one hour. A line replaces the line of the same
// attribute, and "ttl =" alone removes it.
func (s *site) grant(name string, lines ...string) string {
	attributes := []string{`target = "here"`, fmt.Sprintf("principal = %q", s.who), fmt.Sprintf("role = %q", s.role()),
		fmt.Sprintf("scope = %q", s.scope()), fmt.Sprintf("reason = %q", "INC-1: "+name), `ttl = "1h"`}
	for _, line := range lines {
		attribute, value, assigned := strings.Cut(line, "=")
		for i, a := range attributes {
			if assigned && strings.HasPrefix(a, strings.TrimSpace(attribute)+" =") {
				attributes[i] = ""
			}
		}
		if strings.TrimSpace(value) != "" || !assigned {
			attributes = append(attributes, line)
		}
	}
	return fmt.Sprintf("resource \"jit_grant\" %q {\n  %s\n}\n", name, strings.Join(attributes, "\n  "))
}

// fact returns an attribute of jit_grant.<name> in the state.
func (s *site) fact(name, attribute string) string {
	s.t.Helper()
	values, ok := s.State()["jit_grant."+name]
	if !ok {
		s.t.Fatalf("jit_grant.%s is not in the state", name)
	}
	return fmt.Sprint(values[attribute])
}

// waitFor waits until one second after the time in an attribute of jit_grant.<name>.
func (s *site) waitFor(name, attribute string) {
	s.t.Helper()
	at, err := time.Parse(time.RFC3339, s.fact(name, attribute))
	if err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Until(at.Add(1100 * time.Millisecond)))
}

// unchanged fails the test unless every kind of plan is empty.
func (s *site) unchanged(when string) {
	s.t.Helper()
	for _, args := range [][]string{nil, {"-refresh-only"}, {"-refresh=false"}} {
		if r := s.Plan(args...); r.ExitCode != 0 {
			s.t.Errorf("%s: plan %v: exit code %d, want 0\n%s", when, args, r.ExitCode, r.Text())
		}
	}
}

// may is [may] for the site's person.
func (s *site) may(want bool, when string) {
	s.t.Helper()
	may(s.t, s.place, s.who, want, when)
}

// jit runs the command beside the workspace, with env in its environment.
func (s *site) jit(env []string, args ...string) acctest.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(s.binary), "jit"), args...)
	cmd.Dir = s.Dir
	cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, noLag}, environment(s.place), env)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("jit %s: %v", strings.Join(args, " "), err)
	}
	return acctest.Result{ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// mustJit is jit for commands that must end with exit code 0.
func (s *site) mustJit(args ...string) acctest.Result {
	s.t.Helper()
	r := s.jit(nil, args...)
	if r.ExitCode != 0 {
		s.t.Fatalf("jit %s: exit code %d\n%s%s", strings.Join(args, " "), r.ExitCode, r.Stdout, r.Stderr)
	}
	return r
}

// gone fails the test unless no binding of ours is left and foreign access is unchanged.
func (s *site) gone(foreign, when string) {
	s.t.Helper()
	if n := s.marked(s.t); n != 0 {
		s.t.Errorf("%s: %d bindings of ours are left\n%s", when, n, s.dump(s.t))
	}
	same(s.t, foreign, s.foreign(s.t), when+": foreign access is")
	if h, ok := s.place.(*host); ok {
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(h.file), ".*.jit-*")); err != nil || len(left) != 0 {
			s.t.Errorf("%s: files are left behind: %q, %v", when, left, err)
		}
	}
}

// says fails the test unless the output has every part.
func says(t *testing.T, r acctest.Result, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(r.Text(), part) {
			t.Errorf("the output does not say %q:\n%s", part, r.Text())
		}
	}
}

// silent fails the test if the output has the part.
func silent(t *testing.T, r acctest.Result, part string) {
	t.Helper()
	if strings.Contains(r.Text(), part) {
		t.Errorf("the output says %q:\n%s", part, r.Text())
	}
}

// saysFolded is [says] without regard to case.
func saysFolded(t *testing.T, r acctest.Result, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(strings.ToLower(r.Text()), strings.ToLower(part)) {
			t.Errorf("the output does not say %q:\n%s", part, r.Text())
		}
	}
}
