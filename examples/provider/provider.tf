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
  description = "The URL of a PostgreSQL role that may create roles. It holds a password."
  type        = string
  sensitive   = true
  ephemeral   = true # in no plan and in no state
}

provider "jit" {
  ledger  = "sqlite://.jit/ledger.db" # in CI: postgres://…, or the variable JIT_LEDGER
  owner   = "payments"
  max_ttl = "24h"

  targets = {
    bastion      = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
    payments-db  = { postgresql = { url = var.admin_url } }
    prod         = { gcp = {} }
    prod-cluster = { kubernetes = { kubeconfig = "~/.kube/config", context = "prod" } }
  }
}
