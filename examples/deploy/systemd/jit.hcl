# /etc/jit/jit.hcl, which anyone may read. The secrets are in /etc/jit/environment, which only root may read:
#   JIT_LEDGER=postgres://…
#   ADMIN_URL=postgres://…
ledger = env("JIT_LEDGER")
owner  = "payments"
listen = "127.0.0.1:8085"

targets = {
  payments-db = { postgresql = { url = env("ADMIN_URL") } }
}
