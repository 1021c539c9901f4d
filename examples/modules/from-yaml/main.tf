# Access from a file of joins, as IAM brokers keep it: who is in which team, what a team may ask for, who asks now.
terraform {
  required_version = ">= 1.3"
  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = ">= 0.1"
    }
  }
}

variable "file" {
  description = "The path of the YAML file, with the lists people, permissions and requests."
  type        = string

  validation {
    condition = alltrue([
      for list in ["people", "permissions", "requests"] : contains(keys(yamldecode(file(var.file))), list)
    ])
    error_message = "The file needs the lists people, permissions and requests."
  }
}

variable "policy" {
  description = "The name of the policy that has to permit the grants. It is made from the permissions."
  type        = string
}

variable "max_ttl" {
  description = "How long a grant lasts at most."
  type        = string
  default     = "8h"
}

locals {
  # A list without entries is null in YAML; [*] makes it an empty list.
  access = { for list in ["people", "permissions", "requests"] : list => yamldecode(file(var.file))[list][*] }

  people      = { for person in local.access.people : person.name => person }
  permissions = { for permission in local.access.permissions : permission.name => permission }

  # The joins: what each permission gives, on each of its targets, to each of its principals.
  joins = flatten([
    for permission in local.access.permissions : [
      for target in permission.targets : {
        targets    = [target]
        roles      = permission.roles
        scopes     = try(permission.scopes, null)
        principals = [for name in permission.people[*] : try(local.people[name].accounts[target], null)]
      }
    ] if length(permission.people[*]) > 0
  ])

  # A request for a permission is one grant for each role on each target and scope.
  asked = flatten([
    for request in local.access.requests : [
      for target in try(local.permissions[request.permission].targets, []) : [
        for role in local.permissions[request.permission].roles : [
          for scope in try(local.permissions[request.permission].scopes, [null]) : {
            person    = request.person
            principal = try(local.people[request.person].accounts[target], null)
            target    = target
            role      = role
            scope     = scope
            reason    = "${request.ticket}: ${request.why}"
            ttl       = request.ttl
            renewal   = try(request.renewal, 1)
          }
        ]
      ]
    ]
  ])
  wanted = {
    for grant in local.asked : join(", ", compact([
      grant.person, grant.reason, grant.renewal == 1 ? "" : "renewal ${grant.renewal}",
      join(" ", compact([grant.role, "on", grant.target, grant.scope]))
    ])) => grant
  }

  keys = {
    people      = ["name", "accounts"]
    permissions = ["name", "targets", "roles", "scopes", "people"]
    requests    = ["person", "permission", "ticket", "why", "ttl", "renewal"]
  }

  # What is wrong in the file. Without this check, a misspelt "scopes" would permit every scope.
  wrong = distinct(flatten([
    [for list, entries in local.access : [
      for entry in entries : [
        for key in setsubtract(keys(entry), local.keys[list]) : "An entry of ${list} has the unknown key \"${key}\"."
      ]
    ]],
    [for request in local.access.requests :
      "${request.person} asks for the permission \"${request.permission}\", which does not exist."
    if !contains(keys(local.permissions), request.permission)],
    [for permission in local.access.permissions : [
      for name in permission.people[*] : [
        for target in permission.targets : "\"${name}\" has no account on ${target}, which ${permission.name} needs."
        if !can(local.people[name].accounts[target])
      ]
    ]],
    [for grant in local.asked : "\"${grant.person}\" has no account on ${grant.target}."
    if grant.principal == null],
  ]))
}

resource "jit_policy" "this" {
  name           = var.policy
  match          = local.joins
  max_ttl        = var.max_ttl
  reason_pattern = "^[A-Z]+-[0-9]+: "

  lifecycle {
    precondition {
      condition     = length(local.wrong) == 0
      error_message = join("\n", local.wrong)
    }
  }
}

resource "jit_grant" "this" {
  for_each = local.wanted

  target    = each.value.target
  principal = each.value.principal
  role      = each.value.role
  scope     = each.value.scope
  reason    = each.value.reason
  ttl       = each.value.ttl
  renewal   = each.value.renewal
  policy    = jit_policy.this.name
}

output "until" {
  description = "When each access ends."
  value       = { for name, grant in jit_grant.this : name => grant.expires_at }
}
