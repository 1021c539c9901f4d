data "jit_targets" "gcp" {
  platform = "gcp"
}

output "projects" {
  value = { for t in data.jit_targets.gcp.targets : t.name => t.scopes }
}
