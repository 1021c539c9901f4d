# A user who may view one namespace for two hours. `jit sweep` ends it.
terraform {
  required_version = ">= 1.3"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "kubeconfig" {
  description = "A kubeconfig file whose current context has the ClusterRole jit-operator."
  type        = string
  default     = "~/.kube/config"
}

variable "namespace" {
  description = "The namespace that the user may view."
  type        = string
}

variable "principal" {
  description = "Who: user:<name>, group:<name> or serviceaccount:<namespace>/<name>."
  type        = string
}

provider "jit" {
  targets = {
    prod-cluster = { kubernetes = { kubeconfig = var.kubeconfig } }
  }
}

resource "jit_policy" "viewers" {
  name           = "cluster-viewers"
  match          = [{ targets = ["prod-cluster"], roles = ["ClusterRole/view"], scopes = ["namespaces/*"] }]
  max_ttl        = "8h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}

resource "jit_grant" "look" {
  target    = "prod-cluster"
  principal = var.principal
  role      = "ClusterRole/view"
  scope     = "namespaces/${var.namespace}"
  reason    = "INC-4211: why do the pods restart"
  ttl       = "2h"
  policy    = jit_policy.viewers.name
}

output "until" {
  value = jit_grant.look.expires_at
}
