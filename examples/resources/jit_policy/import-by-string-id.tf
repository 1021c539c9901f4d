import {
  to = jit_policy.prod_oncall
  id = "prod-oncall"
}
