package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// A key is read from its file, with the line break at its end. Another line break is another spelling of the same
// principal, and no other grant.
func TestAKeyFromItsFile(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		w.Write("id.pub", alice+" alice@example.com\n")
		configure(w, grant("a", `principal = file("id.pub")`))
		says(t, w.Plan(), "1 to add")
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		if !strings.Contains(w.Read("authorized_keys"), alice) || lines(w) != 1 {
			t.Errorf("authorized_keys:\n%s", w.Read("authorized_keys"))
		}
		unchanged(t, w, "with the line break")
		w.Calls.Reset()
		for _, end := range []string{"\r\n", "  \r\n", "\n\n", ""} {
			w.Write("id.pub", alice+" alice@example.com"+end)
			if r := w.Plan(); strings.Contains(r.Text(), "replaced") || r.ExitCode == 1 {
				t.Errorf("with %q at the end:\n%s", end, r.Text())
			}
			w.Apply()
			unchanged(t, w, fmt.Sprintf("with %q at the end", end))
		}
		if got := fact(t, w, "jit_grant.a", "id"); got != id || w.Calls.Count().Writes != 0 {
			t.Errorf("the grant is %s, was %s, after %+v", got, id, w.Calls.Count())
		}
		w.Write("id.pub", alice+"\n"+bob+"\n")
		r := w.Plan()
		if r.ExitCode != 1 {
			t.Errorf("two keys: exit code %d", r.ExitCode)
		}
		says(t, r, "Invalid principal", "ame one key")
		w.Write("id.pub", alice+"\n")
		w.Must("destroy", "-auto-approve")
		if lines(w) != 0 {
			t.Errorf("after the destroy:\n%s", w.Read("authorized_keys"))
		}
	})
}

// An error about a duration or a time names the attribute and the value, and says what to write.
func TestValuesOfElsewhere(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		rows := []struct{ line, write string }{
			{`ttl = "PT8H"`, `Write ttl = "8h".`}, {`ttl = "1w"`, `Write ttl = "7d".`},
			{`expires_at = "2026-12-31"`, `Write expires_at = "2026-12-31T00:00:00Z" if that is the time in UTC`},
			{`expires_at = "2026-12-31 18:00:00 +0100"`, `Write expires_at = "2026-12-31T18:00:00+01:00".`},
		}
		var all []string
		for i, row := range rows {
			all = append(all, grant(fmt.Sprintf("r%d", i), "ttl =", row.line))
		}
		configureWith(w, "", all...)
		r := w.Run("validate")
		for i, row := range rows {
			d, _ := about(r, fmt.Sprintf("jit_grant.r%d", i))
			for _, part := range []string{row.write, ": " + row.line} {
				if !strings.Contains(d, part) {
					t.Errorf("%s: want %q\n%s", row.line, part, d)
				}
			}
		}
		configureWith(w, `max_ttl = "P2D"`, grant("a"))
		says(t, w.Plan(), "Invalid max_ttl", `Write max_ttl = "2d".`)
	})
}
