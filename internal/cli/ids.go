package cli

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// idLength is the length of a whole id.
const idLength = 36

// prefixForm matches the id of a grant or its beginning.
var prefixForm = regexp.MustCompile(`^[0-9a-f-]{4,36}$`)

// parsePrefixes reads ids and beginnings of ids, and returns each once.
func parsePrefixes(args []string) ([]string, error) {
	var prefixes []string
	for _, arg := range args {
		prefix := strings.ToLower(strings.TrimSpace(arg))
		if !prefixForm.MatchString(prefix) {
			return nil, jit.Invalid("id", "copy the id from `jit list`, or at least its first 4 characters",
				"%q is neither the id of a grant nor the beginning of one", arg)
		}
		if !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

// withPrefix reads the grants of the ledger whose ids begin with prefix.
func withPrefix(ctx context.Context, rt *config.Runtime, prefix string) ([]jit.Grant, error) {
	return recorded(ctx, rt, jit.Filter{IDPrefix: prefix}, func(jit.Grant) bool { return true })
}

// onlyWithPrefix reads the one grant of the ledger whose id begins with prefix.
func onlyWithPrefix(ctx context.Context, rt *config.Runtime, prefix string) (jit.Grant, error) {
	found, err := withPrefix(ctx, rt, prefix)
	if err != nil {
		return jit.Grant{}, err
	}
	if len(found) == 0 {
		return jit.Grant{}, noGrant(prefix)
	}
	return found[0], checkUnique(prefix, found)
}

// maxCandidates is how many grants an error lists.
const maxCandidates = 10

// checkUnique refuses a prefix whose grants have different ids.
func checkUnique(prefix string, found []jit.Grant) error {
	candidates := map[jit.ID]string{}
	for _, g := range found {
		candidates[g.ID] = fmt.Sprintf("%s (%s on %s)", g.ID, middleCut(printable(who(g)), 37), printable(g.Target))
	}
	if len(candidates) < 2 {
		return nil
	}
	list := slices.Sorted(maps.Values(candidates))
	if more := len(list) - maxCandidates; more > 0 {
		list = append(list[:maxCandidates], fmt.Sprintf("and %d more", more))
	}
	return jit.Invalid("id", "", "%q is ambiguous; write more of the id. It is the beginning of %d ids:\n%s",
		prefix, len(candidates), strings.Join(list, "\n"))
}

// noGrant is the error for ids, or beginnings of ids, that no grant has.
func noGrant(prefixes ...string) error {
	return &jit.Error{
		Attribute: "id", Err: jit.ErrUnknown,
		Problem: "the ledger has no grant " + strings.Join(prefixes, ", "),
		Hint:    "`jit list --all` lists every grant",
	}
}
