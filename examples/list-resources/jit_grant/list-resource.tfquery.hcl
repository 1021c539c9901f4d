# terraform query -generate-config-out=grants.tf
list "jit_grant" "active" {
  provider = jit
  limit    = 1000

  config {
    target = "payments-db"
    state  = "active"
  }
}
