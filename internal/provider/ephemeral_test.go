package provider_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// eachOfAll is [each] with the newest command line too, where the tests against real servers are turned on.
func eachOfAll(t *testing.T, test func(t *testing.T, w *acctest.World)) {
	t.Parallel()
	for _, cli := range testenv.AllTerraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			w := acctest.New(t, cli, acctest.Options{})
			w.Write("authorized_keys", foreign)
			test(t, w)
		})
	}
}

// deploy is a run whose own access is ephemeral. The resource copies what the target gives while it is made, and then
// waits for the file "go", at most a minute.
func deploy(n int, lines ...string) string {
	return fmt.Sprintf(`
ephemeral "jit_grant" "deploy" {
  target    = "host"
  principal = %q
  role      = "login"
  reason    = "CHG-1: deploy"
  ttl       = "10m"
  %s
}

resource "terraform_data" "deployed" {
  input = %d
  triggers_replace = %[3]d
  provisioner "local-exec" {
    environment = { GRANT = ephemeral.jit_grant.deploy.id }
    command     = <<-EOT
      cp authorized_keys during.part && mv during.part during
      i=0; while [ ! -e go ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
    EOT
  }
}
`, alice, strings.Join(lines, "\n  "), n)
}

const applying = "applying = terraform.applying"

// eventually waits until a file of the workspace exists.
func eventually(t *testing.T, w *acctest.World, name string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(w.Path(name)); err == nil {
			return
		} else if !errors.Is(err, os.ErrNotExist) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// opened returns the records, and fails the test unless there are so many.
func opened(t *testing.T, w *acctest.World, n int) (all []jit.Grant) {
	t.Helper()
	for g, err := range w.Runtime().Ledger.Grants(t.Context(), jit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	if len(all) != n {
		t.Fatalf("%d grants are recorded, want %d: %+v", len(all), n, all)
	}
	return all
}

// A run has its own access while it works and not longer; a plan has none. Nothing of it is in state or plan.
func TestEphemeralGrantForOneRun(t *testing.T) {
	eachOfAll(t, func(t *testing.T, w *acctest.World) {
		w.Write("go", "")
		configure(w, deploy(1, applying))
		r := w.Plan("-out=plan")
		if r.ExitCode != 2 || w.Calls.Count().Writes != 0 || lines(w) != 0 {
			t.Fatalf("the plan: exit code %d, %+v\n%s", r.ExitCode, w.Calls.Count(), r.Text())
		}
		opened(t, w, 0)
		w.Must("apply", "plan")
		if !strings.Contains(w.Read("during"), " jit:") || w.Read("authorized_keys") != foreign {
			t.Errorf("during the run:\n%s\nafter it:\n%s", w.Read("during"), w.Read("authorized_keys"))
		}
		g := opened(t, w, 1)[0]
		if g.RevokeReason == "" || g.EndedAt.IsZero() {
			t.Errorf("the record is %+v", g)
		}
		for _, text := range []string{w.Read("terraform.tfstate"), w.Must("show", "-json", "plan").Stdout} {
			if strings.Contains(text, string(g.ID)) {
				t.Errorf("the grant is written down:\n%s", text)
			}
		}
		w.Calls.Reset()
		if r := w.Plan(); r.ExitCode != 0 || w.Calls.Count().Writes != 0 {
			t.Errorf("the next plan: exit code %d, %+v\n%s", r.ExitCode, w.Calls.Count(), r.Text())
		}
		configure(w, deploy(2, applying))
		w.Apply() // plans first, and grants once
		if got := w.Calls.Count(); got.Ensures != 1 || got.Removes != 1 || lines(w) != 0 {
			t.Errorf("the second run: %+v\n%s", got, w.Read("authorized_keys"))
		}
		if all := opened(t, w, 2); all[0].Renewal+all[1].Renewal != 3 {
			t.Errorf("the records are %+v", all)
		}
	})
}

// After Ctrl-C nothing is left. After a kill, the target's own end holds, and a sweep cleans up.
func TestEphemeralGrantOfARunThatIsStopped(t *testing.T) {
	eachOfAll(t, func(t *testing.T, w *acctest.World) {
		configure(w, deploy(1, applying))
		p := w.Start("apply", "-auto-approve")
		eventually(t, w, "during")
		p.Signal(os.Interrupt)
		if r := p.Wait(); r.ExitCode != 1 || w.Read("authorized_keys") != foreign {
			t.Errorf("after Ctrl-C: exit code %d\n%s\n%s", r.ExitCode, w.Read("authorized_keys"), r.Text())
		}
		opened(t, w, 1)

		if err := os.Remove(w.Path("during")); err != nil {
			t.Fatal(err)
		}
		p = w.Start("apply", "-auto-approve", "-lock=false")
		eventually(t, w, "during")
		p.Signal(os.Kill)
		p.Wait()
		w.Write("go", "")
		end := w.Clock.Now().Add(10*time.Minute - time.Second) // the last second, included
		if want := fmt.Sprintf("expiry-time=%q", end.Format("20060102150405Z")); lines(w) != 1 ||
			!strings.Contains(w.Read("authorized_keys"), want) {
			t.Errorf("after the kill, want %s:\n%s", want, w.Read("authorized_keys"))
		}
		w.Clock.Advance(11 * time.Minute)
		s := sweeper.Sweeper{Broker: w.Runtime().Broker, Holder: t.Name()}
		if report := s.Pass(t.Context()); report.Failed()+len(report.Unread) > 0 || w.Read("authorized_keys") != foreign {
			t.Errorf("after the sweep: %+v\n%s", report, w.Read("authorized_keys"))
		}
		for _, g := range opened(t, w, 2) {
			if g.EndedAt.IsZero() {
				t.Errorf("not recorded as ended: %+v", g)
			}
		}
	})
}

// Access of which the run does not know whether it was given is taken back, or the error says how.
func TestEphemeralGrantWithALostAnswer(t *testing.T) {
	eachOfAll(t, func(t *testing.T, w *acctest.World) {
		w.Write("go", "")
		configure(w, deploy(1, applying))
		w.Plan()
		w.Calls.Lose(errors.New("the connection broke"))
		r := w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 || lines(w) != 1 {
			t.Fatalf("exit code %d\n%s\n%s", r.ExitCode, w.Read("authorized_keys"), r.Text())
		}
		says(t, r, "Cannot grant", "Cannot end the access", "`jit revoke "+string(opened(t, w, 1)[0].ID))
		if _, err := os.Stat(w.Path("during")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the run went on: %v", err)
		}
		w.Calls.Fail(nil)
		s := sweeper.Sweeper{Broker: w.Runtime().Broker, Holder: t.Name()}
		if report := s.Pass(t.Context()); report.Failed() > 0 || w.Read("authorized_keys") != foreign {
			t.Errorf("after the sweep: %+v\n%s", report, w.Read("authorized_keys"))
		}
	})
}
