package internal_test

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// A mistake in the input of a module fails the plan, which names what is wrong and where.
func TestModulesRefuse(t *testing.T) {
	const people = "people: [{ name: bob, accounts: { prod: \"user:bob@example.com\" } }]\n"
	const permissions = "permissions: [{ name: sql, targets: [prod], roles: [roles/cloudsql.client], people: [bob] }]\n"
	request := func(fields string) string {
		return "{ person: bob, permission: sql, ticket: INC-1, why: look, ttl: 1h" + fields + " }"
	}
	fromYAML := func(people, permissions, requests string) []string {
		return []string{"file = \"access.yaml\"\npolicy = \"from-yaml\"\n",
			people + permissions + "requests: [" + requests + "]\n"}
	}
	for name, test := range map[string]struct {
		module string
		files  []string // the arguments of the module, and access.yaml
		want   string
	}{
		"an unknown bundle": {"people-access", []string{`
			bundles = { shell = [{ target = "bastion", role = "login" }] }
			people  = { bob = { bundles = ["shell", "db"], principals = { bastion = "` + bobsKey + `" }, reason = "CHG-1" } }
		`}, `These bundles are not in the variable bundles: "db" of bob.`},
		"no principal": {"people-access", []string{`
			bundles = { shell = [{ target = "bastion", role = "login" }] }
			people  = { bob = { bundles = ["shell"], principals = { prod = "user:bob@example.com" }, reason = "CHG-1" } }
		`}, `principals of bob has no entry for the target "bastion".`},
		"no principal on call": {"on-call", []string{`
			rota     = "payments"
			shifts   = { day = { principals = {}, ends_at = "2026-11-23T18:00:00Z" } }
			accesses = { shell = { target = "bastion", role = "login" } }
		`}, `principals of the shift day has no entry for the target "bastion".`},
		"a misspelt list": {"break-glass", []string{`
			name       = "bastion"
			covers     = [{ targets = ["bastion"], principal = ["*"] }]
			approvers  = ["lea"]
			responders = ["bob"]
		`}, `An entry of covers has only the lists`},
		"an unknown person": {"from-yaml", fromYAML("people:\n", permissions, ""),
			`"bob" has no account on prod, which sql needs.`},
		"an unknown requester": {"from-yaml", fromYAML(people, permissions,
			strings.Replace(request(""), "bob", "eve", 1)), `"eve" has no account on prod.`},
		"an unknown permission": {"from-yaml", fromYAML(people, "permissions:\n", request("")),
			`bob asks for the permission "sql", which does not exist.`},
		"an unknown key": {"from-yaml", fromYAML(people, strings.Replace(permissions, "people",
			"scope: [projects/payments-prod], people", 1), ""), `An entry of permissions has the unknown key "scope".`},
		"the same request twice": {"from-yaml", fromYAML(people, permissions, request("")+", "+request("")),
			"bob, INC-1: look, roles/cloudsql.client on prod"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := moduleWorld(t, testenv.Terraforms(t)[0], test.module,
				"module \"this\" {\n  source = \"./modules/"+test.module+"\"\n"+test.files[0]+"}\n")
			for _, file := range test.files[1:] {
				w.Write("access.yaml", file)
			}
			if r := w.Plan(); r.ExitCode != 1 || !strings.Contains(unwrapped(r.Text()), test.want) {
				t.Errorf("the plan does not say %s (exit code %d)\n%s", test.want, r.ExitCode, r.Text())
			}
		})
	}
}

// unwrapped is the text without the line breaks and borders of a diagnostic.
func unwrapped(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n│", r) }), " ")
}

// What narrows the policy of break-glass arrives in it.
func TestBreakGlassCovers(t *testing.T) {
	t.Parallel()
	const covers = `[{ platforms = ["ssh"], owners = ["jit"], principals = ["ssh-ed25519 *"] }, { scopes = ["/home/*"] }]`
	w := moduleWorld(t, testenv.Terraforms(t)[0], "break-glass", `module "this" {
  source     = "./modules/break-glass"
  name       = "bastion"
  covers     = `+covers+`
  approvers  = ["lea"]
  responders = ["bob"]
  depends_on = [jit_person.all]
}
resource "jit_person" "all" {
  for_each     = { bob = "`+bobsKey+`", lea = "`+leasKey+`" }
  name         = each.key
  signing_keys = [each.value]
}
`)
	r := w.Plan()
	for _, want := range []string{`platforms = [ + "ssh", ]`, `owners = [ + "jit", ]`, `principals = [ + "ssh-ed25519 *", ]`} {
		if !strings.Contains(strings.Join(strings.Fields(r.Stdout), " "), want) {
			t.Errorf("the plan does not show %s\n%s", want, r.Text())
		}
	}
}

// A file that asks for nothing, and a permission that nobody has, are no mistakes; the next request of the same keeps the
// one before it.
func TestFromYAMLWithout(t *testing.T) {
	t.Parallel()
	w := moduleWorld(t, testenv.Terraforms(t)[0], "from-yaml",
		"module \"this\" {\n  source = \"./modules/from-yaml\"\n  file = \"access.yaml\"\n  policy = \"p\"\n}\n")
	const file = `people: [{ name: bob, accounts: { prod: "user:bob@example.com" } }]
permissions:
  - { name: sql, targets: [prod], roles: [roles/cloudsql.client], scopes: [projects/payments-prod], people: [bob] }
  - { name: logs, targets: [prod], roles: [roles/logging.viewer], people: [] }
requests:
`
	w.Write("access.yaml", file)
	w.Apply()
	const first = "  - { person: bob, permission: sql, ticket: INC-1, why: look, ttl: 1h }\n"
	const other = "  - { person: bob, permission: sql, ticket: INC-1, why: mend, ttl: 1h }\n"
	w.Write("access.yaml", file+first+other)
	w.Apply()
	if got := w.Calls.Count().Ensures; got != 2 {
		t.Errorf("two requests with one ticket gave %d grants", got)
	}
	again := "  - { person: bob, permission: sql, ticket: INC-1, why: look, ttl: 1h, renewal: 2 }\n"
	w.Write("access.yaml", file+first+again)
	w.Apply()
	if got := w.Calls.Count().Ensures; got != 3 {
		t.Errorf("with the renewal of one there were %d grants", got)
	}
}
