package status

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/reconcile"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// Metrics are for Prometheus. No principal, reason or scope is a label: the targets bound the number of series.
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
)

const (
	opScopes, opRead, opApply = "scopes", "read", "apply"
	resultDone, resultFailed  = "done", "failed"
	resultRemains             = "remains" // access has ended, and the clean-up is open
)

// NewMetrics returns the metrics of a program of that version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	auto := promauto.With(m.registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return auto.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return auto.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m.lag = auto.NewHistogram(prometheus.HistogramOpts{
		Name: "jit_revocation_lag_seconds", Help: "Time from the end of a grant until its target confirmed it.",
		Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600},
	})
	m.steps = counter("jit_steps_total",
		"Steps of the sweeper by kind (end, start, repair, remove, revoke, report) and result (done, failed, "+
			"remains: access has ended and the clean-up is open).", "target", "kind", "result")
	m.drift = counter("jit_drift_total",
		"Findings of drift passes by kind. Each pass counts again what persists.", "target", "kind", "severity")
	m.passes = histogram("jit_pass_duration_seconds",
		"Duration of passes: due claims due work, drift reads the scopes of one target.",
		[]float64{.005, .025, .1, .5, 1, 5, 15, 60, 300}, "pass")
	m.lastPass = gauge("jit_last_pass_timestamp_seconds",
		"When the last complete pass began; before the first, when the daemon began.", "pass")
	m.calls = counter("jit_target_calls_total",
		"Calls to targets by operation (scopes, read, apply).", "target", "platform", "operation")
	m.errors = counter("jit_target_errors_total",
		"Calls to targets that failed or in which a change failed.", "target", "platform", "operation")
	m.took = histogram("jit_target_call_duration_seconds", "Duration of calls to targets.",
		[]float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 15, 60}, "target", "platform", "operation")
	m.notices = counter("jit_notices_total",
		"Attempts to deliver notices by result: delivered, failed (is retried), passed_over (is not).",
		"receiver", "result")
	gauge("jit_build_info", "Always 1; the version is the label.", "version").WithLabelValues(version).Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, kind := range passKinds {
		m.passes.WithLabelValues(kind)
	}
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

// Noticed counts an attempt to deliver a notice.
func (m *Metrics) Noticed(receiver string, r notice.Result) {
	m.notices.WithLabelValues(receiver, string(r)).Inc()
}

// Watch adds the metrics of a watcher that is about to run: those that a scrape reads from the ledger and from the
// state of the watcher.
func (m *Metrics) Watch(source Source) {
	for _, kind := range passKinds { // alerts then notice if the first pass never comes
		m.lastPass.WithLabelValues(kind).Set(float64(source.Now().Unix()))
	}
	m.registry.MustRegister(&ledgerCollector{Source: source})
}

// Wrap counts the calls to a target.
func (m *Metrics) Wrap(name string, p jit.Platform) jit.Platform {
	m.begin(name, p.Kind())
	return &metered{Platform: p, name: name, m: m}
}

// begin creates the counters of a target: Prometheus does not see a counter increase that appears with its first event.
func (m *Metrics) begin(target, platform string) {
	for _, operation := range []string{opScopes, opRead, opApply} {
		m.calls.WithLabelValues(target, platform, operation)
		m.errors.WithLabelValues(target, platform, operation)
	}
	for kind := range doneWords {
		for _, result := range []string{resultDone, resultFailed, resultRemains} {
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

// count counts a call that began at a time.
func (p *metered) count(operation string, began time.Time, err error) {
	kind := p.Kind()
	p.m.calls.WithLabelValues(p.name, kind, operation).Inc()
	p.m.took.WithLabelValues(p.name, kind, operation).Observe(time.Since(began).Seconds())
	if err != nil {
		p.m.errors.WithLabelValues(p.name, kind, operation).Inc()
	}
}

// Scopes lists the scopes.
func (p *metered) Scopes(ctx context.Context) (scopes []string, err error) {
	defer func(began time.Time) { p.count(opScopes, began, err) }(time.Now())
	return p.Platform.Scopes(ctx)
}

// Read reads one scope.
func (p *metered) Read(ctx context.Context, scope string) (s jit.Snapshot, err error) {
	defer func(began time.Time) { p.count(opRead, began, err) }(time.Now())
	return p.Platform.Read(ctx, scope)
}

// Apply carries out changes.
func (p *metered) Apply(ctx context.Context, scope string, changes []jit.Change) (errs []error) {
	defer func(began time.Time) { p.count(opApply, began, errors.Join(errs...)) }(time.Now())
	return p.Platform.Apply(ctx, scope, changes)
}
