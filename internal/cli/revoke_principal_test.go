package cli

import (
	"fmt"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
)

// revokeFrom runs jit revoke --yes --principal with further arguments.
func (w *world) revokeFrom(principal string, args ...string) result {
	w.t.Helper()
	return w.run(append(append([]string{"revoke", "--yes", "--reason", "HR-7: left", "--principal"}, principal),
		args...)...)
}

// A principal without records has nothing to end. That is success, so that an off-boarding script does not fail.
func TestRevokeOfAPrincipalWithoutGrants(t *testing.T) {
	w := newWorld(t)
	nobody := w.key()
	g := w.grant("INC-1: a", "1h")
	w.revokeFrom(nobody).wantCode(exitDone).wantOut("No grant of "+nobody).
		wantErr("note: --principal: no grant in the ledger is to", nobody)
	var none []outcome
	w.revokeFrom(nobody, "--json").wantCode(exitDone).decode(&none)
	if none == nil || len(none) != 0 {
		t.Errorf("JSON = %#v, want an empty array", none)
	}
	w.revokeFrom(nobody, "--target", "bastion").wantCode(exitDone).wantOut("No grant of " + nobody)
	w.wantAccess(g, true)
}

// A text that cannot be a principal is a mistake and must not look like success.
func TestRevokeOfWhatCannotBeAPrincipal(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	typo := g.Principal[1:]
	w.revokeFrom(typo).wantCode(exitUnknown).wantNotOut("No grant").
		wantErr("no grant in the ledger is to", "did you mean "+g.Principal)
	for _, target := range []string{"bastoin", "prod*"} {
		w.revokeFrom(w.key(), "--target", target).wantCode(exitUnknown).wantNotOut("No grant").
			wantErr("--target: no target matches")
	}
	w.wantAccess(g, true)
}

// Without a ledger, jit may be in the wrong directory, so no principal counts as one without grants.
func TestRevokeOfAPrincipalWithoutALedger(t *testing.T) {
	w := newWorld(t)
	nobody := w.key()
	w.revokeFrom(nobody).wantCode(exitUnknown).wantNotOut("No grant").
		wantErr("--principal: no grant is to", nobody, "there is no ledger yet")
	w.run("list", "--principal", nobody).wantCode(exitUnknown).wantErr("there is no ledger yet")
}

// The comment in a public key file is not part of the principal.
func TestRevokeByTheKeyWithAComment(t *testing.T) {
	w := newWorld(t)
	g, other := w.grant("INC-1: a", "1h"), w.grant("INC-2: b", "1h")
	file := g.Principal + " alice@laptop"
	w.run("list", "--principal", file).wantCode(exitDone).wantOut(string(g.ID)).wantNotOut(string(other.ID))
	w.run("report", "--principal", file, "-o", "-").wantCode(exitDone).wantOut(string(g.ID)).
		wantNotOut(string(other.ID))
	w.revokeFrom(file).wantCode(exitDone).wantOut(string(g.ID), "revoked").wantNotOut(string(other.ID))
	w.wantAccess(g, false)
	w.wantAccess(other, true)
}

// With the ledger unreadable, grants are found by the canonical principal in the markers.
func TestRevokeByTheKeyWithACommentWithoutALedger(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	unreadableLedger(w)
	w.revokeFrom(g.Principal + " alice@laptop").wantCode(exitNotDone).wantOut("unrecorded")
	w.wantAccess(g, false)
}

// checked is a target in memory with the checks of a real one.
type checked struct {
	*jittest.Platform
	real jit.Platform
}

func (c checked) Check(b jit.Binding) (jit.Binding, jit.Traits, error) { return c.real.Check(b) }

// grantOnPaper makes a grant on the configured target, which from then on is in memory only.
func (w *world) grantOnPaper(b jit.Binding) jit.Grant {
	w.t.Helper()
	memory := &jittest.Platform{Now: w.options().Now}
	w.wrap = func(name string, real jit.Platform) jit.Platform {
		if name != b.Target {
			return real
		}
		return checked{memory, real}
	}
	s, err := config.Load("")
	if err != nil {
		w.t.Fatal(err)
	}
	rt, err := config.Open(w.t.Context(), s, config.Options{Now: w.options().Now, Wrap: w.wrap})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = rt.Close() }()
	g, err := rt.Broker.Grant(w.t.Context(), broker.Request{
		Binding: b, Reason: "INC-1: a", Renewal: 1, TTL: jit.RecordedTTL("1h"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

const (
	gcpTarget        = "{ gcp = {} }"
	azureTarget      = "{ azure = {} }"
	kubernetesTarget = "{ kubernetes = {} }"
	postgresqlTarget = `{ postgresql = { url = "postgres://admin@localhost/postgres" } }`
)

// configure writes a jit.hcl with the targets a and b.
func (w *world) configure(a, b string) {
	w.t.Helper()
	w.write("jit.hcl", fmt.Sprintf("ledger = \"sqlite://ledger.db\"\ntargets = {\n  a = %s\n  b = %s\n}\n", a, b))
}

// Every spelling of a principal that a target accepts selects its grants, also beside a target that accepts any text.
func TestRevokeByAnySpelling(t *testing.T) {
	for name, tt := range map[string]struct {
		target, spelling string
		binding          jit.Binding
	}{
		"gcp": {gcpTarget, "user:Mallory@Example.com", jit.Binding{
			Principal: "user:mallory@example.com", Role: "roles/viewer", Scope: "projects/payments-prod"}},
		"azure": {azureTarget, "user:3F2B8C1E-0000-4000-8000-00000000ABCD", jit.Binding{
			Principal: "user:3f2b8c1e-0000-4000-8000-00000000abcd", Role: "Reader",
			Scope: "/subscriptions/3f2b8c1e-0000-4000-8000-000000000000"}},
		"kubernetes": {kubernetesTarget, "user:system:serviceaccount:payments:deployer", jit.Binding{
			Principal: "serviceaccount:payments/deployer", Role: "ClusterRole/view", Scope: "cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.configure(tt.target, postgresqlTarget)
			tt.binding.Target = "a"
			g := w.grantOnPaper(tt.binding)
			if g.Principal == tt.spelling {
				t.Fatalf("%q is canonical", tt.spelling)
			}
			w.run("list", "--principal", tt.spelling).wantCode(exitDone).wantOut(string(g.ID))
			w.revokeFrom(tt.spelling).wantCode(exitDone).wantOut(string(g.ID), "revoked")
			w.run("list", "--principal", tt.spelling).wantCode(exitDone).wantNotOut(string(g.ID))
		})
	}
}

// Only the targets of --target decide whether a text can be a principal.
func TestRevokeAsksTheSelectedTargetsOnly(t *testing.T) {
	w := newWorld(t)
	w.configure(fmt.Sprintf("{ ssh = { authorized_keys = %q } }", w.keys), postgresqlTarget)
	w.grantOnPaper(jit.Binding{Target: "b", Principal: "mallory", Role: "payments_read"})
	for _, target := range []string{"a", "[a]"} {
		w.revokeFrom("somebody", "--target", target).wantCode(exitUnknown).wantNotOut("No grant").
			wantErr(`--principal: no grant in the ledger is to "somebody"`)
	}
	w.revokeFrom("somebody", "--target", "b").wantCode(exitDone).wantOut("No grant of somebody")
	w.revokeFrom("somebody").wantCode(exitDone).wantOut("No grant of somebody")
}

// A PostgreSQL target accepts nearly any text. A text that resembles a recorded principal is then a typo.
func TestRevokeRefusesATypo(t *testing.T) {
	w := newWorld(t)
	w.configure(gcpTarget, postgresqlTarget)
	g := w.grantOnPaper(jit.Binding{Target: "a", Principal: "user:mallory@example.com", Role: "roles/viewer",
		Scope: "projects/payments-prod"})
	for _, typo := range []string{
		"user:malory@example.com", "user:mallory", "mallory@example.com", "Malory@example.com",
		"user:mallory@example.com (left)", "user:mallory@example.com ",
	} {
		w.revokeFrom(typo).wantCode(exitUnknown).wantNotOut("No grant").wantErr("did you mean " + g.Principal)
	}
	// On a target without such a record, the role mallory@example.com is somebody else.
	w.revokeFrom("mallory@example.com", "--target", "b").wantCode(exitDone).wantOut("No grant of mallory@example.com")
	w.revokeFrom("eve").wantCode(exitDone).wantOut("No grant of eve")
	w.run("list", "--principal", g.Principal).wantCode(exitDone).wantOut(string(g.ID))
}

// An empty name, for example of an unset variable, does not select everybody.
func TestRevokeOfAnEmptyVariable(t *testing.T) {
	w := newWorld(t)
	g := w.grant("INC-1: a", "1h")
	for _, args := range [][]string{{"--target", "bastion", "--principal", ""}, {"--target", ""}} {
		w.run(append([]string{"revoke", "--yes", "--reason", "left"}, args...)...).wantCode(exitUsage).
			wantErr("it is empty; leave the flag out to select all")
	}
	w.run("show", string(g.ID)).wantCode(exitDone).wantOut("active")
}
