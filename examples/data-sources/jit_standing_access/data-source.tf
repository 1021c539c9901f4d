data "jit_standing_access" "database" {
  target = "payments-db"
}

check "no_standing_access" {
  assert {
    condition     = length([for f in data.jit_standing_access.database.findings : f if f.severity == "critical"]) == 0
    error_message = "Somebody has for good what a grant gives for a while: ${join(", ", data.jit_standing_access.database.findings[*].principal)}"
  }
}
