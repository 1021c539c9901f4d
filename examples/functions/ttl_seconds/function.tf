terraform {
  required_version = ">= 1.8"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

variable "ttl" {
  description = "How long the access lasts."
  type        = string
  default     = "8h"

  validation {
    condition     = provider::jit::ttl_seconds(var.ttl) <= 12 * 60 * 60
    error_message = "Access through this module lasts 12h at most."
  }
}
