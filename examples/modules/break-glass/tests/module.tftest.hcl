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
  name       = "payments"
  covers     = [{ targets = ["bastion"] }]
  approvers  = ["lea"]
  responders = ["alice"]
  emergencies = {
    down = { requester = "alice", target = "bastion", principal = "alice", role = "login", reason = "SEV1-12: down" }
  }
}

run "an_emergency_begins_without_approval_and_is_short" {
  assert {
    condition     = jit_grant.emergency["down"].break_glass && jit_grant.emergency["down"].ttl == "1h"
    error_message = "The emergency waits for approval, or lasts too long."
  }
  assert {
    condition     = jit_policy.this.approval[0].from == tolist(["lea"]) && jit_policy.this.break_glass.from == tolist(["alice"])
    error_message = "The policy names other people."
  }
}

run "a_misspelt_list_is_refused" {
  command = plan
  variables {
    covers = [{ target = ["bastion"] }]
  }
  expect_failures = [var.covers]
}
