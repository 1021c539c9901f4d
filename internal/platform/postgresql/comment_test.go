package postgresql

import (
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// TestALongCommentIsNotRead: whoever may create roles may write a comment of a gigabyte.
func TestALongCommentIsNotRead(t *testing.T) {
	s := newSite(t)
	const id = "3f2b8c1e-0000-8000-8000-000000000000"
	name := "jit:" + id + ":ghost"
	s.exec(t, `CREATE ROLE `+quote(name))
	s.exec(t, `DO $$ BEGIN EXECUTE 'COMMENT ON ROLE `+quote(name)+` IS ''jit:ghost:`+id+
		`:20250101T000000Z:20990101T000100Z' || repeat('x', 1000000) || ''''; END $$`)
	p := s.open(t)
	found, _, err := query[struct {
		Length int
	}](t.Context(), p, "measure", `SELECT pg_catalog.max(pg_catalog.length(c.d))::pg_catalog.int4 FROM (`+
		strings.Replace(allRoles, "SELECT r.oid", "SELECT r.oid AS o", 1)+`) AS c(a1, a2, a3, a4, a5, a6, a7, a8, a9, d, a10)`)
	if err != nil || len(found) != 1 || found[0].Length > 1000 {
		t.Errorf("a read takes comments of %v characters: %v", found, err)
	}
	snap, err := p.Read(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range snap.Ours {
		if o.Marker.ID == jit.ID(id) {
			t.Errorf("a comment that goes on is a marker: %+v", o)
		}
	}
}
