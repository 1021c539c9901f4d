# Alice may read the payments database for two hours, counted from the apply.
resource "jit_grant" "alice_reads" {
  target    = "payments-db"
  principal = "alice"
  role      = "payments_read"
  reason    = "INC-4211: find the stuck transfers"
  ttl       = "2h"
  policy    = jit_policy.prod_oncall.name
}

# The whole on-call team until a fixed time, in one namespace.
resource "jit_grant" "oncall" {
  target     = "prod-cluster"
  principal  = "group:oncall"
  role       = "ClusterRole/view"
  scope      = "namespaces/payments"
  reason     = "CHG-77: watch the migration"
  expires_at = "2026-11-23T12:30:00Z"
  policy     = jit_policy.prod_oncall.name
}

# Several people. With for_each, removing one name ends only that grant.
variable "keys" {
  description = "Public keys by the name of their owner."
  type        = map(string)
}

resource "jit_grant" "operators" {
  for_each = var.keys

  target    = "bastion"
  principal = each.value
  role      = "login"
  reason    = "INC-4211: look at the disk (${each.key})"
  ttl       = "1h"
  start_by  = "2026-11-23T18:00:00Z" # an old plan applied later grants nothing
  policy    = jit_policy.bastion.name
}
