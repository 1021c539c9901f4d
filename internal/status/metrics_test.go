package status

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit/jittest"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// watching returns the metrics of a watcher at noon.
func watching(l jit.Ledger, s sweeper.State) *Metrics {
	m := NewMetrics("1.2.3")
	m.Watch(sourceOf(l, atNoon, s))
	return m
}

func checkMetrics(t *testing.T, m *Metrics, names []string, want string) {
	t.Helper()
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// scrape returns the server's answer to a scrape from this machine.
func scrape(s *Server) string {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Host = "localhost:8085"
	s.handler().ServeHTTP(w, r)
	return w.Body.String()
}

// A scrape reports a silent ledger before Prometheus times out. Frequent scrapes do not ask the ledger again.
func TestMetricsOfASilentLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &silent{}
		var state sweeper.State
		source := sourceOf(l, time.Now, state)
		source.State = func() sweeper.State { return state }
		m := NewMetrics("1.2.3")
		m.Watch(source)
		scrape := func(asked int, most time.Duration) {
			t.Helper()
			began := time.Now()
			checkMetrics(t, m, []string{"jit_ledger_up", "jit_grants"}, `
				# HELP jit_ledger_up Whether the ledger answered when it was last read.
				# TYPE jit_ledger_up gauge
				jit_ledger_up 0
			`)
			if took := time.Since(began); l.asked != asked || took > most {
				t.Errorf("took %s and asked the ledger %d times, want at most %s and %d", took, l.asked, most,
					asked)
			}
		}
		scrape(1, 5*time.Second)
		time.Sleep(10 * time.Second)
		scrape(1, 0)
		time.Sleep(10 * time.Second)
		scrape(2, 5*time.Second)
		time.Sleep(time.Minute)
		state.LedgerError = errors.New("no answer") // the watcher has the error, too
		scrape(2, 0)
	})
}

func TestMetrics(t *testing.T) {
	s := newServer(t, Access{})
	m := s.Metrics
	g := jit.Grant{Binding: jit.Binding{Target: "db", Scope: "all", Principal: "alice"}}
	step := func(kind reconcile.Kind, drift jit.DriftKind, err error) sweeper.Result {
		return sweeper.Result{Step: reconcile.Drifted(kind, g.Place(), g, drift, ""), Err: err}
	}
	m.Stepped(step(reconcile.End, "", nil), 700*time.Millisecond)
	m.Stepped(step(reconcile.End, "", errors.New("no")), -1)
	m.Stepped(step(reconcile.Repair, jit.DriftEndLater, nil), -1)
	m.Passed("due", sweeper.Passed{At: noon.Add(time.Minute), Took: time.Millisecond})
	p := m.Wrap("db", &jittest.Platform{Now: atNoon})
	p.Apply(t.Context(), "all", []jit.Change{{Op: jit.Remove, Access: g.Access()}})
	_, _ = p.Read(t.Context(), "all")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Read(cancelled, "all"); err == nil {
		t.Error("a read that was cancelled succeeded")
	}
	checkMetrics(t, m, []string{
		"jit_last_pass_timestamp_seconds", "jit_grants", "jit_stuck_grants", "jit_ledger_up", "jit_held_removals",
		"jit_target_calls_total", "jit_target_errors_total",
	}, `
		# HELP jit_last_pass_timestamp_seconds When the last complete pass began; before the first, when the daemon began.
		# TYPE jit_last_pass_timestamp_seconds gauge
		jit_last_pass_timestamp_seconds{pass="drift"} 1.7955216e+09
		jit_last_pass_timestamp_seconds{pass="due"} 1.79552166e+09
		# HELP jit_grants Grants by target, owner and state: live, waiting (to begin, or for the target's confirmation), due (over for less than a minute and not confirmed as gone), overdue (for longer).
		# TYPE jit_grants gauge
		jit_grants{owner="payments",state="due",target="bastion"} 0
		jit_grants{owner="payments",state="due",target="db"} 0
		jit_grants{owner="payments",state="due",target="prod"} 0
		jit_grants{owner="payments",state="live",target="bastion"} 1
		jit_grants{owner="payments",state="live",target="db"} 0
		jit_grants{owner="payments",state="live",target="prod"} 1
		jit_grants{owner="payments",state="overdue",target="bastion"} 0
		jit_grants{owner="payments",state="overdue",target="db"} 1
		jit_grants{owner="payments",state="overdue",target="prod"} 0
		jit_grants{owner="payments",state="waiting",target="bastion"} 0
		jit_grants{owner="payments",state="waiting",target="db"} 0
		jit_grants{owner="payments",state="waiting",target="prod"} 1
		# HELP jit_stuck_grants Grants whose end or start failed and is retried.
		# TYPE jit_stuck_grants gauge
		jit_stuck_grants{target="db"} 1
		# HELP jit_ledger_up Whether the ledger answered when it was last read.
		# TYPE jit_ledger_up gauge
		jit_ledger_up 1
		# HELP jit_held_removals Unplanned removals that max_unplanned_revocations held back in the last drift pass.
		# TYPE jit_held_removals gauge
		jit_held_removals{target="bastion"} 0
		jit_held_removals{target="db"} 3
		jit_held_removals{target="prod"} 0
		# HELP jit_target_calls_total Calls to targets by operation (scopes, read, apply).
		# TYPE jit_target_calls_total counter
		jit_target_calls_total{operation="apply",platform="memory",target="db"} 1
		jit_target_calls_total{operation="read",platform="memory",target="db"} 2
		jit_target_calls_total{operation="scopes",platform="memory",target="db"} 0
		# HELP jit_target_errors_total Calls to targets that failed or in which a change failed.
		# TYPE jit_target_errors_total counter
		jit_target_errors_total{operation="apply",platform="memory",target="db"} 0
		jit_target_errors_total{operation="read",platform="memory",target="db"} 1
		jit_target_errors_total{operation="scopes",platform="memory",target="db"} 0
	`)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	checkText(t, "/metrics", scrape(s), []string{
		`jit_revocation_lag_seconds_bucket{le="0.5"} 0`, `jit_revocation_lag_seconds_bucket{le="1"} 1`,
		`jit_pass_duration_seconds_count{pass="drift"} 0`, `jit_pass_duration_seconds_count{pass="due"} 1`,
		`jit_build_info{version="1.2.3"} 1`, "go_goroutines",
		`jit_drift_total{kind="end_later",severity="critical",target="db"} 1`,
		`jit_drift_total{kind="missing",severity="info",target="db"} 0`,
		`jit_steps_total{kind="end",result="done",target="db"} 1`,
		`jit_steps_total{kind="end",result="failed",target="db"} 1`,
		`jit_steps_total{kind="repair",result="done",target="db"} 1`,
		`jit_steps_total{kind="remove",result="failed",target="db"} 0`,
	}, []string{"alice", "INC-", "projects/"})
}
