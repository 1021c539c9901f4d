# During an incident or a change: four hours at most, and the ticket in the reason.
resource "jit_policy" "prod_oncall" {
  name        = "prod-oncall"
  description = "On-call access to production"
  match = [
    { targets = ["prod-*"], roles = ["ClusterRole/view"] },
    { targets = ["payments-db"], roles = ["payments_read"] },
  ]
  max_ttl        = "4h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}

# Nobody gets cluster-admin, whatever another policy permits.
resource "jit_policy" "no_admin" {
  name   = "no-admin"
  effect = "forbid"
  match  = [{ platforms = ["kubernetes"], roles = ["ClusterRole/cluster-admin"] }]
}

# A rule that lists cannot express, in CEL.
resource "jit_policy" "bastion" {
  name        = "bastion"
  match       = [{ targets = ["bastion"] }]
  enforcement = "native"
  condition   = "grant.role == 'login' ? grant.ttl <= duration('1h') : grant.ttl <= duration('8h')"
}

# A lead must approve access to payments, except short reading. In an outage, on-call people begin without approval.
resource "jit_policy" "payments" {
  name  = "payments"
  match = [{ targets = ["payments-db"] }]
  approval = [{
    required  = 1
    from      = ["group:payments-leads"]
    unless    = "grant.role == 'payments_read' && grant.ttl <= duration('30m')"
    valid_for = "24h"
  }]
  break_glass = { from = ["group:oncall"], max_ttl = "1h", reason_pattern = "^SEV1-" }
  depends_on  = [jit_person.lea, jit_person.alice]
}
