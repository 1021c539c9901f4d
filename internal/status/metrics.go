package status

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// Metrics are what Prometheus is told. No principal, reason or scope is in a label: the targets bound how many series there are.
type Metrics struct {
	registry *prometheus.Registry
	lag      prometheus.Histogram
	steps    *prometheus.CounterVec
	drift    *prometheus.CounterVec
	passes   *prometheus.HistogramVec
	lastPass *prometheus.GaugeVec
	calls    *prometheus.CounterVec
	errors   *prometheus.CounterVec
	took     *prometheus.HistogramVec
	notices  *prometheus.CounterVec
}

var (
	_ sweeper.Observer = (*Metrics)(nil)
	// passKinds are the kinds of passes that a watcher makes.
	passKinds = []string{"due", "drift"}
	// operations are the calls to targets, stepKinds and results what the steps of a sweeper are and what came of them.
	operations = []string{opScopes, opRead, opApply}
	stepKinds  = []reconcile.Kind{reconcile.End, reconcile.Start, reconcile.Repair, reconcile.Remove, reconcile.Revoke, reconcile.Report}
	results    = []string{resultDone, resultFailed, resultRemains}
)

const (
	opScopes, opRead, opApply = "scopes", "read", "apply"
	resultDone, resultFailed  = "done", "failed"
	resultRemains             = "remains"
)

// NewMetrics returns the metrics of a program of that version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "jit_revocation_lag_seconds", Help: "Time from the end of a grant to when its target had confirmed that it is gone.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600},
		}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jit_steps_total", Help: "Steps of the sweeper by kind (end, start, repair, remove, revoke, report) and result (done, failed, remains: access has ended and the clean-up is open).",
		}, []string{"target", "kind", "result"}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jit_drift_total", Help: "Findings of drift passes by kind. What stays is found again by every pass.",
		}, []string{"target", "kind", "severity"}),
		passes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "jit_pass_duration_seconds", Help: "Duration of passes: due hands out what is due, drift reads the scopes of one target.",
			Buckets: []float64{.005, .025, .1, .5, 1, 5, 15, 60, 300},
		}, []string{"pass"}),
		lastPass: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "jit_last_pass_timestamp_seconds", Help: "When the last complete pass began, or the daemon where it has made none.",
		}, []string{"pass"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jit_target_calls_total", Help: "Calls to targets by operation (scopes, read, apply).",
		}, []string{"target", "platform", "operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jit_target_errors_total", Help: "Calls to targets that failed, or of which a change failed.",
		}, []string{"target", "platform", "operation"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "jit_target_call_duration_seconds", Help: "Duration of calls to targets.",
			Buckets: []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 15, 60},
		}, []string{"target", "platform", "operation"}),
		notices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jit_notices_total", Help: "Tries to deliver notices by result: delivered, failed (is tried again), passed_over (is not).",
		}, []string{"receiver", "result"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "jit_build_info", Help: "Always 1; the version is the label."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	for _, kind := range passKinds {
		m.passes.WithLabelValues(kind)
	}
	m.registry.MustRegister(m.lag, m.steps, m.drift, m.passes, m.lastPass, m.calls, m.errors, m.took, m.notices, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Stepped counts a step.
func (m *Metrics) Stepped(r sweeper.Result, lag time.Duration) {
	result := resultDone
	switch {
	case r.Remains():
		result = resultRemains
	case r.Failed():
		result = resultFailed
	}
	m.steps.WithLabelValues(r.Target, string(r.Kind), result).Inc()
	if r.Drift != "" && !r.Foreign {
		m.drift.WithLabelValues(r.Target, string(r.Drift), string(r.Severity)).Inc()
	}
	if r.Kind == reconcile.End && !r.Failed() && lag >= 0 {
		m.lag.Observe(lag.Seconds())
	}
}

// Passed counts a pass.
func (m *Metrics) Passed(kind string, p sweeper.Passed) {
	m.passes.WithLabelValues(kind).Observe(p.Took.Seconds())
	m.lastPass.WithLabelValues(kind).Set(float64(p.At.Unix()))
}

// Noticed counts a try to deliver a notice.
func (m *Metrics) Noticed(receiver string, r notice.Result) {
	m.notices.WithLabelValues(receiver, string(r)).Inc()
}

// Watch begins to tell of a watcher that is about to run. It adds what is computed when it is asked for: the grants of the ledger, what is stuck, and what the last looks at the targets left.
func (m *Metrics) Watch(source Source) {
	for _, kind := range passKinds { // so that a first pass that never comes is missed
		m.lastPass.WithLabelValues(kind).Set(float64(source.Now().Unix()))
	}
	m.registry.MustRegister(&ledgerCollector{Source: source})
}

var (
	grantsDesc  = prometheus.NewDesc("jit_grants", "Grants by target, owner and state: live, waiting (to begin, or for its confirmation), due (over for less than a minute, and its end not confirmed), overdue (for longer).", []string{"target", "owner", "state"}, nil)
	cleanDesc   = prometheus.NewDesc("jit_cleanup_open", "Grants whose access has ended, which their target has confirmed, and of which something that gives none is left there.", []string{"target", "owner"}, nil)
	reachDesc   = prometheus.NewDesc("jit_out_of_reach_grants", "Overdue grants that this daemon cannot end: it has no such target, or does not serve their owner.", []string{"target", "owner"}, nil)
	stuckDesc   = prometheus.NewDesc("jit_stuck_grants", "Grants whose end or start failed and is tried again.", []string{"target"}, nil)
	unreadDesc  = prometheus.NewDesc("jit_unread_scopes", "Scopes, and lists of scopes, that could not be read when they were last looked at.", []string{"target"}, nil)
	heldDesc    = prometheus.NewDesc("jit_held_removals", "Unplanned removals of the last drift pass that max_unplanned_revocations kept from being done.", []string{"target"}, nil)
	foreignDesc = prometheus.NewDesc("jit_unexplained_bindings", "Bindings with the marker of an owner that is not served, which the ledger does not explain, as of the last drift pass; of one scope 100 are counted at most.", []string{"target"}, nil)
	upDesc      = prometheus.NewDesc("jit_ledger_up", "Whether the ledger answered the last look at it.", nil, nil)
)

const (
	// countsFor is for how long counted grants, and a failure to count them, are told again: counting reads all that are open. What takes
	// long is told again for longer, countsTimes as long as it took.
	countsFor   = 15 * time.Second
	countsTimes = 20
	// countTimeout bounds the count, well below the ten seconds after which Prometheus gives up by default: a ledger that is silent is to be told.
	countTimeout = 5 * time.Second
)

// ledgerCollector counts the grants when it is asked to.
type ledgerCollector struct {
	Source

	mu     sync.Mutex
	until  time.Time
	counts []jit.Count
	err    error
}

// Describe names the metrics.
func (c *ledgerCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{grantsDesc, cleanDesc, reachDesc, stuckDesc, unreadDesc, heldDesc, foreignDesc, upDesc} {
		to <- d
	}
}

// Collect tells the metrics. Of a ledger that does not answer there are no counts, so that nobody takes old ones for new.
func (c *ledgerCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.State()
	var counts []jit.Count
	err := s.LedgerError
	if err == nil {
		counts, err = c.count()
	}
	for _, n := range counts {
		gauge(grantsDesc, float64(n.Live), n.Target, n.Owner, "live")
		gauge(grantsDesc, float64(n.Waiting), n.Target, n.Owner, "waiting")
		gauge(grantsDesc, float64(n.Due), n.Target, n.Owner, "due")
		gauge(grantsDesc, float64(n.Overdue), n.Target, n.Owner, "overdue")
		gauge(cleanDesc, float64(n.Cleanup), n.Target, n.Owner)
		beyond := 0.0
		if c.OutOfReach(n.Owner, n.Target) != "" {
			beyond = float64(n.Overdue)
		}
		gauge(reachDesc, beyond, n.Target, n.Owner)
	}
	up := 1.0
	if err != nil {
		up = 0
	}
	gauge(upDesc, up)
	unread := map[string]float64{}
	for _, u := range s.Unread {
		unread[u.Target]++
	}
	for target, n := range s.StuckOn {
		gauge(stuckDesc, float64(n), target)
	}
	for target, n := range unread {
		gauge(unreadDesc, n, target)
	}
	foreign := map[string]float64{}
	for _, r := range s.Found {
		if r.Foreign {
			foreign[r.Target]++
		}
	}
	for target, p := range s.Drift {
		if !p.At.IsZero() {
			gauge(heldDesc, float64(p.Held), target)
			gauge(foreignDesc, foreign[target], target)
		}
	}
}

func (c *ledgerCollector) count() ([]jit.Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if began.Before(c.until) {
		return c.counts, c.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	c.counts, c.err = c.Ledger.Counts(ctx, nil, c.Now())
	keep := countsFor
	if c.err == nil {
		keep = max(keep, countsTimes*time.Since(began))
	}
	c.until = time.Now().Add(keep)
	return c.counts, c.err
}

// Wrap counts the calls to a target.
func (m *Metrics) Wrap(name string, p jit.Platform) jit.Platform {
	m.begin(name, p.Kind())
	return &metered{Platform: p, name: name, m: m}
}

// begin makes the counters of a target. A counter that appears with its first event never increases as far as Prometheus can tell.
func (m *Metrics) begin(target, platform string) {
	for _, operation := range operations {
		m.calls.WithLabelValues(target, platform, operation)
		m.errors.WithLabelValues(target, platform, operation)
	}
	for _, kind := range stepKinds {
		for _, result := range results {
			m.steps.WithLabelValues(target, string(kind), result)
		}
	}
	for _, kind := range jit.DriftKinds() {
		m.drift.WithLabelValues(target, string(kind), string(kind.Severity()))
	}
}

// metered is a platform whose calls are counted.
type metered struct {
	jit.Platform
	name string
	m    *Metrics
}

// Unwrap returns the platform itself.
func (p *metered) Unwrap() jit.Platform { return p.Platform }

// note counts a call that began at a time and may have failed.
func (p *metered) note(operation string, began time.Time, failed bool) {
	kind := p.Kind()
	p.m.calls.WithLabelValues(p.name, kind, operation).Inc()
	p.m.took.WithLabelValues(p.name, kind, operation).Observe(time.Since(began).Seconds())
	if failed {
		p.m.errors.WithLabelValues(p.name, kind, operation).Inc()
	}
}

// Scopes lists the scopes.
func (p *metered) Scopes(ctx context.Context) ([]string, error) {
	began := time.Now()
	scopes, err := p.Platform.Scopes(ctx)
	p.note(opScopes, began, err != nil)
	return scopes, err
}

// Read reads one scope.
func (p *metered) Read(ctx context.Context, scope string) (jit.Snapshot, error) {
	began := time.Now()
	s, err := p.Platform.Read(ctx, scope)
	p.note(opRead, began, err != nil)
	return s, err
}

// Apply carries out changes.
func (p *metered) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	began := time.Now()
	errs := p.Platform.Apply(ctx, scope, changes)
	p.note(opApply, began, anyFailed(errs))
	return errs
}

func anyFailed(errs []error) bool {
	for _, err := range errs {
		if err != nil {
			return true
		}
	}
	return false
}
