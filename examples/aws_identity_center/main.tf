# Two hours in an account with a permission set of IAM Identity Center. `jit sweep` ends it.
terraform {
  required_version = ">= 1.3"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "account_id" {
  description = "The account to get access to."
  type        = string
}

variable "principal" {
  description = "Who: user:<user name or id> or group:<display name or id>."
  type        = string
}

variable "permission_set" {
  description = "The name or the ARN of the permission set."
  type        = string
  default     = "ReadOnlyAccess"
}

variable "endpoint" {
  description = "An endpoint instead of that of AWS."
  type        = string
  default     = null
}

# The credentials of the environment need the operator's policy, in the organization's management
# account or its delegated administrator. AWS_REGION is the region of the instance.
provider "jit" {
  targets = {
    directory = { aws_identity_center = { endpoint = var.endpoint } }
  }
}

resource "jit_policy" "readers" {
  name           = "account-readers"
  match          = [{ targets = ["directory"], roles = ["ReadOnly*"] }]
  max_ttl        = "8h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}

resource "jit_grant" "look" {
  target    = "directory"
  principal = var.principal
  role      = var.permission_set
  scope     = var.account_id
  reason    = "INC-4211: what has the deployment changed"
  ttl       = "2h"
  policy    = jit_policy.readers.name
}

output "until" {
  value = jit_grant.look.expires_at
}
