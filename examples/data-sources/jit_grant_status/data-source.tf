variable "grant_id" {
  description = "The id of a grant, from `jit list`."
  type        = string
}

data "jit_grant_status" "failover" {
  id = var.grant_id
}

output "failover" {
  value = "${data.jit_grant_status.failover.summary}, until ${data.jit_grant_status.failover.expires_at}"
}
