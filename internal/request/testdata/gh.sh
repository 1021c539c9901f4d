#!/bin/sh
# Stands in for gh: takes what https://cli.github.com/manual/gh_pr_list and https://cli.github.com/manual/gh_pr_create
# document, and nothing else. It keeps one pull request in the folder $FORGE.
set -eu
fail() { echo "$1" >&2; exit 1; }
[ "$#" -ge 2 ] && [ "$1" = pr ] || fail "unknown command \"$*\" for \"gh\""
verb=$2
shift 2
head= title= base= file= state= json= jq=
while [ "$#" -gt 0 ]; do
	[ "$#" -ge 2 ] || fail "flag needs an argument: $1"
	case "$verb $1" in
	"list --head" | "create --head") head=$2 ;;
	"list --state") state=$2 ;;
	"list --json") json=$2 ;;
	"list --jq") jq=$2 ;;
	"create --title") title=$2 ;;
	"create --base") base=$2 ;;
	"create --body-file") file=$2 ;;
	*) fail "unknown flag: $1" ;;
	esac
	shift 2
done
url=https://github.example.com/acme/access/pull/7
case $verb in
list)
	[ "$state" = open ] && [ "$json" = url ] && [ "$jq" = ".[].url" ] || fail "expected another query"
	if [ -e "$FORGE/head" ] && [ "$(cat "$FORGE/head")" = "$head" ]; then echo "$url"; fi
	;;
create)
	[ "${GH_PROMPT_DISABLED:-}" = 1 ] || fail "it would ask"
	[ -n "$title" ] && [ -n "$head" ] && [ "$file" = - ] || fail "must provide --title and --body"
	[ ! -e "$FORGE/head" ] || fail "a pull request for branch \"$head\" already exists"
	printf %s "$head" >"$FORGE/head"
	printf %s "$title" >"$FORGE/title"
	printf %s "$base" >"$FORGE/base"
	printf %s 1 >"$FORGE/created"
	cat >"$FORGE/body"
	echo "Creating pull request for $head into $base in acme/access" >&2
	echo "$url"
	;;
*) fail "unknown command \"$verb\" for \"gh pr\"" ;;
esac
