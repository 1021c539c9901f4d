package internal_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// The rule of the guide for OPA and Conftest refuses each grant of a plan that is too long or of unknown length, and no
// other.
func TestPolicyAsCode(t *testing.T) {
	opa := testenv.OPA(t)
	rules, err := filepath.Abs("../examples/policy-as-code/conftest")
	if err != nil {
		t.Fatal(err)
	}
	for _, cli := range testenv.Terraforms(t) {
		t.Run(cli.String(), func(t *testing.T) {
			t.Parallel()
			w := acctest.New(t, cli, acctest.Options{})
			denied := func(grants map[string]string) (addresses []string) {
				t.Helper()
				w.Write("main.tf", lengths(w, grants))
				w.Must("plan", "-out=plan")
				w.Write("plan.json", w.Must("show", "-json", "plan").Stdout)
				out, err := exec.CommandContext(t.Context(), opa, rules, w.Path("plan.json"), "data.main.deny").CombinedOutput()
				var messages []string
				if err == nil {
					err = json.Unmarshal(out, &messages)
				}
				if err != nil {
					t.Fatalf("opa: %v\n%s", err, out)
				}
				for _, m := range messages {
					address, _, _ := strings.Cut(m, " ")
					addresses = append(addresses, strings.TrimPrefix(address, "jit_grant."))
				}
				slices.Sort(addresses)
				return addresses
			}
			grants := map[string]string{"exact": `ttl = "8h"`, "days": `ttl = "1d"`, "over": `ttl = "8h1s"`,
				"later": "ttl = terraform_data.later.output", "ends": `expires_at = "2026-11-23T12:00:00Z"`,
				"window":  "starts_at = \"2026-11-23T10:00:00Z\"\n  expires_at = \"2026-11-23T18:00:00Z\"",
				"windows": "starts_at = \"2026-11-23T10:00:00Z\"\n  expires_at = \"2026-11-23T18:00:01Z\""}
			if got, want := denied(grants), []string{"days", "ends", "later", "over", "windows"}; !slices.Equal(got, want) {
				t.Errorf("denied: %v, want %v", got, want)
			}
			w.Must("apply", "plan")
			// What is there already and stays as it is, or goes, is not judged.
			grants["exact"], grants["window"] = `ttl = "8h1m"`, "starts_at = \"2026-11-23T10:00:00Z\"\n  ttl = \"7h\""
			delete(grants, "days")
			if got, want := denied(grants), []string{"exact"}; !slices.Equal(got, want) {
				t.Errorf("denied in the change: %v, want %v", got, want)
			}
		})
	}
}

// lengths is a configuration of grants with these lines.
func lengths(w *acctest.World, grants map[string]string) string {
	text := requires + fmt.Sprintf("provider \"jit\" {\n  max_ttl = \"2d\"\n"+
		"  targets = { host = { ssh = { authorized_keys = %q } } }\n}\n"+
		"resource \"terraform_data\" \"later\" {\n  input = \"1h\"\n}\n", w.Path("authorized_keys"))
	for name, line := range grants {
		text += fmt.Sprintf("resource \"jit_grant\" %q {\n  target = \"host\"\n  principal = %q\n  role = \"login\"\n"+
			"  reason = \"INC-1: %s\"\n  %s\n}\n", name, exampleKey, name, line)
	}
	return text
}

// The guide shows the rules as the examples have them.
func TestPolicyAsCodeGuide(t *testing.T) {
	guide := read(t, "../templates/guides/policy-as-code.md")
	for language, file := range map[string]string{"rego": "conftest/grants.rego", "sentinel": "sentinel/grants.sentinel",
		"yaml": "checkov/grants.yaml"} {
		if got := blocks(guide, language); !slices.Equal(got, []string{read(t, "../examples/policy-as-code/"+file)}) {
			t.Errorf("the guide shows another %s than\n%s", file, got)
		}
	}
}
