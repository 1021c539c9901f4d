data "jit_policy" "oncall" {
  name = "prod-oncall"
}

output "longest" {
  value = data.jit_policy.oncall.max_ttl
}
