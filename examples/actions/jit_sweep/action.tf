# terraform apply -invoke=action.jit_sweep.now
action "jit_sweep" "now" {}
