# Somebody who approves. Signatures by this key count as Lea's.
resource "jit_person" "lea" {
  name         = "lea@example.com"
  groups       = ["group:payments-leads"]
  signing_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBEpMmcaQDa7RrvUdYgxFOd8cmZphQCfzkQ6jWvPM4P2 lea"]
  github       = "lea-gh"
}

# Somebody who asks. Alice cannot approve access for these principals.
resource "jit_person" "alice" {
  name       = "alice@example.com"
  groups     = ["group:oncall"]
  principals = ["user:alice@example.com", "alice"]
}
