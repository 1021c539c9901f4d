package lifetest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Somebody grants a table to the role of a grant, in a database that jit does not clean. Access still ends, nothing
// fails because of the remains, every surface reports them, and they are removed as soon as possible.
func TestRemainsOfADatabaseRole(t *testing.T) {
	t.Parallel()
	cli, d := testenv.Terraforms(t)[0], newDatabase(t).(*database)
	s := newSite(t, cli, d, released)
	elsewhere := &database{url: testenv.Postgres(t).Database(t), tag: d.tag}
	elsewhere.exec(t, `CREATE TABLE mine (secret text)`)
	role := func(name string) string { return fmt.Sprintf("%q", "jit:"+s.fact(name, "id")+":"+s.owner) }

	s.configure(s.grant("a"))
	s.Apply()
	s.may(true, "after the apply")
	elsewhere.exec(t, `GRANT SELECT ON mine TO `+role("a"))
	says(t, s.mustJit("revoke", s.fact("a", "id"), "--reason", "INC-2: done"), "revoked", "note: ", "cannot be dropped")
	s.may(false, "after the revocation")
	says(t, s.mustJit("list"), "revoked (clean-up open)")
	says(t, s.mustJit("sweep"), "remains", "the access of 1 grant has ended")
	says(t, s.mustJit("show", s.fact("a", "id")), "ended_at", "remains")
	s.unchanged("with its clean-up open")

	s.configure(s.grant("a"), s.grant("b"))
	s.Apply()
	s.may(true, "after the second apply")
	elsewhere.exec(t, `GRANT SELECT ON mine TO `+role("b"))
	left := []string{role("a"), role("b")}
	says(t, s.Must("destroy", "-auto-approve"), "Remains of the grant may be left", "Destroy complete")
	s.may(false, "after the destroy")
	says(t, s.mustJit("sweep"), "the access of 2 grants has ended")

	elsewhere.exec(t, `REVOKE ALL ON mine FROM `+strings.Join(left, ", "))
	says(t, s.mustJit("sweep"), "what remains", "done")
	says(t, s.mustJit("list"), "No grant matches.")
	says(t, s.mustJit("sweep"), "Nothing to do.")
	says(t, s.mustJit("audit", "verify"), "intact")
	if n := d.marked(t); n != 0 {
		t.Errorf("%d roles of ours are left", n)
	}
}
