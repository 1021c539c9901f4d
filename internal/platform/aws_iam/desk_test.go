package awsiam

import (
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/sweeper"
)

// desk is one process that grants and sweeps in the account, with a ledger that other desks may share.
type desk struct {
	*testing.T
	*site
	platform *Platform
	broker   *broker.Broker
	onDrift  jit.OnDrift
}

func (s *site) desk(t *testing.T, cfg Config, ledger jit.Ledger) *desk {
	t.Helper()
	p, err := New(cfg, jit.Services{Now: time.Now})
	must(t, err)
	p.retryer, p.pause = quickly, 5*time.Millisecond
	d := &desk{T: t, site: s, platform: p}
	d.broker = &broker.Broker{
		Ledger: ledger, Targets: map[string]jit.Platform{"prod": batch.Share(p, time.Minute, time.Now)},
		Owner: "payments", MaxTTL: 24 * time.Hour, Actor: jit.Actor{Name: "test", Source: jit.FromTerraform},
		Now: time.Now,
	}
	return d
}

// another returns another process that shares the ledger and whose reads are fresh.
func (d *desk) another() *desk {
	other := d.site.desk(d.T, d.platform.cfg, d.broker.Ledger)
	other.platform.settling, other.onDrift = d.platform.settling, d.onDrift
	return other
}

func (d *desk) request(principal, role string) broker.Request {
	return broker.Request{Binding: jit.Binding{Target: "prod", Principal: principal, Role: role, Scope: d.account.ID},
		Reason: "INC-1", Renewal: 1, TTL: jit.RecordedTTL("1h")}
}

// recorded returns the grant in the ledger.
func (d *desk) recorded(id jit.ID) jit.Grant {
	d.Helper()
	g, known, err := d.broker.Ledger.Lookup(d.Context(), id)
	if err != nil || !known {
		d.Fatalf("the ledger has no grant %s: %v", id, err)
	}
	return g
}

func (d *desk) revoke(g jit.Grant) {
	d.Helper()
	if _, _, err := d.broker.Revoke(d.Context(), broker.Revocation{Grant: g, Reason: "done early"}); err != nil {
		d.Errorf("revoke: %v", err)
	}
}

// pass sweeps once.
func (d *desk) pass() []sweeper.Result {
	d.Helper()
	s := &sweeper.Sweeper{Broker: d.broker, Holder: "test", MaxUnplanned: 20,
		OnDrift: map[string]jit.OnDrift{"prod": d.onDrift}}
	report := s.Pass(d.Context())
	for _, err := range report.Unread {
		d.Error(err)
	}
	return report.Results
}

// sweep returns what a pass has done, by grant.
func (d *desk) sweep() map[jit.ID]sweeper.Result {
	d.Helper()
	results := map[jit.ID]sweeper.Result{}
	for _, r := range d.pass() {
		results[r.Grant.ID] = r
		if r.Err != nil {
			d.Errorf("%s %s: %v", r.Kind, r.Grant.Principal, r.Err)
		}
	}
	return results
}

// drifts returns what a pass that changes nothing would do.
func (d *desk) drifts() []sweeper.Result {
	d.Helper()
	s := &sweeper.Sweeper{Broker: d.broker, Holder: "test", MaxUnplanned: 20, DryRun: true}
	return s.Pass(d.Context()).Results
}

// quiet fails the test if a pass does anything.
func (d *desk) quiet(when string) {
	d.Helper()
	for _, r := range d.sweep() {
		d.Errorf("%s the sweep did %s: %s %q", when, r.Kind, r.Drift, r.Reason)
	}
}
