# A user who may read a resource group for two hours. Privileged Identity Management ends it.
terraform {
  required_version = ">= 1.3"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "principal" {
  description = "Who: user:<object id>, group:<object id> or servicePrincipal:<object id>."
  type        = string
}

variable "scope" {
  description = "The id of a management group, subscription, resource group or resource."
  type        = string
}

provider "jit" {
  targets = {
    subscription = { azure = {} } # the credentials of `az login`, or of the environment
  }
}

resource "jit_policy" "readers" {
  name           = "azure-readers"
  match          = [{ targets = ["subscription"], roles = ["Reader", "*Data Reader"] }]
  max_ttl        = "8h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
  enforcement    = "native"
}

resource "jit_grant" "logs" {
  target    = "subscription"
  principal = var.principal
  role      = "Reader"
  scope     = var.scope
  reason    = "INC-4211: read the logs of the failover"
  ttl       = "2h"
  policy    = jit_policy.readers.name
}

output "until" {
  value = jit_grant.logs.expires_at
}
