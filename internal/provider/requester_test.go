package provider_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
)

// The requester is shown and recorded. Changing it is an update in place, and the access continues.
func TestRequester(t *testing.T) {
	const status = "data \"jit_grant_status\" \"a\" {\n  id = jit_grant.a.id\n}\n"
	each(t, func(t *testing.T, w *acctest.World) {
		is := func(want string) {
			t.Helper()
			for _, address := range []string{"jit_grant.a", "data.jit_grant_status.a"} {
				if got := fact(t, w, address, "requester"); got != want {
					t.Errorf("the requester of %s is %s, want %s", address, got, want)
				}
			}
			if digest := fact(t, w, "jit_grant.a", "request_digest"); digest != fact(t, w,
				"data.jit_grant_status.a", "request_digest") {
				t.Errorf("the digest in the state, %s, differs from the record's", digest)
			}
			unchanged(t, w, "requested by "+want)
		}
		configure(w, grant("a", `requester = "Alice Smith"`), status)
		w.Apply()
		is("Alice Smith")
		digest, id := fact(t, w, "jit_grant.a", "request_digest"), fact(t, w, "jit_grant.a", "id")

		configure(w, grant("a", `requester = "Bob Jones"`), status)
		r := w.Plan("-out=plan")
		says(t, r, `~ requester = "Alice Smith" -> "Bob Jones"`, "updated in-place", "1 to change, 0 to destroy")
		w.Must("apply", "plan")
		if lines(w) != 1 {
			t.Errorf("the access is gone:\n%s", w.Read("authorized_keys"))
		}
		is("Bob Jones")
		if fact(t, w, "jit_grant.a", "request_digest") == digest || fact(t, w, "jit_grant.a", "id") != id {
			t.Error("another requester did not change the request digest of the same grant")
		}

		// The same apply repairs drift.
		w.Write("authorized_keys", foreign)
		configure(w, grant("a", `requester = "Carol"`), status)
		w.Apply()
		if lines(w) != 1 {
			t.Errorf("the access was not repaired:\n%s", w.Read("authorized_keys"))
		}
		is("Carol")

		configure(w, grant("a"), status)
		w.Apply()
		is(fmt.Sprint(nil))
		configure(w, grant("a", `requester = ""`), status)
		if r := w.Plan(); r.ExitCode != 1 {
			t.Errorf("an empty requester: exit code %d", r.ExitCode)
		} else {
			says(t, r, "Invalid requester", "The requester is empty")
		}
	})
}

// An import reads the requester from the record.
func TestRequesterOfAnImport(t *testing.T) {
	each(t, func(t *testing.T, w *acctest.World) {
		configure(w, grant("a", `requester = "Alice Smith"`))
		w.Apply()
		id := fact(t, w, "jit_grant.a", "id")
		if err := os.Remove(w.Path("terraform.tfstate")); err != nil {
			t.Fatal(err)
		}
		w.Must("import", "jit_grant.a", id)
		if got := fact(t, w, "jit_grant.a", "requester"); !strings.Contains(got, "Alice Smith") {
			t.Errorf("the imported requester is %s", got)
		}
		unchanged(t, w, "after the import")
	})
}
