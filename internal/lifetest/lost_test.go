package lifetest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Promise 9: the ledger is lost with 100 live and 100 expired grants on three platforms. A sweep with nothing but
// credentials ends exactly the grants that are expired by their markers. Live grants are recorded again with their
// windows, and the configuration adopts them.
func TestLostLedgerOnThreePlatforms(t *testing.T) {
	t.Parallel()
	for name, open := range map[string][]func(*testing.T) place{
		"ssh, gcp, hoop":              {newHost, newProject, newGateway},
		"ssh, postgresql, kubernetes": {newHost, newDatabase, newCluster},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loseLedgerOf(t, open)
		})
	}
}

func loseLedgerOf(t *testing.T, open []func(*testing.T) place) {
	const each = 100
	var s *site
	var places []place
	var env []string
	for _, open := range open {
		p := open(t)
		places = append(places, p)
		env = append(env, environment(p)...)
	}
	s = newSite(t, testenv.Terraforms(t)[0], together{places[0], env}, released)
	settings := fmt.Sprintf("  owner = %q\n  targets = {\n", s.owner)
	resources, foreign := "", make([]string, len(places))
	ended, live := make([][]string, len(places)), make([][]string, len(places))
	count := func(i int) int { return each/len(places) + min(1, each%len(places)/(i+1)) }
	for i, p := range places {
		const crew = 3 // some platforms limit the grants of one role per principal
		people := p.people(t, 2*crew)
		ended[i], live[i] = people[:crew], people[crew:]
		foreign[i] = p.foreign(t)
		settings += fmt.Sprintf("    t%d = %s\n", i, p.target())
		for _, g := range []struct {
			name string
			who  []string
			ttl  string
		}{{"ended", ended[i], "1m"}, {"live", live[i], "1h"}} {
			resources += fmt.Sprintf(
				"resource \"jit_grant\" \"%s%d\" {\n  count = %d\n  target = \"t%d\"\n  principal = element(%s, count.index)\n  role = %q\n  scope = %q\n  reason = \"INC-${count.index}: lost\"\n  ttl = %q\n}\n",
				g.name,
				i,
				count(i),
				i,
				list(g.who),
				p.role(),
				p.scope(),
				g.ttl,
			)
		}
	}
	settings += "  }\n"
	s.Write("jit.hcl", settings)
	s.Write("main.tf",
		"terraform {\n  required_providers {\n    jit = { source = \"jitaccess/jit\" }\n  }\n}\nprovider \"jit\" {\n"+settings+"}\n"+resources,
	)
	s.Apply()
	type listing []struct {
		ID       string
		StartsAt string `json:"starts_at"`
		EndsAt   string `json:"expires_at"`
	}
	var made, listed listing
	decode(t, s.mustJit("list", "--all", "--json").Stdout, &made)
	recorded := map[string][2]any{}
	for _, g := range made {
		recorded[g.ID] = [2]any{g.StartsAt, g.EndsAt}
	}
	windows := map[string][2]any{} // of the live grants, by id
	over := map[string]bool{}
	var last time.Time
	for address, values := range s.State() {
		id := fmt.Sprint(values["id"])
		if strings.HasPrefix(address, "jit_grant.live") {
			if windows[id] = recorded[id]; windows[id][1] != values["expires_at"] {
				t.Errorf("%s: the state says %v, the record %v", id, values["expires_at"], windows[id])
			}
			continue
		}
		over[id] = true
		if end, err := time.Parse(time.RFC3339, fmt.Sprint(values["expires_at"])); err != nil {
			t.Fatal(err)
		} else if end.After(last) {
			last = end
		}
	}
	if len(windows) != each || len(over) != each {
		t.Fatalf("%d live and %d ended grants were made, want %d of each", len(windows), len(over), each)
	}
	time.Sleep(time.Until(last.Add(1100 * time.Millisecond)))
	s.loseLedger()

	var pass struct {
		Steps []struct {
			Kind, Result string
			Foreign      bool
			Grant        struct{ ID string }
		}
	}
	decode(t, s.mustJit("sweep", "--markers-only", "--json").Stdout, &pass)
	removed := map[string]bool{}
	for _, step := range pass.Steps {
		switch {
		case step.Kind == "remove" && step.Result == "done" && over[step.Grant.ID]:
			removed[step.Grant.ID] = true
		case step.Kind == "report" && step.Foreign: // of another test on the same server
		case step.Kind != "report" || windows[step.Grant.ID] == [2]any{}:
			t.Errorf("the sweep's step is %+v", step)
		}
	}
	if len(removed) != each {
		t.Errorf("%d grants were ended, want %d", len(removed), each)
	}
	for i, p := range places {
		for _, who := range ended[i] {
			may(t, p, who, false, "after the sweep by markers")
		}
		for _, who := range live[i] {
			may(t, p, who, true, "after the sweep by markers")
		}
		if n := p.marked(t); n != count(i) {
			t.Errorf("%d markers are left on target t%d, want %d", n, i, count(i))
		}
	}

	s.mustJit("adopt")
	decode(t, s.mustJit("list", "--all", "--json").Stdout, &listed)
	for _, g := range listed {
		if windows[g.ID] != [2]any{g.StartsAt, g.EndsAt} {
			t.Errorf("recorded %+v, its window is %v", g, windows[g.ID])
		}
	}
	if len(listed) != each {
		t.Errorf("%d grants were recorded, want %d", len(listed), each)
	}
	s.unchanged("after the adoption of the markers")
	s.mustJit("sweep")

	// The configuration adopts the records, with their windows and reasons.
	s.Must("state", "rm", "jit_grant.live0[7]")
	says(t, s.Apply(), "The grant is live already")
	again := s.State()["jit_grant.live0[7]"]
	if windows[fmt.Sprint(again["id"])][1] != again["expires_at"] {
		t.Errorf("adopted as %v, the window was %v", again, windows[fmt.Sprint(again["id"])])
	}
	says(t, s.mustJit("show", fmt.Sprint(again["id"])), "INC-7: lost")
	s.unchanged("after the adoption")
	s.Must("destroy", "-auto-approve")
	s.mustJit("sweep")
	for i, p := range places {
		for _, who := range live[i] {
			may(t, p, who, false, "after the destroy")
		}
		same(t, foreign[i], p.foreign(t), fmt.Sprintf("after the destroy, foreign access on target t%d is", i))
	}
	says(t, s.mustJit("audit", "verify"), "intact")
}

// list writes texts as a list in HCL.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// together is a place with the environment variables of several places.
type together struct {
	place
	env []string
}

func (p together) environment() []string { return slices.Clone(p.env) }

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
}
