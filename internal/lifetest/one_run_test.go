package lifetest_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// oneRun is the ephemeral grant of a run, and a resource that needs it: it makes the file "during" and waits for the
// file "go", at most two minutes. It fails if the file "fails" exists.
func (s *site) oneRun(n int) string {
	grant := strings.Replace(s.grant("run", `ttl = "2m"`, "applying = terraform.applying"), "resource", "ephemeral", 1)
	return grant + fmt.Sprintf(`
resource "terraform_data" "work" {
  triggers_replace = %d
  provisioner "local-exec" {
    environment = { GRANT = ephemeral.jit_grant.run.id }
    command     = <<-EOT
      touch during; i=0; while [ ! -e go ] && [ $i -lt 1200 ]; do sleep 0.1; i=$((i+1)); done; [ ! -e fails ]
    EOT
  }
}
`, n)
}

// during applies, and calls work while the run has its access. It returns the outcome.
func (s *site) during(work func(p *acctest.Process)) acctest.Result {
	s.t.Helper()
	for _, file := range []string{"during", "go"} {
		if err := os.Remove(s.Path(file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	p := s.Start("apply", "-auto-approve")
	deadline := time.Now().Add(2 * time.Minute)
	for {
		if _, err := os.Stat(s.Path("during")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			p.Signal(os.Kill)
			s.t.Fatalf("the run does not begin its work:\n%s", p.Wait().Text())
		}
		time.Sleep(50 * time.Millisecond)
	}
	work(p)
	s.Write("go", "")
	return p.Wait()
}

// A run has access while it works and not longer, also after Ctrl-C. After a kill, the access is gone at its end, with
// the help of a sweep where the platform does not end it.
func TestAccessForOneRun(t *testing.T) {
	t.Parallel()
	for _, p := range places[:3] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testenv.NewestTerraform(t), p.open(t), released)
			foreign := s.foreign(t)
			s.configure(s.oneRun(1))
			before := s.dump(t)
			if r := s.Plan(); r.ExitCode != 2 {
				t.Fatalf("the plan: exit code %d\n%s", r.ExitCode, r.Text())
			}
			same(t, before, s.dump(t), "the plan wrote")
			r := s.during(func(*acctest.Process) { s.may(true, "during the run") })
			if r.ExitCode != 0 {
				t.Errorf("the run: exit code %d\n%s", r.ExitCode, r.Text())
			}
			s.may(false, "after the run")
			s.gone(foreign, "after the run")

			s.configure(s.oneRun(2))
			s.Write("fails", "")
			if r = s.during(func(*acctest.Process) {}); r.ExitCode != 1 {
				t.Errorf("the run that fails: exit code %d\n%s", r.ExitCode, r.Text())
			}
			s.may(false, "after the run that fails")
			s.gone(foreign, "after the run that fails")

			r = s.during(func(p *acctest.Process) {
				s.may(true, "before Ctrl-C")
				p.Signal(os.Interrupt)
			})
			if r.ExitCode != 1 {
				t.Errorf("after Ctrl-C: exit code %d\n%s", r.ExitCode, r.Text())
			}
			s.may(false, "after Ctrl-C")
			s.gone(foreign, "after Ctrl-C")

			s.during(func(p *acctest.Process) { p.Signal(os.Kill) })
			killed := time.Now()
			s.may(true, "after the kill")
			time.Sleep(time.Until(killed.Add(2*time.Minute + time.Second))) // its ttl
			s.may(!s.native(), "after its end, with nothing running")
			s.mustJit("sweep")
			s.may(false, "after the sweep")
			s.gone(foreign, "after the sweep")
			says(t, s.mustJit("audit", "verify"), "intact")
		})
	}
}

// One apply works on a cluster that it reaches with its own ephemeral access: a second provider block has the
// credentials of the pipeline, which may do nothing before and afterwards.
func TestClusterReachedWithAccessForOneRun(t *testing.T) {
	t.Parallel()
	c, ok := newCluster(t).(*cluster)
	if !ok {
		t.Fatal("the place is no cluster")
	}
	s := newSite(t, testenv.NewestTerraform(t), c, released)
	pipeline := "pipeline-" + c.namespace
	s.configure(fmt.Sprintf(`
ephemeral "jit_grant" "pipeline" {
  target    = "here"
  principal = "user:%s"
  role      = "ClusterRole/admin"
  scope     = %q
  reason    = "CHG-1: deploy"
  ttl       = "10m"
  applying  = terraform.applying
}

provider "jit" {
  alias   = "pipeline"
  owner   = "%[3]s-pipeline"
  targets = { here = { kubernetes = { kubeconfig = %[4]q } } }
}

resource "jit_grant" "app" {
  provider   = jit.pipeline
  target     = "here"
  principal  = %[5]q
  role       = "ClusterRole/view"
  scope      = %[2]q
  reason     = "CHG-1: watch the deployment"
  ttl        = "1h"
  depends_on = [ephemeral.jit_grant.pipeline]
}
`, pipeline, c.scope(), s.owner, c.server.UserKubeconfig(t, pipeline), s.who))
	s.may(false, "before everything")
	s.Apply()
	s.may(true, "after the apply")
	for _, b := range c.bindings(t, true) {
		for _, subject := range b.Subjects {
			if subject.Name == pipeline {
				t.Errorf("the pipeline keeps its access: %+v", b)
			}
		}
	}
	if n := c.marked(t); n != 1 {
		t.Errorf("%d bindings are left, want the one of the resource", n)
	}
}
