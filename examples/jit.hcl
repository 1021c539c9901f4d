# Settings of the command jit: the attributes of the provider block. With config = "jit.hcl", the provider block reads
# them here. Without it, write the same ledger and owner in both places.
ledger  = env("JIT_LEDGER") # the URL of the ledger, which may hold a password
owner   = "payments"
max_ttl = "24h"

targets = {
  bastion      = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
  payments-db  = { postgresql = { url = env("ADMIN_URL") }, on_drift = "repair" }
  prod         = { gcp = {} }
  gateway      = { hoop = { url = "https://hoop.example.com", api_key = env("HOOP_TOKEN") } }
  prod-cluster = { kubernetes = { kubeconfig = "~/.kube/config", context = "prod" } }
  prod-account = { aws_iam = { profile = "prod", account_id = "123456789012" } }
  subscription = { azure = {} }
  directory    = { aws_identity_center = { profile = "sso-admin", region = "eu-central-1" } }
}

# What the sweeper does about findings, and how often the daemon looks.
interval                  = "1m"
drift_interval            = "5m"
on_violation              = "report"
max_unplanned_revocations = 20

# The status page, metrics and health of the daemon. Beyond loopback, set listen_token or listen_proxy.
listen = "127.0.0.1:8085"

# Who gets notices.
notify = {
  ops = { url = env("OPS_HOOK"), secret = env("OPS_SECRET") }
}
notice_before = "15m"
