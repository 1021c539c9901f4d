# Two hours of reading objects in one bucket, one hour of replacing them, and one hour of deleting them for one person who
# shares a role with others, from the office only. AWS itself ends each.
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
  description = "The account. The credentials of the environment need the operator's policy there."
  type        = string
}

variable "principal" {
  description = "Who: the ARN of a user, a role or a group."
  type        = string
}

variable "policy" {
  description = "The managed policy whose permissions the principal gets."
  type        = string
  default     = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
}

variable "bucket" {
  description = "The bucket to read."
  type        = string
}

variable "session" {
  description = "One session of a shared role: the ARN of an SSO user's session. Null for none."
  type        = string
  default     = null
}

variable "office" {
  description = "The network from which objects may be deleted."
  type        = string
  default     = "203.0.113.0/24"
}

variable "endpoint" {
  description = "An endpoint instead of that of AWS."
  type        = string
  default     = null
}

provider "jit" {
  targets = {
    prod = { aws_iam = { account_id = var.account_id, endpoint = var.endpoint } }
  }
}

resource "jit_policy" "readers" {
  name = "bucket-readers"
  match = [
    { targets = ["prod"], roles = ["arn:aws:iam::*:policy/*S3ReadOnly* on *"] },
    { targets = ["prod"], roles = ["actions:s3:GetObject,s3:PutObject on arn:aws:s3:::*"] },
    { targets = ["prod"], roles = ["actions:s3:DeleteObject on arn:aws:s3:::* if source-ip=${var.office}"] },
  ]
  max_ttl        = "8h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
}

resource "jit_grant" "look" {
  target    = "prod"
  principal = var.principal
  role      = "${var.policy} on arn:aws:s3:::${var.bucket} arn:aws:s3:::${var.bucket}/*"
  reason    = "INC-4211: which invoices are missing"
  ttl       = "2h"
  policy    = jit_policy.readers.name
}

# Single actions, where no managed policy fits.
resource "jit_grant" "replace" {
  target    = "prod"
  principal = var.principal
  role      = "actions:s3:GetObject,s3:PutObject on arn:aws:s3:::${var.bucket}/*"
  reason    = "INC-4211: replace the invoices"
  ttl       = "1h"
  policy    = jit_policy.readers.name
}

# One person of a shared role, under a condition that the policy demands.
resource "jit_grant" "delete" {
  count     = var.session == null ? 0 : 1
  target    = "prod"
  principal = var.session
  role      = "actions:s3:DeleteObject on arn:aws:s3:::${var.bucket}/* if source-ip=${var.office}"
  reason    = "INC-4211: delete the wrong invoices"
  ttl       = "1h"
  policy    = jit_policy.readers.name
}

output "until" {
  value = jit_grant.look.expires_at
}
