package catalog

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestLooksLikeAccess counts how often the rule for types that are not in the catalog is wrong.
func TestLooksLikeAccess(t *testing.T) {
	content, err := os.ReadFile("testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	var looks, wrong, others, missed int
	for line := range strings.Lines(string(content)) {
		name, gives := strings.CutPrefix(strings.TrimSpace(line), "+")
		if strings.HasPrefix(name, "#") {
			continue
		}
		name = strings.TrimPrefix(name, "-")
		if _, known := table().find(name); known {
			t.Errorf("%s is in the catalog", name)
		}
		switch is := looksLikeAccess(name); {
		case is && !gives:
			looks, wrong = looks+1, wrong+1
		case is:
			looks++
		case gives:
			others, missed = others+1, missed+1
		default:
			others++
		}
	}
	t.Logf("%d of %d that look like access give none; %d of %d others give some", wrong, looks, missed, others)
	if wrong*4 > looks || missed*25 > others {
		t.Error("the rule is wrong about more than a quarter of what it finds, or misses more than 4 % of the rest")
	}
}

// Only the types of this provider are left out, not those of another that takes its prefix.
func TestOwnTypes(t *testing.T) {
	for provider, want := range map[string]int{
		"registry.terraform.io/jitaccess/jit": 0, "registry.terraform.io/evil/jit": 1,
		"registry.opentofu.org/jitaccess/jit": 0, "registry.terraform.io/acme/deceit": 1, "": 1} {
		if got := Of(now, provider, "jit_grant", Object{Values: map[string]any{}}); len(got) != want {
			t.Errorf("jit_grant of %q gives %+v, want %d", provider, got, want)
		}
	}
	o := Object{Values: map[string]any{"user": "u"}}
	want := Of(now, "registry.terraform.io/hashicorp/aws", "aws_iam_access_key", o)
	for _, provider := range []string{"registry.opentofu.org/hashicorp/aws", "mirror.example.com/acme/aws-fork", ""} {
		got := Of(now, provider, "aws_iam_access_key", o)
		if len(got) != 1 || got[0] != want[0] {
			t.Errorf("%q: got %+v, want %+v", provider, got, want)
		}
	}
}

// Decoders of JSON give numbers of several kinds.
func TestNumbers(t *testing.T) {
	for _, hour := range []any{float64(3600), int64(3600), json.Number("3600")} {
		o := Object{Values: map[string]any{"comment": "ci", "lifetime_seconds": hour}}
		if got := lines(Of(now, "", "databricks_token", o)); got != "bounded|ci|token||1h" {
			t.Errorf("%T: %s", hour, got)
		}
	}
}

// A document that a newer provider keeps elsewhere is not taken for an empty one.
func TestDocumentElsewhere(t *testing.T) {
	o := Object{Values: map[string]any{"name": "a", "policy_json": "{}"}}
	if got := lines(Of(now, "", "aws_iam_policy", o)); got != "opaque||a||" {
		t.Errorf("got %q", got)
	}
}

// What is not listed still counts as access without a known end.
func TestMoreThanIsListed(t *testing.T) {
	members := make([]any, maxAccess+1)
	for i := range members {
		members[i] = "user:" + strconv.Itoa(i)
	}
	got := Of(now, "", "google_project_iam_binding", Object{Values: map[string]any{"members": members, "role": "r",
		"project": "p", "condition": []any{map[string]any{
			"expression": `request.time < timestamp("2026-11-24T00:00:00Z")`}}}})
	if last := got[len(got)-1]; len(got) != maxAccess+1 || got[0].Class != Bounded || last.Class != Opaque {
		t.Errorf("%d accesses, from %+v to %+v", len(got), got[0], last)
	}
}

// The narrower of two patterns counts, wherever they stand.
func TestNarrowerPattern(t *testing.T) {
	table, err := parse([]byte("a_*: []\na_*_key: {principal: name}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if rules, known := table.find("a_b_key"); !known || len(rules) != 1 {
		t.Errorf("a_b_key has %d rules", len(rules))
	}
}

// A side of a change on which there is nothing gives nothing.
func TestNothing(t *testing.T) {
	for _, unknown := range []any{nil, false, map[string]any{}} {
		if got := Of(now, "", "aws_iam_access_key", Object{Unknown: unknown}); got != nil {
			t.Errorf("nothing gives %+v", got)
		}
	}
	if got := lines(Of(now, "", "aws_ssm_activation", Object{Unknown: true})); got != "opaque|?|?||?" {
		t.Errorf("a resource of which nothing is known gives %q", got)
	}
}
