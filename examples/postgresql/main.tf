# A login role that is a member of another role for two hours. `jit sweep` ends it.
terraform {
  required_version = ">= 1.10"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "admin_url" {
  description = "The URL of a role that may create roles and grant var.role."
  type        = string
  sensitive   = true
  ephemeral   = true # in no plan and in no state
}

variable "principal" {
  description = "The login role that gets the access."
  type        = string
}

variable "role" {
  description = "The role to become a member of."
  type        = string
}

provider "jit" {
  targets = {
    payments-db = { postgresql = { url = var.admin_url } }
  }
}

resource "jit_policy" "readers" {
  name           = "payments-readers"
  match          = [{ targets = ["payments-db"], roles = [var.role] }]
  max_ttl        = "4h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}

resource "jit_grant" "transfers" {
  target             = "payments-db"
  principal          = var.principal
  role               = var.role
  reason             = "INC-4211: find the stuck transfers"
  ttl                = "2h"
  policy             = jit_policy.readers.name
  terminate_sessions = true
}

output "until" {
  value = jit_grant.transfers.expires_at
}
