# What the command jit reads: the attributes of the provider block. The ledger and the
# owner have to be those of the provider block.
ledger  = env("JIT_LEDGER") # the URL of the ledger, which may hold a password
owner   = "payments"
max_ttl = "24h"

targets = {
  bastion      = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
  payments-db  = { postgresql = { url = env("ADMIN_URL") } }
  prod         = { gcp = {} }
  gateway      = { hoop = { url = "https://hoop.example.com", api_key = env("HOOP_TOKEN") } }
  prod-cluster = { kubernetes = { kubeconfig = "~/.kube/config", context = "prod" } }
  prod-account = { aws_iam = { profile = "prod", account_id = "123456789012" } }
  subscription = { azure = {} }
  directory    = { aws_identity_center = { profile = "sso-admin", region = "eu-central-1" } }
}
