package lifetest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// Five concurrent runs of Terraform with ten grants each share one target and one ledger. Nothing is lost and none
// fails.
func TestFiftyWriters(t *testing.T) {
	t.Parallel()
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p := p.open(t)
			ledger := "sqlite://" + t.TempDir() + "/ledger.db"
			sites := make([]*site, 5)
			crews := make([][]string, len(sites))
			for i := range sites {
				s := newSite(t, testenv.Terraforms(t)[0], p, released)
				s.ledger, crews[i], sites[i] = ledger, p.people(t, 10), s
				s.owner = sites[0].owner
				s.configure(
					s.grant("n", "count = 10", `principal = ["`+strings.Join(crews[i], `", "`)+`"][count.index]`))
			}
			foreign := p.foreign(t)
			all := func(args ...string) {
				t.Helper()
				results := make([]acctest.Result, len(sites))
				var wg sync.WaitGroup
				for i, s := range sites {
					wg.Go(func() { results[i] = s.Run(append(args, "-auto-approve")...) })
				}
				wg.Wait()
				for i, r := range results {
					if r.ExitCode != 0 {
						t.Errorf("%v in workspace %d: exit code %d\n%s", args, i, r.ExitCode, r.Text())
					}
				}
			}

			all("apply")
			same(t, foreign, p.foreign(t), "after the applies, foreign access is")
			if n := p.marked(t); n != 50 {
				t.Errorf("%d bindings are ours, want 50", n)
			}
			for i, crew := range crews {
				may(t, p, crew[i], true, fmt.Sprintf("grant %d of workspace %d", i, i))
			}
			all("destroy")
			for i, crew := range crews {
				may(t, p, crew[i], false, fmt.Sprintf("grant %d of workspace %d", i, i))
			}
			sites[0].gone(foreign, "after the destroys")
			sites[0].mustJit("sweep")
			says(t, sites[0].mustJit("audit", "verify"), "intact")
		})
	}
}
