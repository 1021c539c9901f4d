package provider_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// withoutSummary removes the summary from every grant in the state, as in a state of a version without summaries.
func withoutSummary(t *testing.T, w *acctest.World) {
	t.Helper()
	editInstances(t, w, func(instance map[string]any) {
		delete(instance["attributes"].(map[string]any), "summary")
	})
}

// editInstances edits every resource instance in the state file.
func editInstances(t *testing.T, w *acctest.World, edit func(instance map[string]any)) {
	t.Helper()
	editState(t, w, func(r map[string]any) {
		for _, i := range r["instances"].([]any) {
			edit(i.(map[string]any))
		}
	})
}

// editState edits every resource in the state file.
func editState(t *testing.T, w *acctest.World, edit func(resource map[string]any)) {
	t.Helper()
	var state map[string]any
	if err := json.Unmarshal([]byte(w.Read("terraform.tfstate")), &state); err != nil {
		t.Fatal(err)
	}
	for _, r := range state["resources"].([]any) {
		edit(r.(map[string]any))
	}
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	w.Write("terraform.tfstate", string(text))
}

// In states and ledgers of older versions, match is one object. Their plans are empty once the block has a list of one.
func TestStateOfAPolicyWithOneMatch(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		rule := strings.Replace(policy("old", `max_ttl = "4h"`), "match = [{}]", `match = [{ roles = ["login"] }]`, 1)
		configure(w, rule, grant("a", "policy = jit_policy.old.name"))
		w.Apply()
		editState(t, w, func(r map[string]any) {
			if r["type"] != "jit_policy" {
				return
			}
			instance := r["instances"].([]any)[0].(map[string]any)
			instance["schema_version"] = 0
			attributes := instance["attributes"].(map[string]any)
			attributes["match"] = attributes["match"].([]any)[0]
		})
		unchanged(t, w, "with the state of an older version")
		w.Must("apply", "-refresh-only", "-auto-approve")
		if got := w.Read("terraform.tfstate"); !strings.Contains(got, `"schema_version": 1`) {
			t.Errorf("the state was not upgraded:\n%s", got)
		}
		configure(w, policy("old", `max_ttl = "4h"`))
		w.Apply()
	})
}

// In states of older versions, numbers are texts, and a grant has no ttl_seconds. Their plans are empty, also if the block
// still has the number as a text. An output of the number and any change work on.
func TestStateOfNumbersAsTexts(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		config := func(number string) {
			configure(w, person(t, "lea", leads), policy("asks", fmt.Sprintf(
				`approval = [{ required = %s, from = ["group:leads"], unless = "true" }]`, number),
				"depends_on = [jit_person.lea]"), grant("a", "policy = jit_policy.asks.name"),
				"output \"number\" {\n  value = jit_policy.asks.approval[0].required\n}\n")
		}
		config("1")
		w.Apply()
		editState(t, w, func(r map[string]any) {
			attributes := r["instances"].([]any)[0].(map[string]any)["attributes"].(map[string]any)
			switch r["type"] {
			case "jit_grant":
				attributes["renewal"] = fmt.Sprint(attributes["renewal"])
				delete(attributes, "ttl_seconds")
			case "jit_policy":
				entry := attributes["approval"].([]any)[0].(map[string]any)
				entry["required"] = fmt.Sprint(entry["required"])
			}
		})
		for _, old := range []string{`"renewal":"1"`, `"required":"1"`} {
			if !strings.Contains(w.Read("terraform.tfstate"), old) {
				t.Fatalf("the test is wrong: the state has no %s:\n%s", old, w.Read("terraform.tfstate"))
			}
		}
		unchanged(t, w, "with the state of an older version")
		config(`"1"`)
		unchanged(t, w, "with a text in the block")
		w.Must("apply", "-auto-approve", "-refresh-only")
		unchanged(t, w, "after the refresh")
		configure(w, grant("a", "renewal = 2"))
		w.Apply()
		if got := fact(t, w, "jit_grant.a", "ttl_seconds"); got != "7200" {
			t.Errorf("ttl_seconds of the next grant is %s", got)
		}
	})
}

// An older version imported the grant with a policy in the state. The plan is empty if the block names none.
func TestStateWithAPolicyFromAnImport(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		named := policy("named")
		configure(w, named, grant("a", "policy = jit_policy.named.name"))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		w.Must("state", "rm", "jit_grant.a")
		w.Must("import", "jit_grant.a", id)
		editInstances(t, w, func(instance map[string]any) { delete(instance, "private") })
		configure(w, named, grant("a"))
		unchanged(t, w, "without a policy in the block")
		if got := fact(t, w, "jit_grant.a", "policy"); got != "named" {
			t.Errorf("the state has the policy %s, want named", got)
		}
	})
}

// A state without a summary plans empty. A plan with drift or another window shows the summary. Any apply fills it in.
func TestStateWithoutSummary(t *testing.T) {
	shows := func(summary string) []string {
		return []string{summary, "/authorized_keys for ", ", INC-1: look\""}
	}
	later := []string{"+ summary = (known after apply)"}
	for name, change := range map[string]func(t *testing.T, w *acctest.World) (shown []string){
		"drift": func(_ *testing.T, w *acctest.World) []string {
			w.Write("authorized_keys", foreign)
			return shows(`~ summary = "`)
		},
		"drift in the state": func(t *testing.T, w *acctest.World) []string {
			w.Write("authorized_keys", foreign)
			w.Must("apply", "-refresh-only", "-auto-approve")
			withoutSummary(t, w)
			says(t, w.Plan("-refresh=false"), later...)
			return shows(`~ summary = "`)
		},
		"another length": func(_ *testing.T, w *acctest.World) []string {
			configure(w, grant("a", `ttl = "3h"`))
			return shows(`+ summary = "`)
		},
		"another flag": func(_ *testing.T, w *acctest.World) []string {
			configure(w, grant("a", fmt.Sprintf("start_by = %q", jit.FormatTime(w.Clock.Now()))))
			return later
		},
		"another spelling": func(_ *testing.T, w *acctest.World) []string {
			configure(w, grant("a", `ttl = "120m"`))
			return later
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *acctest.World) {
				configure(w, grant("a"))
				w.Apply()
				withoutSummary(t, w)
				unchanged(t, w, "without a summary")
				shown := change(t, w)
				r := w.Plan()
				if r.ExitCode != 2 {
					t.Fatalf("plan: exit code %d\n%s", r.ExitCode, r.Text())
				}
				says(t, r, shown...)
				w.Apply()
				g := record(t, w, fact(t, w, "jit_grant.a", "id"))
				if got, want := fact(t, w, "jit_grant.a", "summary"), g.Summary(); got != want {
					t.Errorf("summary is %q, want %q", got, want)
				}
				unchanged(t, w, "with a summary")
			})
		})
	}
}

// A repair without a summary in the state, planned while the grant was live, can be applied after its end.
func TestPlannedRepairWithoutSummaryOfWhatIsOver(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a"))
		w.Apply()
		w.Write("authorized_keys", foreign)
		w.Must("apply", "-refresh-only", "-auto-approve")
		withoutSummary(t, w)
		w.Must("plan", "-refresh=false", "-out=plan")
		w.Clock.Advance(3 * time.Hour)
		w.Must("apply", "plan")
		if got := w.Read("authorized_keys"); got != foreign {
			t.Errorf("an ended grant was repaired:\n%s", got)
		}
		unchanged(t, w, "after the apply")
	})
}

// loseReason makes jit_grant.a, deletes ledger and state, and adopts the grant from its target. It returns the id.
func loseReason(t *testing.T, w *acctest.World) string {
	t.Helper()
	configure(w, grant("a"))
	w.Apply()
	id, scope := fact(t, w, "jit_grant.a", "id"), fact(t, w, "jit_grant.a", "scope")
	w.Must("state", "rm", "jit_grant.a")
	if err := os.RemoveAll(w.Path(".jit")); err != nil {
		t.Fatal(err)
	}
	rt := w.Runtime()
	s, err := rt.Targets["host"].Read(t.Context(), scope)
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := rt.Broker.Unrecorded(t.Context(),
		map[jit.Place]jit.Snapshot{{Target: "host", Scope: scope}: s})
	if err != nil || len(found) != 1 {
		t.Fatalf("found %d grants, %v", len(found), err)
	}
	if err := rt.Broker.Adopt(t.Context(), found)[0]; err != nil {
		t.Fatal(err)
	}
	return id
}

// After the import of a record without its reason, an apply records the block's reason.
func TestImportOfALostReason(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		id := loseReason(t, w)
		w.Must("import", "jit_grant.a", id)
		w.Calls.Reset()
		r := w.Plan()
		if r.ExitCode != 2 || strings.Contains(r.Text(), "must be replaced") {
			t.Errorf("plan: exit code %d\n%s", r.ExitCode, r.Text())
		}
		says(t, r, `-> "INC-1: look"`, `INC-1: look"`)
		w.Apply()
		if g := record(t, w, id); g.Reason != "INC-1: look" {
			t.Errorf("the recorded reason is %q", g.Reason)
		}
		if got := fact(t, w, "jit_grant.a", "summary"); !strings.HasSuffix(got, ", INC-1: look") {
			t.Errorf("summary is %q", got)
		}
		if got := fact(t, w, "jit_grant.a", "request_digest"); len(got) != 64 {
			t.Errorf("request_digest is %q", got)
		}
		if got := w.Calls.Count(); got.Writes != 0 {
			t.Errorf("the target was written to: %+v", got)
		}
		unchanged(t, w, "with the reason")
	})
}

// The reason for a record without one, planned while the grant was live, can be applied after its end.
func TestPlannedReasonOfWhatIsOver(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		w.Must("import", "jit_grant.a", loseReason(t, w))
		w.Must("plan", "-out=plan")
		w.Clock.Advance(3 * time.Hour)
		w.Must("apply", "plan")
		unchanged(t, w, "after the apply")
		if got := fact(t, w, "jit_grant.a", "summary"); !strings.HasSuffix(got, ", INC-1: look") {
			t.Errorf("summary is %q", got)
		}
	})
}
