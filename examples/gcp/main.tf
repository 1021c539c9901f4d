# A user who may connect to the databases of a project for two hours. Google Cloud itself ends it.
terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}

variable "project" {
  description = "The id of the project."
  type        = string
}

variable "principal" {
  description = "Who: user:<address>, group:<address> or serviceAccount:<address>."
  type        = string
}

provider "jit" {
  targets = {
    prod = { gcp = {} } # Application Default Credentials
  }
}

resource "jit_policy" "databases" {
  name           = "prod-databases"
  match          = { targets = ["prod"], roles = ["roles/cloudsql.*"], scopes = ["projects/*"] }
  max_ttl        = "8h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
  enforcement    = "native"
}

resource "jit_grant" "failover" {
  target    = "prod"
  principal = var.principal
  role      = "roles/cloudsql.client"
  scope     = "projects/${var.project}"
  reason    = "INC-4211: fail over the primary"
  ttl       = "2h"
  policy    = jit_policy.databases.name
}

output "until" {
  value = jit_grant.failover.expires_at
}
