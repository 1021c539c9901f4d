package request

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// maxSlug bounds each part of a name, and shortID is how much of the id it has.
const (
	maxSlug = 24
	shortID = 8
)

// nameOf returns a name for a grant of [a-z0-9-] that is the same each time: who, role, target and the beginning of its
// id.
func nameOf(g jit.Grant) string {
	var parts []string
	for _, part := range []string{whose(g), lastOf(g.Role), g.Target, string(g.ID[:shortID])} {
		if part = slug(part); part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "-")
}

// resourceName returns the name of the resource: an identifier of [a-z0-9_].
func resourceName(name string) string {
	name = strings.ReplaceAll(name, "-", "_")
	if name[0] >= '0' && name[0] <= '9' {
		return "g_" + name
	}
	return name
}

// keyType matches the first word of an SSH key.
var keyType = regexp.MustCompile(`^(ssh|ecdsa|sk)-`)

// whose returns the part of a principal that tells people apart.
func whose(g jit.Grant) string {
	if parts := strings.Fields(g.Principal); g.PrincipalName == "" && len(parts) > 1 && keyType.MatchString(parts[0]) {
		return "key-" + parts[1][max(0, len(parts[1])-shortID):]
	}
	who, _, _ := strings.Cut(cmp.Or(g.PrincipalName, g.Principal), "@")
	return lastOf(who)
}

// lastOf returns the last part of a path or of a name with a kind.
func lastOf(s string) string {
	if i := strings.LastIndexAny(s, "/:"); i >= 0 && slug(s[i+1:]) != "" {
		return s[i+1:]
	}
	return s
}

// slug returns a text in [a-z0-9-], shortened.
func slug(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}
