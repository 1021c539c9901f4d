package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// The data sources show facts that the resource does not have.
func TestDataSources(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, policy("all", `max_session_tail = null`), grant("a", "policy = jit_policy.all.name"), grant("b", fmt.Sprintf("principal = %q", bob), `ttl = "1h"`, "policy = jit_policy.all.name"), `
data "jit_grants" "active" {
  state      = "active"
  depends_on = [jit_grant.a, jit_grant.b]
}
data "jit_grant_status" "a" {
  id         = jit_grant.a.id
  depends_on = [jit_grant.a]
}
data "jit_policy" "all" {
  name = jit_policy.all.name
}
output "told" {
  value = "${join(",", sort(data.jit_grants.active.grants[*].principal))} ${data.jit_grant_status.a.state} ${data.jit_grant_status.a.expires_at} ${data.jit_policy.all.effect}"
}
`)
		w.Apply()
		w.Apply()
		told := func() string { return strings.TrimSpace(w.Must("output", "-raw", "told").Stdout) }
		if got, want := told(), alice+","+bob+" active 2026-11-23T11:00:00Z permit"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.Clock.Advance(90 * time.Minute)
		w.Apply()
		if got, want := told(), alice+" active 2026-11-23T11:00:00Z permit"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.Clock.Advance(90 * time.Minute)
		w.Apply()
		if got, want := told(), " expired 2026-11-23T11:00:00Z permit"; strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		w.Write("extra.tf", "data \"jit_grants\" \"odd\" {\n  state = \"alive\"\n}\ndata \"jit_grant_status\" \"odd\" {\n  id = \"3f2b8c1e-0000-8000-8000-000000000000\"\n}\ndata \"jit_policy\" \"odd\" {\n  name = \"nobody\"\n}\n")
		says(t, w.Run("plan"), `"alive" is not a state`, "The ledger has no grant 3f2b8c1e",
			`The ledger has no policy "nobody"`)
	})
}

// The data source lists access that no grant explains, without the access that a baseline accepts.
func TestStandingAccessData(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		w.Write("authorized_keys", bob+" by hand\n")
		data := func(lines string) string {
			return "data \"jit_standing_access\" \"all\" {\n  " + lines +
				"\n  depends_on = [jit_grant.a]\n}\noutput \"told\" {\n  value = join(\",\", [for f in data.jit_standing_access.all.findings : \"${f.severity} ${f.principal} ${f.detail} ${coalesce(f.shadows, \"-\")}\"])\n}\n"
		}
		configure(w, grant("a"), data(`target = "host"`))
		w.Apply()
		told := func() string {
			w.Apply()
			return strings.TrimSpace(w.Must("output", "-raw", "told").Stdout)
		}
		if got, want := told(), "info "+bob+" line 1 -"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		w.Write("authorized_keys", w.Read("authorized_keys")+alice+" promoted\n")
		id := fmt.Sprint(w.State()["jit_grant.a"]["id"])
		if got := told(); !strings.HasPrefix(got, "critical "+alice+" line") ||
			!strings.Contains(got, " "+id+",info "+bob) {
			t.Errorf("got %q, want a first finding that shadows grant %s", got, id)
		}
		w.Write("accepted.hcl", fmt.Sprintf("accept {\n  target = \"host\"\n  scope = %q\n  principal = %q\n  role = \"login\"\n  until = %q\n  reason = \"CHG-7: break-glass\"\n}\n",
			w.State()["jit_grant.a"]["scope"], bob, w.Clock.Now().Add(24*time.Hour).Format(time.RFC3339)))
		configure(w, grant("a"), data(fmt.Sprintf("baseline = %q", w.Path("accepted.hcl"))))
		if got := told(); strings.Contains(got, bob) || !strings.Contains(got, alice) {
			t.Errorf("with a baseline got %q, want only findings that it does not accept", got)
		}
		configure(w, grant("a"), data(`target = "nowhere"`))
		says(t, w.Run("plan"), `"nowhere" is not one of the configured targets`)
		// A selection of nothing, or a missing baseline, must not look like a clean result.
		for lines, want := range map[string]string{
			`target = ""`:             `"" is not one of the configured targets`,
			`scope = ""`:              `"" is not one of the scopes`,
			`scope = "/home/nobody"`:  `"/home/nobody" is not one of the scopes`,
			`baseline = ""`:           `There is no file ""`,
			`baseline = "absent.hcl"`: `There is no file "absent.hcl"`,
		} {
			configure(w, grant("a"), data(lines))
			if r := w.Plan(); r.ExitCode != 1 {
				t.Errorf("a plan with %s: exit code %d", lines, r.ExitCode)
			} else {
				says(t, r, want)
			}
		}
	})
}
