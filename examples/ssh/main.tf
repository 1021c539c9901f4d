# A key that may log in to a host for an hour. OpenSSH itself refuses it afterwards.
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
  description = "The authorized_keys file that sshd reads. Terraform must run on the same machine."
  type        = string
}

variable "principal" {
  description = "The public key: the content of ~/.ssh/id_ed25519.pub."
  type        = string
}

provider "jit" {
  targets = {
    bastion = { ssh = { authorized_keys = var.authorized_keys } }
  }
}

resource "jit_policy" "bastion" {
  name           = "bastion"
  match          = [{ targets = ["bastion"], roles = ["login", "port-forward:*:5432"] }]
  max_ttl        = "4h"
  reason_pattern = "^(INC|CHG)-[0-9]+: "
  enforcement    = "native"
}

resource "jit_grant" "disk" {
  target    = "bastion"
  principal = var.principal
  role      = "login"
  reason    = "INC-4211: look at the disk"
  ttl       = "1h"
  policy    = jit_policy.bastion.name
}

output "until" {
  value = jit_grant.disk.expires_at
}
