package postgresql

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/pgsession"
)

// batchSize is how many changes one Apply of the benchmarks makes.
const batchSize = 1000

// thousand returns the changes and the same as a script of the statements a person would write.
func thousand(s *site, op jit.Op) (changes []jit.Change, script string) {
	var b strings.Builder
	b.WriteString("BEGIN;\n")
	for i := range batchSize {
		a := s.access(i%2, i/2%2, fmt.Sprint("bench ", i))
		changes = append(changes, jit.Change{Op: op, Access: a})
		name := quote(wrapperName(a.Marker.Owner, a.Marker.ID))
		if op == jit.Remove {
			fmt.Fprintf(&b, "REVOKE %s FROM %s;\nREVOKE %s FROM %s;\nDROP ROLE %s;\n", name,
				quote(a.Binding.Principal), quote(a.Binding.Role), name, name)
			continue
		}
		fmt.Fprintf(&b, "CREATE ROLE %s NOLOGIN INHERIT;\nCOMMENT ON ROLE %s IS %s;\nGRANT %s TO %s;\nGRANT %s TO "+
			"%s;\n", name, name,
			pgsession.Literal(a.Marker.String()), quote(a.Binding.Role), name, name, quote(a.Binding.Principal))
	}
	b.WriteString("COMMIT;\n")
	return changes, b.String()
}

// BenchmarkThousandChanges grants and revokes a thousand times in one Apply each,
// reads them, and has psql run the same statements.
func BenchmarkThousandChanges(b *testing.B) {
	s := newSite(b)
	p := s.open(b)
	grants, grantScript := thousand(s, jit.Ensure)
	revokes, revokeScript := thousand(s, jit.Remove)
	run := func(changes []jit.Change) func() {
		return func() {
			for i, err := range p.Apply(b.Context(), cluster, changes) {
				if err != nil {
					b.Fatalf("change %d: %v", i, err)
				}
			}
		}
	}
	read := func() {
		if snap, err := p.Read(b.Context(), cluster); err != nil || len(snap.Ours) != batchSize {
			b.Fatalf("read %d grants, %v", len(snap.Ours), err)
		}
	}
	psql := func(script string) func() {
		return func() {
			cmd := exec.CommandContext(b.Context(), "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", s.url)
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("psql: %v: %s", err, out)
			}
		}
	}
	took := map[string]time.Duration{}
	timed := func(name string, f func()) {
		started := time.Now()
		f()
		took[name] += time.Since(started)
	}
	for b.Loop() {
		timed("grant", run(grants))
		timed("read", read)
		timed("grant-again", run(grants))
		timed("revoke", run(revokes))
		timed("psql-grant", psql(grantScript))
		timed("psql-revoke", psql(revokeScript))
	}
	for name, total := range took {
		b.ReportMetric(float64(total.Milliseconds())/float64(b.N), name+"-ms")
	}
}
