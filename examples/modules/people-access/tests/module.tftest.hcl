# The provider does not run: nothing is granted, and no target or ledger is needed. Its checks of what a block says do
# run. The defaults stand for what only an apply knows; without them, times would be random texts.
mock_provider "jit" {
  mock_resource "jit_grant" {
    defaults = {
      id           = "3f2b8c1e-0000-8000-8000-000000000000"
      granted_at   = "2026-11-23T09:00:00Z"
      expires_at   = "2026-11-23T11:00:00Z"
      ttl_seconds  = 7200
      enforcement  = "native"
      session_tail = "0s"
      drift        = null
    }
  }
}

variables {
  bundles = {
    read  = [{ target = "db", role = "payments_read" }, { target = "prod", role = "roles/viewer", scope = "projects/p" }]
    debug = [{ target = "db", role = "payments_read" }, { target = "db", role = "payments_debug" }]
  }
  people = {
    alice = { bundles = ["read", "debug"], principals = { db = "alice", prod = "user:alice@example.com" }, reason = "INC-1: look" }
  }
}

run "an_access_of_two_bundles_is_granted_once" {
  assert {
    condition = toset(keys(jit_grant.this)) == toset([
      "alice payments_debug on db", "alice payments_read on db", "alice roles/viewer on prod projects/p",
    ])
    error_message = "Other grants than expected: ${join(", ", keys(jit_grant.this))}"
  }
  assert {
    condition     = alltrue([for g in jit_grant.this : g.ttl == "2h" && g.reason == "INC-1: look"])
    error_message = "The defaults do not reach the grants."
  }
  assert {
    condition     = alltrue([for end in values(output.until) : timeadd(end, "1m") == "2026-11-23T11:01:00Z"])
    error_message = "The output until does not hold the ends."
  }
}

run "an_unknown_bundle_is_refused" {
  command = plan
  variables {
    people = { alice = { bundles = ["raed"], principals = { db = "alice" }, reason = "INC-1: look" } }
  }
  expect_failures = [output.ids]
}

run "a_person_without_an_account_is_refused" {
  command = plan
  variables {
    people = { alice = { bundles = ["debug"], principals = {}, reason = "INC-1: look" } }
  }
  expect_failures = [jit_grant.this]
}
