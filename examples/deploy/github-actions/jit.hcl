ledger = env("JIT_LEDGER")
owner  = "payments"

targets = {
  prod-account = { aws_iam = { account_id = "123456789012", region = "eu-central-1" } }
}
