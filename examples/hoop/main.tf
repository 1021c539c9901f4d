# A user who may connect to a database through hoop for two hours. hoop itself ends it.
terraform {
  required_version = ">= 1.10"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "url" {
  description = "The address of the gateway."
  type        = string
}

variable "api_key" {
  description = "An API key of the gateway with the group admin."
  type        = string
  sensitive   = true
  ephemeral   = true # in no plan and in no state
}

variable "principal" {
  description = "The e-mail of the user."
  type        = string
  default     = "alice@example.com"
}

provider "jit" {
  targets = {
    gateway = { hoop = { url = var.url, api_key = var.api_key, metadata = { ticket = "by jit" } } }
    # The same gateway, with decisions by the reviewers of a connection. An apply waits for them.
    reviewed = { hoop = { url = var.url, api_key = var.api_key, metadata = { ticket = "by jit" }, approval = "hoop" } }
  }
}

resource "jit_policy" "databases" {
  name           = "hoop-databases"
  match          = [{ targets = ["gateway"], roles = ["connect"], scopes = ["*-db"] }]
  max_ttl        = "8h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}

resource "jit_grant" "failover" {
  target             = "gateway"
  principal          = var.principal
  role               = "connect"
  scope              = "payments-db"
  reason             = "INC-4211: fail over the primary"
  ttl                = "2h"
  terminate_sessions = true
  policy             = jit_policy.databases.name
}

output "until" {
  value = jit_grant.failover.expires_at
}
