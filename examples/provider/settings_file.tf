terraform {
  required_providers {
    jit = { source = "jitaccess/jit" }
  }
}

provider "jit" {
  config = "jit.hcl"
}
