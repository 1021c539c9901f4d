# Who has which bundles of access: people times bundles, from two maps.
terraform {
  required_version = ">= 1.3"
  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = ">= 0.1"
    }
  }
}

variable "bundles" {
  description = "The bundles by name. A bundle is a list of accesses: a role on a target, and a scope where it needs one."
  type = map(list(object({
    target = string
    role   = string
    scope  = optional(string)
  })))
}

variable "people" {
  description = <<-EOT
    The people by name. `bundles` names what they get. `principals` says what they are called on each target. `ttl` and
    `reason` replace the defaults; `renewal` is the next number if somebody needs the same for the same reason again.
  EOT
  type = map(object({
    bundles    = set(string)
    principals = map(string)
    reason     = string
    ttl        = optional(string)
    renewal    = optional(number)
  }))
}

variable "ttl" {
  description = "How long the access lasts if a person has no ttl."
  type        = string
  default     = "2h"
}

variable "policy" {
  description = "The name of the policy that has to permit the grants. Null: any policy may."
  type        = string
  default     = null
}

locals {
  # Every access of every person. Two bundles may hold the same access; it is granted once.
  wanted = merge([
    for name, person in var.people : merge([
      for bundle in person.bundles : {
        for access in lookup(var.bundles, bundle, []) :
        join(" ", compact([name, access.role, "on", access.target, access.scope])) => merge(access, {
          person    = name
          principal = lookup(person.principals, access.target, null)
        })
      }
    ]...)
  ]...)

  # The bundles that somebody has and that are not in var.bundles.
  unknown = flatten([
    for name, person in var.people : [
      for bundle in setsubtract(person.bundles, keys(var.bundles)) : "\"${bundle}\" of ${name}"
    ]
  ])
}

resource "jit_grant" "this" {
  for_each = local.wanted

  target    = each.value.target
  principal = each.value.principal
  role      = each.value.role
  scope     = each.value.scope
  reason    = var.people[each.value.person].reason
  ttl       = coalesce(var.people[each.value.person].ttl, var.ttl)
  renewal   = var.people[each.value.person].renewal
  policy    = var.policy

  lifecycle {
    precondition {
      condition     = each.value.principal != null
      error_message = "principals of ${each.value.person} has no entry for the target \"${each.value.target}\"."
    }
  }
}

output "ids" {
  description = "The ids of the grants, by person and access."
  value       = { for name, grant in jit_grant.this : name => grant.id }

  precondition {
    condition     = length(local.unknown) == 0
    error_message = "These bundles are not in the variable bundles: ${join(", ", local.unknown)}."
  }
}

output "until" {
  description = "When each access ends."
  value       = { for name, grant in jit_grant.this : name => grant.expires_at }
}
