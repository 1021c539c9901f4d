#!/bin/sh
# Stands in for glab: takes what https://docs.gitlab.com/cli/mr/list/ and https://docs.gitlab.com/cli/mr/create/
# document, and nothing else. It keeps one merge request in the folder $FORGE.
set -eu
fail() { echo "$1" >&2; exit 1; }
[ "$#" -ge 2 ] && [ "$1" = mr ] || fail "Unknown command \"$*\" for \"glab\"."
verb=$2
shift 2
head= title= base= body= output= yes=
while [ "$#" -gt 0 ]; do
	if [ "$verb $1" = "create --yes" ]; then
		yes=1
		shift
		continue
	fi
	[ "$#" -ge 2 ] || fail "flag needs an argument: $1"
	case "$verb $1" in
	"list --source-branch" | "create --source-branch") head=$2 ;;
	"list --output") output=$2 ;;
	"create --title") title=$2 ;;
	"create --target-branch") base=$2 ;;
	"create --description") body=$2 ;;
	*) fail "Unknown flag: $1" ;;
	esac
	shift 2
done
url=https://gitlab.example.com/acme/access/-/merge_requests/7
case $verb in
list)
	[ "$output" = json ] || fail "expected another query"
	if [ -e "$FORGE/head" ] && [ "$(cat "$FORGE/head")" = "$head" ]; then
		echo "[{\"id\":1,\"author\":{\"web_url\":\"https://gitlab.example.com/alice\"},\"web_url\":\"$url\"}]"
	else
		echo "[]"
	fi
	;;
create)
	[ -n "$title" ] && [ -n "$head" ] && [ -n "$body" ] && [ -n "$yes" ] || fail "it would ask"
	[ "$body" != - ] || fail "it would open an editor"
	[ ! -e "$FORGE/head" ] || fail "Another open merge request already exists for this source branch"
	printf %s "$head" >"$FORGE/head"
	printf %s "$title" >"$FORGE/title"
	printf %s "$base" >"$FORGE/base"
	printf %s "$body" >"$FORGE/body"
	printf %s 1 >"$FORGE/created"
	echo "Creating merge request for $head into $base in acme/access"
	echo "!7 $title"
	echo " $url"
	;;
*) fail "Unknown command \"$verb\" for \"glab mr\"." ;;
esac
