package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// A person is recorded, changed, imported and removed. Every plan in between is empty.
func TestPerson(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		w.Write("lea.pub", publicKey(t, "lea")+" lea@laptop\n")
		lea := func(lines ...string) string {
			return fmt.Sprintf("resource \"jit_person\" \"lea\" {\n  name = \"lea\"\n"+
				"  signing_keys = [file(\"${path.module}/lea.pub\")]\n  groups = []\n  %s\n}\n", strings.Join(lines, "\n  "))
		}
		listed := "data \"jit_persons\" \"leads\" {\n  group = \"group:leads\"\n  depends_on = [jit_person.lea]\n}\n" +
			"output \"leads\" {\n  value = join(\" \", data.jit_persons.leads.persons[*].name)\n}\n"
		configure(w, lea())
		w.Apply()
		unchanged(t, w, "a person with a key from a file")
		configure(w, strings.Replace(lea(`github = "lea-gh"`), "[]", `["group:leads", "group:all"]`, 1), listed)
		w.Apply()
		unchanged(t, w, "a changed person")
		if got := strings.TrimSpace(w.Must("output", "-raw", "leads").Stdout); got != "lea" {
			t.Errorf("the leads are %q", got)
		}

		w.Must("state", "rm", "jit_person.lea")
		w.Must("import", "jit_person.lea", "lea")
		w.Apply() // the file ends with a line feed, the record does not
		unchanged(t, w, "an imported person")
		if r := w.Run("import", "jit_person.lea", "nobody"); r.ExitCode == 0 {
			t.Error("an unknown person was imported")
		}

		// Somebody else changes the ledger.
		if err := w.Runtime().Broker.PutPerson(t.Context(), jit.Person{Name: "lea"}); err != nil {
			t.Fatal(err)
		}
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("a person changed elsewhere: exit code %d", r.ExitCode)
		}
		w.Apply()
		if err := w.Runtime().Broker.DropPerson(t.Context(), "lea", 0); err != nil {
			t.Fatal(err)
		}
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("a person removed elsewhere: exit code %d", r.ExitCode)
		}
		w.Apply()
		w.Must("destroy", "-auto-approve")
		all, err := w.Runtime().Broker.Ledger.Persons(t.Context())
		if err != nil || len(all) != 0 {
			t.Errorf("after the destroy: %v, %v", all, err)
		}
	})
}

// A plan refuses people who cannot be distinguished, and policies that nobody can satisfy.
func TestPeopleThatAPlanRefuses(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		lea := person(t, "lea", leads)
		asks := func(entry string) string {
			return policy("prod", "approval = ["+entry+"]", "depends_on = [jit_person.lea]")
		}
		configure(w, lea)
		w.Apply()
		same := strings.Replace(person(t, "leo"), publicKey(t, "leo"), publicKey(t, "lea"), 1)
		for _, c := range []struct {
			config string
			parts  []string
		}{
			{person(t, "leo", `groups = ["leads"]`), []string{"Invalid groups", "group:payments-leads"}},
			{strings.Replace(person(t, "leo"), "ssh-ed25519 ", "ssh-dss ", 1), []string{"Invalid signing_keys"}},
			{strings.Replace(person(t, "leo"), publicKey(t, "leo"), "-----BEGIN OPENSSH PRIVATE KEY-----", 1),
				[]string{"this is a private key"}},
			{same, []string{"have the same key", "A key belongs to one person"}},
			{person(t, "Lea"), []string{"are one name"}},
			{strings.Replace(person(t, "lea"), `"jit_person" "lea"`, `"jit_person" "twin"`, 1),
				[]string{"nother jit_person of this configuration"}},
			{asks(`{ required = 1, from = ["group:nobody"] }`),
				[]string{"Invalid approval[0].from", `"group:nobody"`, "heck the spelling"}},
			{asks(`{ required = 2, from = ["group:leads", "lea"] }`),
				[]string{"Invalid approval[0].required", "only 1 can: lea"}},
			{asks(`{ required = 1.5, from = ["lea"] }`), []string{"Invalid approval[0].required", "not a whole number"}},
			{asks(`{ required = 1, from = ["lea"], evidence = ["word"] }`), []string{"no kind of evidence"}},
			{asks(`{ required = 1, from = ["lea"], valid_for = "1s" }`), []string{"approval[0].valid_for"}},
			{asks(`{ required = 1, from = ["lea"], unless = "requester.age > 3" }`), []string{"approval[0].unless"}},
			{policy("prod", `break_glass = { from = ["lea"] }`), []string{"nothing to skip"}},
		} {
			configure(w, lea, c.config)
			r := w.Plan()
			if r.ExitCode != 1 {
				t.Errorf("%s\nexit code %d", c.config, r.ExitCode)
			}
			says(t, r, c.parts...)
		}

		// A plan knows the people whom it adds. The apply checks values that are unknown at plan.
		unknown := "resource \"terraform_data\" \"group\" {\n  input = \"group:sre\"\n}\n" +
			person(t, "sam", "groups = [terraform_data.group.output]")
		entry := `approval = [{ required = 1, from = ["group:sre"], valid_for = "1h30m", evidence = ["signature"] }]`
		configure(w, lea, unknown, policy("prod", entry, "depends_on = [jit_person.sam]"))
		w.Apply()
		unchanged(t, w, "a person and a policy of one apply")
		w.Must("state", "rm", "jit_policy.prod")
		w.Must("import", "jit_policy.prod", "prod")
		if r := w.Plan(); r.ExitCode != 0 {
			t.Errorf("after the import of a policy: exit code %d\n%s", r.ExitCode, r.Text())
		}
		// Without a reference, the plan waits for people who are planned at the same time.
		several := []string{lea, unknown, person(t, "new", `groups = ["group:new"]`)}
		for i := range 20 { // more than Terraform plans at a time
			several = append(several, policy(fmt.Sprint("a", i), `approval = [{ required = 1, from = ["group:new"] }]`))
		}
		configure(w, several...)
		if r := w.Plan(); r.ExitCode != 2 {
			t.Errorf("people of the same plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
	})
}
