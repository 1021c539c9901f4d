#!/usr/bin/env bash
# A grant's whole life in about two minutes: refused, planned, applied, over, gone.
# Everything happens in a temporary directory.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../../bin" && pwd)
work=$(mktemp -d)
sshd_pid=
cleanup() {
  [ -z "$sshd_pid" ] || kill "$sshd_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

bold='' faint='' plain=''
if [ -t 1 ]; then
  bold=$'\033[1m' faint=$'\033[2m' plain=$'\033[0m'
fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$faint" "$*" "$plain"; "$@"; }
fail() { echo "demo: $*" >&2; exit 1; }

tf=$(command -v terraform || command -v tofu || true)
[ -n "$tf" ] || fail "install Terraform or OpenTofu: neither terraform nor tofu is on PATH"

cp "$here/main.tf" "$work/"
cd "$work"
cat > cli.tfrc <<RC
provider_installation {
  dev_overrides {
    "registry.terraform.io/jitaccess/jit" = "$bin"
    "registry.opentofu.org/jitaccess/jit" = "$bin"
  }
}
RC
export TF_CLI_CONFIG_FILE=$work/cli.tfrc TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1 JIT_LEDGER="sqlite://$work/.jit/ledger.db"
unset CI

keys=$work/authorized_keys
cat > jit.hcl <<HCL
ledger  = "$JIT_LEDGER"
targets = { bastion = { ssh = { authorized_keys = "$keys" } } }
HCL
echo "# this line was here before" > "$keys"
chmod 600 "$keys"
if command -v ssh-keygen >/dev/null; then
  ssh-keygen -q -t ed25519 -N '' -C demo -f "$work/key"
  public=$(cat "$work/key.pub")
else
  public="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJYKhZZyG4rA1HzbbAxkkWxnnIWqGvWGm0HjVgEnQzpG demo"
fi
export TF_VAR_authorized_keys=$keys TF_VAR_principal=$public

# A real sshd on a loopback port, if OpenSSH is installed.
sshd=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd || true)
login() {
  ssh -F none -p "$port" -i "$work/key" -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 "$(id -un)@127.0.0.1" 'echo "logged in as $(id -un)"'
}
if [ -n "$sshd" ] && [ -f "$work/key" ] && command -v ssh >/dev/null; then
  [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
  ssh-keygen -q -t ed25519 -N '' -f "$work/host"
  for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 20000))
    cat > sshd_config <<CONF
ListenAddress 127.0.0.1
Port $port
HostKey $work/host
PidFile none
AuthorizedKeysFile $keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
CONF
    "$sshd" -D -e -f sshd_config 2> sshd.log &
    sshd_pid=$!
    sleep 0.5
    if kill -0 "$sshd_pid" 2>/dev/null; then break; fi
    sshd_pid=
  done
  [ -n "$sshd_pid" ] || { cat sshd.log >&2; fail "sshd did not start"; }
else
  echo "(OpenSSH is not installed: the demo skips the logins)"
fi

say "No end, no grant: a plan without ttl is refused"
if run "$tf" plan -no-color; then fail "a grant without an end was not refused"; fi

export TF_VAR_ttl=1m
say "With ttl = \"1m\" the plan can be reviewed …"
run "$tf" plan -no-color
if [ -n "$sshd_pid" ]; then
  say "… and gives nothing yet"
  if run login; then fail "the key logs in before the grant"; fi
fi

say "… and applied"
run "$tf" apply -no-color -auto-approve
say "The line of the grant carries its own end"
run cat "$keys"
grep -q 'expiry-time=' "$keys" || fail "no line with an end in $keys"
if [ -n "$sshd_pid" ]; then
  say "The key logs in"
  run login || fail "the key does not log in inside the window"
fi
run "$bin/jit" list

say "Waiting for the end: one minute"
sleep 61
if [ -n "$sshd_pid" ]; then
  say "The end has come. Nobody did anything, and sshd refuses the key"
  if run login; then fail "the key logs in after the end"; fi
fi

say "The sweeper removes the line"
run "$bin/jit" sweep
run cat "$keys"
[ "$(cat "$keys")" = "# this line was here before" ] || fail "$keys is not as it was"

say "The configuration still says what was granted, and the plan stays clean"
run "$tf" plan -no-color -detailed-exitcode || fail "the plan is not clean after the end"

say "The record has every step, and can be checked"
run "$bin/jit" audit export --format csv
run "$bin/jit" audit verify
say "Done"
