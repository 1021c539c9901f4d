terraform {
  required_version = ">= 1.3"

  required_providers {
    jit = {
      source  = "jitaccess/jit"
      version = "~> 0.1"
    }
  }
}

provider "jit" {
  config = "jit.hcl"
}
