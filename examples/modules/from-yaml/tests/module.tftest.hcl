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
  file   = "tests/access.yaml"
  policy = "from-yaml"
}

run "the_file_becomes_a_policy_and_grants" {
  assert {
    condition     = keys(jit_grant.this) == ["alice, INC-1: find the stuck transfers, payments_read on db"]
    error_message = "Other grants than expected: ${join("; ", keys(jit_grant.this))}"
  }
  assert {
    condition     = jit_policy.this.match[0].principals == tolist(["alice_db"])
    error_message = "The policy permits other people."
  }
}

run "an_unknown_key_is_refused" {
  command = plan
  variables {
    file = "tests/misspelt.yaml"
  }
  expect_failures = [jit_policy.this]
}
