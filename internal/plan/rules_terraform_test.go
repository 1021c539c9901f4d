package plan_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Policies and persons of a real plan, some of whose values are known only after the apply.
func TestRulesOfRealPlan(t *testing.T) {
	for _, tf := range testenv.Terraforms(t) {
		t.Run(tf.String(), func(t *testing.T) {
			w := acctest.New(t, tf, acctest.Options{})
			w.Write("main.tf", `
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}
provider "jit" {}
resource "terraform_data" "later" {
  input = "view"
}
locals {
  later = terraform_data.later.output
}
resource "jit_person" "known" {
  name         = "lea"
  groups       = ["group:b", "group:a"]
  principals   = []
}
resource "jit_person" "later" {
  name   = "leo"
  groups = ["group:a", local.later]
}
resource "jit_policy" "known" {
  name             = "known"
  match            = [{ targets = ["prod"], roles = ["view", "edit"] }]
  max_ttl          = "4h"
  max_session_tail = "0s"
  enforcement      = "native"
  approval         = [{ required = 1, from = ["lea"], valid_for = "2h" }]
  depends_on       = [jit_person.known]
}
resource "jit_policy" "later" {
  name        = "later"
  match       = [{ targets = ["prod"], roles = ["view", local.later], scopes = local.later == "" ? null : ["s"] }]
  max_ttl     = local.later
  condition   = local.later
  enforcement = "any"
  approval    = [{ required = 1, from = ["lea", local.later] }]
}
resource "jit_policy" "unmatched" {
  name  = "unmatched"
  match = [for target in ["a", "b"] : { targets = [target] } if local.later != ""]
}

resource "jit_policy" "halves" {
  name  = "halves"
  match = [{ roles = ["view"] }, local.later == "" ? null : { roles = ["edit"] }]
}
resource "jit_policy" "forbid" {
  name   = "forbid"
  effect = "forbid"
  match  = [{ targets = [local.later] }]
}
`)
			w.Must("plan", "-out=tf.plan")
			file := filepath.Join(w.Dir, "plan.json")
			if err := os.WriteFile(file, []byte(w.Must("show", "-json", "tf.plan").Stdout), 0o600); err != nil {
				t.Fatal(err)
			}
			loaded, err := plan.Load("--plan", file)
			if err != nil {
				t.Fatal(err)
			}
			none := time.Duration(0)
			want := map[string]any{
				"jit_person.known": jit.Person{Name: "lea", Groups: []string{"group:a", "group:b"}},
				"jit_person.later": jit.Person{Name: "leo", Groups: []string{"group:a"}},
				"jit_policy.known": jit.Policy{
					Name: "known", Effect: jit.Permit, Match: jit.Matches{{Targets: []string{"prod"}, Roles: []string{"view", "edit"}}},
					MaxTTL: 4 * time.Hour, MaxSessionTail: &none, NativeOnly: true,
					Approval: []jit.Requirement{{Required: 1, From: []string{"lea"}, ValidFor: 2 * time.Hour}},
				},
				"jit_policy.later": jit.Policy{
					Name: "later", Effect: jit.Permit, Match: jit.Matches{{Targets: []string{"prod"}}}, SweeperAccepted: true,
				},
				"jit_policy.unmatched": jit.Policy{Name: "unmatched", Effect: jit.Permit},
				"jit_policy.halves": jit.Policy{
					Name: "halves", Effect: jit.Permit, Match: jit.Matches{{Roles: []string{"view"}}, {}},
				},
				"jit_policy.forbid": jit.Policy{Name: "forbid", Effect: jit.Forbid, Condition: "false"},
			}
			for _, c := range loaded.ResourceChanges {
				if want[c.Address] == nil {
					continue
				}
				var got any
				var complete bool
				values, _ := c.Change.After.(map[string]any)
				if c.Type == "jit_policy" {
					got, complete, err = plan.PolicyOf(values, c.Change.AfterUnknown)
				} else {
					got, complete, err = plan.PersonOf(values, c.Change.AfterUnknown)
				}
				if err != nil || !reflect.DeepEqual(got, want[c.Address]) {
					t.Errorf("%s is\n%+v, %v\nwant\n%+v", c.Address, got, err, want[c.Address])
				}
				if known := c.Name == "known"; complete != known {
					t.Errorf("%s is complete: %v", c.Address, complete)
				}
				delete(want, c.Address)
			}
			if len(want) > 0 {
				t.Errorf("the plan lacks %v", want)
			}
		})
	}
}
