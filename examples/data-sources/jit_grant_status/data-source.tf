variable "grant_id" {
  description = "The id of a grant, from `jit list`."
  type        = string
}

data "jit_grant_status" "failover" {
  id = var.grant_id
}

output "failover" {
  value = "${data.jit_grant_status.failover.state}, ${data.jit_grant_status.failover.remaining_seconds} s left"
}
