terraform import jit_policy.prod_oncall prod-oncall
