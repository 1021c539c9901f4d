# Access that needs approval, and people who may begin without it in an emergency.
terraform {
  required_version = ">= 1.3"
  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = ">= 0.1"
    }
  }
}

variable "name" {
  description = "The name of the policy."
  type        = string
}

variable "covers" {
  description = "What the policy covers: entries with lists of globs, as in match of jit_policy."
  type        = any # an object type would drop a list with a misspelt name, and the policy would cover more

  validation {
    condition = alltrue([
      for list in flatten([for entry in var.covers : keys(entry)]) :
      contains(["targets", "platforms", "owners", "principals", "roles", "scopes"], list)
    ])
    error_message = "An entry of covers has only the lists targets, platforms, owners, principals, roles and scopes."
  }
}

variable "approvers" {
  description = "Who approves: names of people, or groups of theirs."
  type        = list(string)
}

variable "responders" {
  description = "Who may begin without approval: names of people, or groups of theirs."
  type        = list(string)
}

variable "max_ttl" {
  description = "How long access lasts at most: with approval, and in an emergency."
  type        = object({ approved = string, emergency = string })
  default     = { approved = "4h", emergency = "1h" }
}

variable "emergencies" {
  description = "The emergencies by name: who asks, for which access, why, and for how long. The reason begins with SEV1."
  type = map(object({
    requester = string
    target    = string
    principal = string
    role      = string
    scope     = optional(string)
    reason    = string
    ttl       = optional(string, "1h")
  }))
  default = {}
}

resource "jit_policy" "this" {
  name    = var.name
  match   = var.covers
  max_ttl = var.max_ttl.approved

  approval    = [{ required = 1, from = var.approvers }]
  break_glass = { from = var.responders, max_ttl = var.max_ttl.emergency, reason_pattern = "^SEV1" }
}

resource "jit_grant" "emergency" {
  for_each = var.emergencies

  target      = each.value.target
  principal   = each.value.principal
  role        = each.value.role
  scope       = each.value.scope
  reason      = each.value.reason
  ttl         = each.value.ttl
  requester   = each.value.requester
  break_glass = true
  policy      = jit_policy.this.name
}

output "policy" {
  description = "The name of the policy, for grants that wait for approval."
  value       = jit_policy.this.name
}

output "until" {
  description = "When the access of each emergency ends."
  value       = { for name, grant in jit_grant.emergency : name => grant.expires_at }
}
