# The provider does not run: nothing is granted, and no target or ledger is needed. Its checks of what a block says do
# run. The defaults stand for what only an apply knows; without them, times would be random texts. The module sets
# expires_at, for which OpenTofu takes no default.
mock_provider "jit" {
  mock_resource "jit_grant" {
    defaults = {
      id           = "3f2b8c1e-0000-8000-8000-000000000000"
      granted_at   = "2026-11-23T09:00:00Z"
      enforcement  = "native"
      session_tail = "0s"
      drift        = null
    }
  }
}

variables {
  rota     = "payments"
  accesses = { logs = { target = "bastion", role = "login" } }
  shifts = {
    "2026-W48" = { principals = { bastion = "alice" }, ends_at = "2026-11-23T18:00:00Z" }
    "2026-W49" = { principals = { bastion = "alice" }, ends_at = "2026-11-30T18:00:00Z" }
  }
}

run "each_shift_is_a_grant_of_its_own" {
  assert {
    condition = { for name, g in jit_grant.this : name => "${g.reason}, until ${g.expires_at}" } == {
      "2026-W48 logs" = "payments on call, shift 2026-W48, until 2026-11-23T18:00:00Z"
      "2026-W49 logs" = "payments on call, shift 2026-W49, until 2026-11-30T18:00:00Z"
    }
    error_message = "Shifts that share a reason would be one grant."
  }
}

run "a_person_without_an_account_is_refused" {
  command = plan
  variables {
    shifts = { "2026-W48" = { principals = {}, ends_at = "2026-11-23T18:00:00Z" } }
  }
  expect_failures = [jit_grant.this]
}
