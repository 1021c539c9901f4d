#!/bin/sh
# jit-ci.sh runs one stage of a pipeline for temporary access, in the directory of the configuration:
#
#   jit-ci.sh plan    plans, reviews the plan, and writes the folder review; ends as jit review does: 0 nothing to
#                     decide, 2 needs a decision, 4 refused, 1 error
#   jit-ci.sh review PLANFILE
#                     reviews a plan that another tool made, and prints the review; ends like plan
#   jit-ci.sh evidence PLANFILE
#                     records the reviews of JIT_EVIDENCE for that plan
#   jit-ci.sh apply   plans again, stops if the plan changes what nobody reviewed, and applies
#   jit-ci.sh sweep   ends what is over
#   jit-ci.sh prune   takes grants that are over out of the configuration, and pushes that as a branch
#
# It needs terraform or tofu, jq and git. The command jit is the provider that the lock file names. Settings:
#
#   JIT_LEDGER     the ledger; a stage that has none would invent an empty one, so it must be set
#   JIT_TF         terraform or tofu; default terraform
#   JIT_REVIEW     the folder for review.md, changes.txt and plan.json; default review
#   JIT_BASE       plan, review: where the change goes, so that a change of the provider block and jit.hcl is reviewed
#                  too: a branch of origin, or a commit such as HEAD^1
#   JIT_REVIEWED   apply: the changes.txt that was reviewed; "any" applies whatever the configuration says
#   JIT_EVIDENCE   a pull request whose reviews are evidence, as "--github OWNER/REPO#N" or "--gitlab GROUP/PROJECT!N"
#   JIT_PUSH       prune: the address of the repository to push to; JIT_BRANCH the branch, default jit/prune
set -eu
umask 077

: "${JIT_LEDGER:?set it to the ledger}"
tf=${JIT_TF:-terraform}
review=${JIT_REVIEW:-review}
branch=${JIT_BRANCH:-jit/prune}
export TF_IN_AUTOMATION=1 TF_INPUT=0 CI="${CI:-true}"
# Plans hold secrets of other resources. They stay in a folder that ends with this program.
work=$(mktemp -d)
trap 'rm -rf "$work"; git worktree prune 2> /dev/null || :' EXIT
code=0
base=

say() { printf '%s\n' "$*" >&2; }

# logged runs a command, shows what it prints, and keeps it for the comment.
logged() {
  code=0
  "$@" > "$work/log" 2>&1 || code=$?
  cat "$work/log" >&2
  return "$code"
}

# init installs the providers of the lock file.
init() {
  logged "$tf" init -input=false -no-color -lockfile=readonly "$@" || return 1
  find_jit
}

# find_jit makes the command jit: the provider that the lock file names, under another name.
find_jit() {
  version=$("$tf" version -json |
    jq -r '.provider_selections | to_entries[] | select(.key | endswith("/jitaccess/jit")).value')
  for file in "${TF_DATA_DIR:-.terraform}"/providers/*/jitaccess/jit/"$version"/*/terraform-provider-jit*; do
    if [ -x "$file" ]; then
      ln -s "$(cd "$(dirname "$file")" && pwd)/${file##*/}" "$work/jit"
      PATH=$work:$PATH
      return 0
    fi
  done
  echo "error: $tf init installed no provider jitaccess/jit" | tee "$work/log" >&2
  return 1
}

make_plan() {
  logged "$tf" plan -input=false -no-color -out="$work/tfplan" "$@" && show "$work/tfplan"
}

# show writes a plan file as JSON.
show() { "$tf" show -json "$1" > "$work/plan.json"; }

# find_base checks out the base of the change. Without one, the review has a doubt.
find_base() {
  commit=${JIT_BASE:-}
  case $commit in
    '') return 0 ;;
    HEAD*) ;;
    *)
      depth=
      [ "$(git rev-parse --is-shallow-repository)" = false ] || depth=--depth=1
      git fetch -q $depth origin "refs/heads/$commit" >&2 || return 0
      commit=FETCH_HEAD
      ;;
  esac
  git worktree add -q --detach "$work/base" "$commit" >&2 || return 0
  base=$work/base/$(git rev-parse --show-prefix)
  mkdir -p "$base"
}

# judge reviews the plan. 0, 2 and 4 are verdicts; anything else is an error.
judge() {
  code=0
  jit review ${base:+--base "$base"} --format "$1" "$work/plan.json" > "$2" 2> "$work/log" || code=$?
  cat "$work/log" >&2
  case $code in
    0 | 2 | 4) return 0 ;;
  esac
  return 1
}

# changes prints one line for each change that a reviewer decides on: each resource with its actions, the request of a
# grant, access of other providers and loosened rules. A grant that ends, or that is repaired, asks for nothing new.
changes() {
  judge json "$work/review.json" || return 1
  {
    jq -r '.resource_changes[]?
      | select(.mode == "managed" and .change.actions != ["no-op"])
      | select((.type == "jit_grant" and (.change.actions == ["delete"] or (.change.actions == ["update"]
          and .change.before.drift != null and .change.before.policy == .change.after.policy
          and .change.before.request_digest == .change.after.request_digest))) | not)
      | [.address, (.change.actions | join(" and ")), (.change.after.request_digest? // "")] | @tsv' \
      "$work/plan.json" &&
      jq -r '
        (.access[] | select(.gives) | ["access", .address, .principal.text, .role.text, .scope.text, .end.text]),
        (.rules[] | select(.loosens) | ["rule", .address, .what]) | @tsv' "$work/review.json"
  } > "$work/lines" || return 1
  LC_ALL=C sort "$work/lines"
}

# requests prints the plan without anything that a stranger must not read: jit approve signs what is left.
requests() {
  jq '{format_version, terraform_version, applyable, complete, errored, resource_changes: [.resource_changes[]?
    | select((.provider_name | endswith("/jitaccess/jit"))
        and ([.change.before_sensitive, .change.after_sensitive | .. | booleans] | any | not))]}' "$work/plan.json"
}

# failed writes a review that says what failed. An indented block of ASCII shows text as it is, whoever wrote it.
failed() {
  {
    printf '❌ **%s.** Nothing was reviewed. The end of its output:\n\n' "$1"
    tail -n 200 "$work/log" | LC_ALL=C tr -cd '\11\12\40-\176' | tail -c 30000 | sed 's/^/    /'
  } > "$review/review.md"
  exit 1
}

plan() {
  mkdir -p "$review"
  rm -f "$review/review.md" "$review/changes.txt" "$review/plan.json"
  init || failed 'The installation of the providers failed'
  # The job may only read, and nobody applies this plan: it takes no lock.
  make_plan -lock=false || failed 'The plan failed'
  find_base
  changes > "$review/changes.txt" || failed 'The review failed'
  requests > "$review/plan.json"
  judge markdown "$review/review.md" || failed 'The review failed'
  exit "$code"
}

# Tools that show the output of a step put it into a block of code, which a backtick could end.
review_of() {
  find_jit
  show "$1"
  find_base
  judge text "$work/review.txt" || exit 1
  tr -d '`' < "$work/review.txt"
  exit "$code"
}

# evidence records the reviews of the pull request. A grant that still lacks an approval does not begin.
evidence() {
  [ -n "${JIT_EVIDENCE:-}" ] || return 0
  # shellcheck disable=SC2086 # a flag and its value
  jit approve $JIT_EVIDENCE --plan "$work/plan.json" >&2 || say "jit approve ended with $?"
}

apply() {
  reviewed=${JIT_REVIEWED:?name the changes.txt that was reviewed}
  init
  make_plan -lock-timeout=10m
  evidence
  judge text "$work/review.txt" || exit 1
  cat "$work/review.txt" >&2
  if [ "$code" -eq 4 ]; then
    say 'error: the plan is refused: nothing is applied'
    exit 4
  fi
  if [ "$reviewed" != any ]; then
    changes > "$work/changes.txt"
    LC_ALL=C comm -13 "$reviewed" "$work/changes.txt" > "$work/unseen"
    if [ -s "$work/unseen" ]; then
      cat "$work/unseen" >&2
      say 'error: the plan now makes the changes above, which nobody reviewed: nothing is applied. Review them in a' \
        'pull request, or start this job by hand.'
      exit 1
    fi
  fi
  "$tf" apply -input=false -no-color -lock-timeout=10m "$work/tfplan"
}

sweep() {
  init -backend=false
  jit sweep --timeout 8m
}

prune() {
  init
  "$tf" show -json > "$work/state.json"
  jit prune --older-than "${JIT_PRUNE_AGE:-7d}" --state "$work/state.json"
  if git diff --quiet; then
    say 'No block of the configuration can go.'
    return 0
  fi
  git checkout -q -B "$branch"
  git -c user.name=jit -c user.email=jit@localhost commit -q -a -m 'Remove grants that are over'
  git push -q --force "${JIT_PUSH:?the address to push to}" "HEAD:refs/heads/$branch"
  say "Pushed $branch."
}

case ${1:-} in
  plan | apply | sweep | prune) "$1" ;;
  review) review_of "${2:?the plan file}" ;;
  evidence)
    find_jit
    show "${2:?the plan file}"
    evidence
    ;;
  *)
    sed -n '2,/^set/s/^#[ ]\{0,1\}//p' "$0" >&2
    exit 3
    ;;
esac
