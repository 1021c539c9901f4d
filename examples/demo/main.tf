terraform {
  required_version = ">= 1.3"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "authorized_keys" {
  description = "The file that sshd reads."
  type        = string
}

variable "principal" {
  description = "The public key that may log in."
  type        = string
}

variable "ttl" {
  description = "How long. Without it the plan refuses the grant."
  type        = string
  default     = null
}

provider "jit" {
  targets = {
    bastion = { ssh = { authorized_keys = var.authorized_keys } }
  }
}

resource "jit_policy" "incidents" {
  name           = "incidents"
  match          = [{ targets = ["bastion"], roles = ["login"] }]
  max_ttl        = "1h"
  reason_pattern = "^INC-[0-9]+: "
}

resource "jit_grant" "look" {
  target    = "bastion"
  principal = var.principal
  role      = "login"
  reason    = "INC-4211: look at the disk"
  ttl       = var.ttl
  policy    = jit_policy.incidents.name
}
