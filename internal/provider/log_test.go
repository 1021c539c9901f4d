package provider_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// TF_LOG=TRACE shows each call on a target, each attempt at a request, and each decision with its rule, and no secret.
func TestLogs(t *testing.T) {
	t.Parallel()
	binary := acctest.Build(t)
	s := gcptest.New(t)
	s.Admit("s3cret-token")
	s.Add("projects/payments-prod", "")
	s.AddRole("roles/cloudsql.client", "cloudsql.instances.connect")
	s.AddAccounts("user:alice@example.com")
	w := acctest.New(t, testenv.Terraforms(t)[0], acctest.Options{Binary: binary, RealTime: true})
	configureBlock(w,
		fmt.Sprintf("targets = { prod = { gcp = { endpoint = %q, access_token = \"s3cret-token\" } } }", s.URL),
		policy("short", `max_ttl = "3h"`), `
resource "jit_grant" "a" {
  target    = "prod"
  principal = "user:alice@example.com"
  role      = "roles/cloudsql.client"
  scope     = "projects/payments-prod"
  reason    = "INC-1: look"
  ttl       = "2h"
  policy    = jit_policy.short.name
}
`)
	logged := func(args ...string) string {
		t.Helper()
		w.Write("log", "")
		r := w.RunWith([]string{"TF_LOG=TRACE", "TF_LOG_PATH=" + w.Path("log")}, args...)
		log := w.Read("log")
		if strings.Contains(log, "s3cret") {
			t.Error("the log tells the secret")
		}
		var ours []string
		for line := range strings.Lines(log) {
			if regexp.MustCompile(`platform (call|change|request)|decision|: grant: `).MatchString(line) {
				ours = append(ours, line)
			}
		}
		return fmt.Sprintf("exit code %d\n%s", r.ExitCode, strings.Join(ours, ""))
	}
	has := func(log string, parts ...string) {
		t.Helper()
		for line := range strings.Lines(log) {
			if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
				return
			}
		}
		t.Errorf("the log has no line with %q:\n%s", parts, log)
	}
	var refused atomic.Bool
	s.Inject(func(r gcptest.Request) gcptest.Fault {
		if r.Verb == "getIamPolicy" && refused.CompareAndSwap(false, true) {
			return gcptest.Fault{Status: 503, Message: "try again"}
		}
		return gcptest.Fault{}
	})
	plan := logged("plan", "-out=plan")
	has(plan, "exit code 0")
	has(plan, ": decision: ", `step="plan of a grant"`, "outcome=permitted", "policy=short", "grant=")
	const read = `request="POST /v3/projects/payments-prod:getIamPolicy"`
	has(plan, ": platform request: ", read, "attempt=1", `outcome="503 Service Unavailable"`, "duration_ms=")
	has(plan, ": platform request: ", read, "attempt=2", `outcome="200 OK"`, "target=prod")
	has(plan, ": platform call: ", "method=Read", "scope=projects/payments-prod", "outcome=ok", "duration_ms=")
	apply := logged("apply", "plan")
	has(apply, "exit code 0")
	has(apply, ": platform change: ", "op=ensure", "outcome=ok", "grant=")
	has(apply, ": platform call: ", "method=Apply", "outcome=ok", "changes=1")
	has(apply, ": grant: ", "step=create", "policy=short", "outcome=ok")
	w.Write("main.tf", strings.Replace(w.Read("main.tf"), `"2h"`, `"4h"`, 1))
	refusal := logged("plan")
	has(refusal, "exit code 1")
	has(refusal, ": decision: ", "outcome=refused", `max_ttl of policy \"short\" is 3h`)
}
