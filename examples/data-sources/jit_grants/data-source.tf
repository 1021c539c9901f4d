data "jit_grants" "active" {
  target = "payments-db"
  state  = "active"
}

output "who_is_in" {
  value = { for g in data.jit_grants.active.grants : g.principal => g.expires_at... }
}
