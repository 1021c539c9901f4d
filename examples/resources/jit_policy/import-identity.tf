import {
  to = jit_policy.prod_oncall
  identity = {
    name = "prod-oncall"
  }
}
