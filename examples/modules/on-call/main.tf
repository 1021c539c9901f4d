# Access for whoever is on call, for as long as their shift lasts.
terraform {
  required_version = ">= 1.3"
  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = ">= 0.1"
    }
  }
}

variable "shifts" {
  description = <<-EOT
    The shifts that have begun, by a name that never comes back, such as the beginning or "2026-W49". `principals` says
    what the person is called on each target. The access ends at `ends_at` (RFC 3339). A shift that is over may stay
    or go. A shift that ended before its first apply has to go. `renewal` is the next number if a name came back.
  EOT
  type = map(object({
    principals = map(string)
    ends_at    = string
    renewal    = optional(number)
  }))
}

variable "accesses" {
  description = "What a shift needs: a role on a target, and a scope where it needs one, by a name of your own."
  type = map(object({
    target = string
    role   = string
    scope  = optional(string)
  }))
}

variable "rota" {
  description = "The name of the rota. It stands in every reason."
  type        = string
}

variable "policy" {
  description = "The name of the policy that has to permit the grants. Null: any policy may."
  type        = string
  default     = null
}

locals {
  wanted = merge([
    for shift, on_call in var.shifts : {
      for name, access in var.accesses : "${shift} ${name}" => merge(access, {
        shift     = shift
        principal = lookup(on_call.principals, access.target, null)
        ends_at   = on_call.ends_at
        renewal   = on_call.renewal
      })
    }
  ]...)
}

resource "jit_grant" "this" {
  for_each = local.wanted

  target     = each.value.target
  principal  = each.value.principal
  role       = each.value.role
  scope      = each.value.scope
  expires_at = each.value.ends_at
  renewal    = each.value.renewal
  policy     = var.policy

  # A grant is given once for one reason. The name of the shift makes each shift a new one, also if the same person
  # comes back.
  reason = "${var.rota} on call, shift ${each.value.shift}"

  lifecycle {
    precondition {
      condition     = each.value.principal != null
      error_message = "principals of the shift ${each.value.shift} has no entry for the target \"${each.value.target}\"."
    }
  }
}

output "until" {
  description = "When each access ends."
  value       = { for name, grant in jit_grant.this : name => grant.expires_at }
}
