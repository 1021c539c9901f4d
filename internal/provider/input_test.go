package provider_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // to make a ledger of a newer version

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// Promise 1 and every other refusal at plan. The error says what is wrong, where, and what to write instead. Nothing is
// called or written.
func TestBadInput(t *testing.T) {
	rows := []struct {
		name string
		// lines are the grant's lines.
		lines []string
		// at is the attribute that the error points to.
		at   string
		says []string
	}{
		{"no end", []string{"ttl ="}, "", []string{"Invalid ttl", "no end, no grant", `ttl = "2h"`}},
		{"both ends", []string{`expires_at = "2026-11-23T18:00:00Z"`}, "expires_at",
			[]string{"two ends", "Keep one of the two"}},
		{"null", []string{"ttl = null"}, "ttl", []string{"no end, no grant"}},
		{"empty", []string{`ttl = ""`}, "ttl", []string{"is not a duration"}},
		{"zero", []string{`ttl = "0s"`}, "ttl", []string{"at least 1m"}},
		{"negative", []string{`ttl = "-5m"`}, "ttl", []string{`"-5m" is not a duration`}},
		{"never", []string{`ttl = "never"`}, "ttl", []string{`"never" is not a duration`, `"1d12h"`}},
		{"a year", []string{`ttl = "1y"`}, "ttl", []string{`"1y" is not a duration`}},
		{"past", []string{"ttl =", `expires_at = "2026-11-23T08:00:00Z"`}, "expires_at",
			[]string{"already past", "Write a time ahead"}},
		{"no time", []string{"ttl =", `expires_at = "tomorrow"`}, "expires_at", []string{"is not an RFC 3339 time"}},
		{"too long", []string{`ttl = "25h"`}, "ttl", []string{"max_ttl of the provider is 1d", "Ask for 1d or less"}},
		{"unknown target", []string{`target = "hots"`}, "target",
			[]string{"Unknown target", `"hots" is not one of the configured targets ("host")`}},
		{"two lines", []string{`principal = "` + alice + `\nssh-rsa AAAA"`}, "principal", []string{"ame one key"}},
		{"options", []string{`principal = "command=\"/bin/sh\" ` + alice + `"`}, "principal",
			[]string{"Invalid principal"}},
		{"unknown role", []string{`role = "root"`}, "role", []string{"Invalid role", "login"}},
		{"unknown scope", []string{`scope = "/etc/passwd"`}, "scope", []string{"Invalid scope"}},
		{"no reason", []string{`reason = " "`}, "reason", []string{"The reason is empty", "INC-4211"}},
		{"renewal", []string{"renewal = 0"}, "renewal", []string{"0 is not a renewal"}},
		{"half a renewal", []string{"renewal = 1.5"}, "renewal", []string{"1.5 is not a whole number"}},
		{"sessions", []string{"terminate_sessions = true"}, "terminate_sessions",
			[]string{"Open sessions cannot be ended", "Leave it out"}},
		{"unknown policy", []string{`policy = "nobody"`}, "policy", []string{"nobody"}},
		{"no-break space in a key", []string{`principal = "` + strings.Replace(alice, " ", "\u00a0", 1) + `"`},
			"principal", []string{"invisible character U+00A0", "write a plain space"}},
		{"no width in a role", []string{`role = "log` + "\u200b" + `in"`}, "role",
			[]string{"invisible character U+200B"}},
		{"no time to create", []string{`timeouts = { create = "0s" }`}, "timeouts",
			[]string{"Invalid timeouts", `"0s" is not a positive duration`, `create = "10m"`}},
		{"less than none to delete", []string{`timeouts = { delete = "-1m" }`}, "timeouts",
			[]string{`"-1m" is not a positive duration`}},
		{"empty requester", []string{`requester = ""`}, "requester", []string{"The requester is empty", "leave it out"}},
		{"blank requester", []string{`requester = " "`}, "requester", []string{"The requester is empty"}},
		{"long requester", []string{fmt.Sprintf("requester = %q", strings.Repeat("x", 201))}, "requester",
			[]string{"has 201 bytes; at most 200 are kept"}},
		{"two lines of requester", []string{`requester = "Alice\nBob"`}, "requester", []string{"on one line"}},
		{"late", []string{`start_by = "2026-11-23T08:00:00Z"`}, "start_by", []string{"The grant may no longer begin"}},
	}
	each(t, func(t *testing.T, w *acctest.World) {
		// One plan shows the errors of all grants.
		refuse := func(phase string, only func(i int) bool) acctest.Result {
			var resources []string
			for i, row := range rows {
				if only(i) {
					resources = append(resources, grant(fmt.Sprintf("r%d", i), row.lines...))
				}
			}
			configure(w, resources...)
			r := w.Run("apply", "-auto-approve")
			if r.ExitCode != 1 {
				t.Errorf("%s: exit code %d", phase, r.ExitCode)
			}
			return r
		}
		seen := make([]bool, len(rows))
		for _, phase := range []string{"validate", "plan"} {
			r := refuse(phase, func(i int) bool { return !seen[i] })
			for i, row := range rows {
				diagnostic, ok := about(r, fmt.Sprintf("jit_grant.r%d", i))
				if !ok {
					continue
				}
				seen[i] = true
				for _, want := range row.says {
					if !strings.Contains(diagnostic, want) {
						t.Errorf("%s: the error does not say %q:\n%s", row.name, want, diagnostic)
					}
				}
				if row.at != "" && !strings.Contains(diagnostic, fmt.Sprintf(": %s = ", row.at)) {
					t.Errorf("%s: the error does not point to %s:\n%s", row.name, row.at, diagnostic)
				}
			}
		}
		for i, row := range rows {
			if !seen[i] {
				t.Errorf("%s was not refused", row.name)
			}
		}
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("refused input caused %d writes", got.Writes)
		}
		if _, err := os.Stat(w.Path(".jit")); !os.IsNotExist(err) {
			t.Errorf("refused input created a ledger: %v", err)
		}
	})
}

// about returns the error about one resource, with white space collapsed.
func about(r acctest.Result, address string) (string, bool) {
	for _, d := range strings.Split(r.Text(), "Error: ")[1:] {
		if strings.Contains(d, "with "+address+",") {
			return d, true
		}
	}
	return "", false
}

func TestBadPolicy(t *testing.T) {
	rows := []struct {
		name, line, at string
		says           []string
	}{
		{"glob", `match = [{ roles = ["[a"] }]`, "match", []string{`the glob "[a"`}},
		{"empty list", `match = [{ roles = [] }]`, "match", []string{"emove the entry; without the list, it would match everything"}},
		{"no entry", `match = []`, "match", []string{"write match = [{}] to match every grant"}},
		{"null entry", `match = [null]`, "match", []string{"the entry is null"}},
		{"entry beside one for everything", `match = [{ roles = ["a"] }, { targets = null }]`, "match",
			[]string{"matches every grant, so the other entries"}},
		{"pattern", `reason_pattern = "("`, "reason_pattern", []string{"Invalid reason_pattern"}},
		{"condition", `condition = "grant.nothing =="`, "condition", []string{"Invalid condition"}},
		{"effect", `effect = "allow"`, "effect", []string{`"allow" is not an effect`}},
		{"max_ttl", `max_ttl = "0s"`, "max_ttl", []string{"shorter than the shortest grant"}},
		{"enforcement", `enforcement = "sweeper"`, "enforcement", []string{`"sweeper" is not a demand`}},
	}
	each(t, func(t *testing.T, w *acctest.World) {
		var resources []string
		for i, row := range rows {
			p := policy(fmt.Sprintf("p%d", i), row.line)
			if row.at == "match" {
				p = strings.Replace(p, "match = [{}]", "", 1)
			}
			resources = append(resources, p)
		}
		configure(w, resources...)
		r := w.Run("validate")
		for i, row := range rows {
			diagnostic, ok := about(r, fmt.Sprintf("jit_policy.p%d", i))
			if !ok {
				t.Errorf("%s was not refused", row.name)
				continue
			}
			for _, want := range append(row.says, ": "+row.at+" = ") {
				if !strings.Contains(strings.ToLower(diagnostic), strings.ToLower(want)) {
					t.Errorf("%s: the error does not say %q:\n%s", row.name, want, diagnostic)
				}
			}
		}
	})
}

// One run of validate shows an error for each wrong attribute of a block.
func TestEveryErrorOfABlock(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, strings.Replace(policy("all", `effect = "allow"`, `max_ttl = "banana"`, `reason_pattern = "("`,
			`enforcement = "sweeper"`, `max_session_tail = "-1h"`, `condition = "grant.nothing =="`,
			`description = "a\u202eb"`, `approval = [{ required = 0, from = ["lea"] }]`, `break_glass = { from = [] }`),
			"match = [{}]", `match = [{ roles = ["[a"] }]`, 1),
			grant("all", `target = ""`, `principal = ""`, `role = ""`, `scope = "a\u200bb"`, `reason = ""`,
				`ttl = "never"`, "renewal = 0", `starts_at = "soon"`, `start_by = "later"`, `requester = " "`,
				`timeouts = { create = "0s" }`), `
resource "jit_person" "all" {
  name         = "group:x"
  groups       = ["leads"]
  signing_keys = ["a key"]
  principals   = [" "]
  github       = "@lea"
  gitlab       = "a b"
}
`)
		text := w.Run("validate").Text()
		for resource, attributes := range map[string]string{
			"jit_policy": "effect max_ttl reason_pattern enforcement max_session_tail condition description approval " +
				"break_glass match",
			"jit_grant":  "target principal role scope reason ttl renewal starts_at start_by requester timeouts",
			"jit_person": "name groups signing_keys principals github gitlab",
		} {
			var errors []string
			for _, d := range strings.Split(text, "Error: ")[1:] {
				if strings.Contains(d, "with "+resource+".all,") {
					errors = append(errors, d)
				}
			}
			for _, attribute := range strings.Fields(attributes) {
				if at := regexp.MustCompile(`\b` + attribute + ` += `); !slices.ContainsFunc(errors, at.MatchString) {
					t.Errorf("%s: no error about %s:\n%s", resource, attribute, text)
				}
			}
			if want := len(strings.Fields(attributes)); len(errors) != want {
				t.Errorf("%s has %d errors, want %d:\n%s", resource, len(errors), want, text)
			}
		}
	})
}

// One run of validate shows every error of the provider block, and needs nothing that only other machines have.
func TestBadProviderBlock(t *testing.T) {
	const from = `
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
`
	all := policy("all") // without a resource, no provider is asked
	each(t, func(t *testing.T, w *acctest.World) {
		w.Write("main.tf", from+`
provider "jit" {
  ledger            = "mysql://db.example.com/jit"
  owner             = "Me!"
  max_ttl           = "banana"
  wait_for_approval = "soon"
  targets = {
    "our db" = { postgresql = { url = "postgres://db.example.com/postgres" } }
    both     = { ssh = { authorized_keys = "/keys" }, gcp = {} }
    neither  = {}
    cloud    = { azure = { assignment = "pimm" } }
    cluster  = { kubernetes = { token = "t" } }
  }
}
`+all)
		r := w.Run("validate")
		if n := strings.Count(r.Text(), "Error: "); r.ExitCode != 1 || n != 9 {
			t.Errorf("exit code %d, %d errors\n%s", r.ExitCode, n, r.Text())
		}
		says(t, r, "is not a kind of ledger", "Me!", `"banana" is not a duration`, `"soon" is not a duration`,
			`"our db" is not a name for a target`, "has gcp and ssh", "has no platform", `"pimm"`,
			"The target has token and no host")

		w.Write("main.tf", from+`
variable "owner" {
  type = string
}
provider "jit" {
  owner  = var.owner
  targets = {
    hoop = { hoop = {} }
    db   = { postgresql = { url = "postgres://db.example.com/postgres?sslmode=verify-full&sslrootcert=/nowhere" } }
    gcp  = { gcp = { credentials = "/nowhere" } }
    aks  = { azure = { federated_token_file = "/nowhere", tenant_id = var.owner, client_id = var.owner } }
    k8s  = { kubernetes = { kubeconfig = "/nowhere" } }
  }
}
`+all)
		w.Must("validate")
	})
}

// Wrong provider settings, and an unusable ledger or host: the error names the cause, and earlier grants are kept.
func TestBadSurroundings(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		for _, row := range []struct {
			settings string
			says     []string
		}{
			{`ledger = "mysql://a:s3cret@x"`, []string{"Invalid ledger", "is not a kind of ledger"}},
			{`ledger = "sqlite://."`, []string{"must name a file"}},
			{`owner = "Me!"`, []string{"Invalid owner", "lower-case", ": owner = "}},
			{`max_ttl = "for ever"`, []string{"Invalid max_ttl", "is not a duration", ": max_ttl = "}},
		} {
			configureWith(w, row.settings, grant("a"))
			r := w.Run("apply", "-auto-approve")
			if r.ExitCode != 1 {
				t.Errorf("%s: exit code %d", row.settings, r.ExitCode)
			}
			says(t, r, row.says...)
			if strings.Contains(r.Text(), "s3cret") {
				t.Errorf("the error has a password:\n%s", r.Text())
			}
		}
		configure(w, grant("a"))
		w.Write("main.tf", strings.Replace(w.Read("main.tf"), "{ ssh =",
			`{ postgresql = { url = "postgres://a:s3cret@b/c" }, ssh =`, 1))
		r := w.Run("plan")
		says(t, r, "a target is exactly one of", `targets["host"]`)
		if strings.Contains(r.Text(), "s3cret") {
			t.Errorf("the error has a password:\n%s", r.Text())
		}
		configure(w, grant("a"))
		w.Write("main.tf", strings.ReplaceAll(w.Read("main.tf"), w.Path("authorized_keys"), w.Path("main.tf/keys")))
		if r := w.Run("apply", "-auto-approve"); r.ExitCode != 1 {
			t.Errorf("an impossible path: exit code %d", r.ExitCode)
		} else {
			says(t, r, "main.tf/keys", "with jit_grant.a")
		}
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("wrong settings caused %d writes", got.Writes)
		}

		configure(w, grant("a"))
		w.Apply()
		end := fact(t, w, "jit_grant.a", "expires_at")
		w.Calls.Reset()
		configure(w, grant("a"), grant("b", fmt.Sprintf("principal = %q", bob)))
		w.Calls.Fail(errors.New("the host does not answer"))
		says(t, w.Run("apply", "-auto-approve"), "the host does not answer")
		w.Calls.Fail(nil)

		if err := os.Rename(w.Path(".jit"), w.Path("aside")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(w.Path(".jit"), 0o700); err != nil {
			t.Fatal(err)
		}
		w.Write(filepath.Join(".jit", "ledger.db"), strings.Repeat("this is no database\n", 500))
		r = w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 || lines(w) != 1 {
			t.Errorf("with a damaged ledger: exit code %d, %d grants on the host\n%s", r.ExitCode, lines(w), r.Text())
		}
		says(t, r, "ledger")
		if err := os.RemoveAll(w.Path(".jit")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(w.Path("aside"), w.Path(".jit")); err != nil {
			t.Fatal(err)
		}

		w.Must("apply", "-auto-approve")
		if lines(w) != 2 || fact(t, w, "jit_grant.a", "expires_at") != end {
			t.Errorf("after the repair: %d grants on the host, the first until %s", lines(w),
				fact(t, w, "jit_grant.a", "expires_at"))
		}
		unchanged(t, w, "after the repair")
	})
}

func TestNewerLedger(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		db, err := sql.Open("sqlite", w.Path(".jit/ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if _, err := db.Exec("UPDATE jit_ledger SET schema_version = 9999, readable_since = 9999, writable_since = 9999"); err != nil {
			t.Fatal(err)
		}
		configure(w, grant("a"), grant("b", fmt.Sprintf("principal = %q", bob)))
		w.Calls.Reset()
		r := w.Run("apply", "-auto-approve")
		if r.ExitCode != 1 || w.Calls.Count().Writes != 0 {
			t.Errorf("exit code %d, %+v\n%s", r.ExitCode, w.Calls.Count(), r.Text())
		}
		says(t, r, "The ledger is newer than this provider")
	})
}
