package claims

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// An object that came or went between the reads is judged by both. A prior one is ours and standing.
func TestObserve(t *testing.T) {
	claim := func(object string, prior bool) jit.Claim {
		return jit.Claim{Marker: access(object, "why").Marker, Object: object, Principal: object, Prior: prior}
	}
	before := []jit.Claim{claim("went", false), claim("stays", false)}
	after := []jit.Claim{claim("stays", false), claim("came", false), claim("prior", true), claim("missing", false)}
	ours, standing := Observe(before, after, func(c jit.Claim) bool { return c.Object != "missing" })
	var got []string
	for _, o := range ours {
		got = append(got, o.Principal)
	}
	if s := strings.Join(got, " "); s != "stays came prior" {
		t.Errorf("ours are %q", s)
	}
	for object, want := range map[string]bool{
		"went": false, "stays": false, "came": false, "prior": true, "missing": false, "foreign": true,
	} {
		if standing(object) != want {
			t.Errorf("%s is standing access: %t, want %t", object, !want, want)
		}
	}
}
