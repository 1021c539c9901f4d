package bench_test

import (
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/acctest"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/gcp"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
)

// gcp applies, plans and sweeps 1,000 grants on one project of a service that takes 200 ms a call.
func (t *table) gcp(cli testenv.CLI) {
	const project = "projects/payments-prod"
	server := gcptest.New(t.b)
	server.Add(project, "")
	for n := range grants {
		server.AddAccounts(fmt.Sprintf("user:u%d@example.com", n))
	}
	server.SetLatency(200 * time.Millisecond)
	calls := func(f func()) int {
		reads, writes := server.Calls()
		f()
		r, w := server.Calls()
		return r + w - reads - writes
	}
	w := acctest.New(t.b, cli, acctest.Options{RealTime: true})
	grantAll(w, "gcp", fmt.Sprintf("endpoint = %q", server.URL),
		fmt.Sprintf("principal = \"user:u${count.index}@example.com\"\nrole = \"roles/cloudsql.client\"\nscope = %q",
			project))
	const most = grants/parallelism + 4
	n := calls(func() { w.Apply() })
	t.add("apply of 1,000 grants on gcp: calls", fmt.Sprint(n), fmt.Sprint(most), n <= most)
	n = calls(func() { t.plansNothing(w) })
	t.add("plan of 1,000 grants on gcp: calls", fmt.Sprint(n), "1", n <= 1)

	server.SetClock(3 * time.Hour)
	late, err := config.Open(t.b.Context(), config.Settings{
		Ledger:  "sqlite://" + w.Path(".jit/ledger.db"),
		Targets: map[string]platform.Config{"primary": {GCP: &gcp.Config{Endpoint: server.URL}}},
	}, config.Options{Now: func() time.Time { return time.Now().Add(3 * time.Hour) }, Source: jit.FromSweeper})
	if err != nil {
		t.b.Fatal(err)
	}
	defer func() { _ = late.Close() }()
	s := &sweeper.Sweeper{Broker: late.Broker, Holder: "bench", MaxUnplanned: sweeper.DefaultMaxUnplanned,
		DueOnly: true}
	n = calls(func() { t.sweepAll(s) })
	t.add("sweep of 1,000 ended grants on gcp: calls", fmt.Sprint(n), "2", n <= 2)
}
