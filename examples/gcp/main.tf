# A user who may connect to the databases of a project for two hours, and read one of its secrets and one dataset of
# BigQuery for half an hour. Google Cloud itself ends all three.
terraform {
  required_version = ">= 1.3"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
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

variable "secret" {
  description = "The name of a secret of the project."
  type        = string
}

variable "dataset" {
  description = "The name of a BigQuery dataset of the project."
  type        = string
}

provider "jit" {
  targets = {
    prod = { gcp = {} } # Application Default Credentials
  }
}

resource "jit_policy" "databases" {
  name           = "prod-databases"
  match          = [{ targets = ["prod"], roles = ["roles/cloudsql.*"], scopes = ["projects/*"] }]
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

resource "jit_policy" "secrets" {
  name        = "prod-secrets"
  match       = [{ targets = ["prod"], roles = ["roles/secretmanager.secretAccessor"], scopes = ["projects/*/secrets/*"] }]
  max_ttl     = "1h"
  enforcement = "native"
}

resource "jit_grant" "secret" {
  target    = "prod"
  principal = var.principal
  role      = "roles/secretmanager.secretAccessor"
  scope     = "projects/${var.project}/secrets/${var.secret}"
  reason    = "INC-4211: the password of the replica"
  ttl       = "30m"
  policy    = jit_policy.secrets.name
}

resource "jit_policy" "datasets" {
  name        = "prod-datasets"
  match       = [{ targets = ["prod"], roles = ["roles/bigquery.dataViewer"], scopes = ["projects/*/datasets/*"] }]
  max_ttl     = "1h"
  enforcement = "native"
}

resource "jit_grant" "dataset" {
  target    = "prod"
  principal = var.principal
  role      = "roles/bigquery.dataViewer"
  scope     = "projects/${var.project}/datasets/${var.dataset}"
  reason    = "INC-4211: find the stuck transfers"
  ttl       = "30m"
  policy    = jit_policy.datasets.name
}

output "until" {
  value = jit_grant.failover.expires_at
}
