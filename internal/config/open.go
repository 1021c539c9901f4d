package config

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/batch"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/ledger"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// KeepForPlan is how long one read of a scope serves a Terraform run, so a plan of many grants on one scope reads it
// once.
const KeepForPlan = time.Minute

// Options are what the program, not the user, decides. The zero value of each is usable.
type Options struct {
	// Now is the clock; nil is the clock of this machine.
	Now func() time.Time
	// Source is the part of the program that acts.
	Source jit.Source
	// Run identifies the run of Terraform that acts. If it is empty, Terraform's provider is a run of its own.
	Run string
	// Keep is how long a read of a scope may be answered from memory; zero reads again each time.
	Keep time.Duration
	// Wrap, when not nil, goes around each platform, inside the batching.
	Wrap func(name string, p jit.Platform) jit.Platform
	// Warn receives the warnings of targets about changes that were made; nil is the log. It is safe for concurrent
	// use.
	Warn func(text string)
	// UserAgent says in requests to targets which program makes them.
	UserAgent string
}

// Runtime is everything that the settings describe, open and ready.
type Runtime struct {
	Broker  *broker.Broker
	Ledger  *ledger.Ledger
	Targets map[string]jit.Platform
	// Owners are the owners whose grants a sweeper serves. EveryOwner: the settings say that it serves all. Both are
	// empty if the settings say nothing.
	Owners     jit.Owners
	EveryOwner bool
	// Interval and DriftInterval are how often a daemon reads due work and looks for drift; 0 is the default.
	Interval, DriftInterval time.Duration
	// OnDrift, RevokeViolations and MaxUnplanned are those of [Settings].
	OnDrift          map[string]jit.OnDrift
	RevokeViolations bool
	MaxUnplanned     *int
	// Listen, ListenToken and ListenProxy are those of [Settings].
	Listen, ListenToken string
	ListenProxy         *ListenProxy
	// Receivers receive notices. NoticeBefore is how long before its end a grant is announced; 0 is never.
	Receivers    []*notice.Receiver
	NoticeBefore time.Duration
}

// Close releases the ledger's connections.
func (r *Runtime) Close() error { return r.Ledger.Close() }

// Open checks the settings and opens what they describe. It makes no call, so neither the targets nor the ledger need
// to answer. Errors are *[jit.Error] that name the attribute, with file and line if a settings file sets it.
func Open(ctx context.Context, s Settings, o Options) (*Runtime, error) {
	s = s.WithDefaults()
	runtime, err := open(ctx, s, o)
	return runtime, s.inFile(err)
}

// open is [Open] for settings with their defaults.
func open(ctx context.Context, s Settings, o Options) (*Runtime, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	owners, ownersErr := jit.ParseOwners("owners", s.Owners)
	maxTTL, maxTTLErr := parseMaxTTL(s.MaxTTL)
	interval, intervalErr := every("interval", s.Interval)
	driftInterval, driftErr := every("drift_interval", s.DriftInterval)
	receivers, before, noticesErr := notices(s)
	wait, waitErr := every("wait_for_approval", s.WaitForApproval)
	err := cmp.Or(jit.CheckOwner(s.Owner), ownersErr, maxTTLErr, intervalErr, driftErr, noticesErr, waitErr,
		ledger.CheckURL(s.Ledger))
	if err != nil {
		return nil, err
	}
	if o.Run == "" && o.Source == jit.FromTerraform {
		o.Run = rand.Text()
	}
	l, err := ledger.Open(ctx, ledger.Config{URL: s.Ledger, Now: o.Now, Actor: actor(o.Source), Run: o.Run})
	if err != nil {
		return nil, err
	}
	b := &broker.Broker{
		Ledger: l, Targets: map[string]jit.Platform{}, Owner: s.Owner, MaxTTL: maxTTL,
		Actor: actor(o.Source), Now: o.Now, Planned: &broker.Planned{},
		Run: o.Run, WaitForApproval: wait,
	}
	b.Approvals.Dir = s.ApprovalsDir
	for _, name := range slices.Sorted(maps.Keys(s.Targets)) {
		if b.Targets[name], err = openTarget(name, s.Targets[name], o, l, b); err != nil {
			_ = l.Close() // nothing has been written
			return nil, err
		}
	}
	return &Runtime{
		Broker: b, Ledger: l, Targets: b.Targets, Owners: owners, EveryOwner: owners == nil && s.Owners != nil,
		Interval: interval, DriftInterval: driftInterval,
		OnDrift: s.OnDrift, RevokeViolations: s.OnViolation == violationRevoke, MaxUnplanned: s.MaxUnplanned,
		Listen: s.Listen, ListenToken: s.ListenToken, ListenProxy: s.ListenProxy,
		Receivers: receivers, NoticeBefore: before,
	}, nil
}

// Check returns every error of the settings of a provider block that every machine would get from [Open]. It makes no
// call and reads no file. What is empty may still be unknown.
func Check(s Settings) (all []error) {
	add := func(err error) {
		if err != nil {
			all = append(all, err)
		}
	}
	d := s.WithDefaults()
	add(jit.CheckOwner(d.Owner))
	_, err := parseMaxTTL(d.MaxTTL)
	add(err)
	_, err = every("wait_for_approval", d.WaitForApproval)
	add(err)
	if s.Ledger != "" {
		add(ledger.CheckURL(s.Ledger))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Targets)) {
		add(platform.Check(name, s.Targets[name]))
	}
	return all
}

// openTarget opens a target of the broker.
func openTarget(
	name string, c platform.Config, o Options, l *ledger.Ledger, b *broker.Broker,
) (jit.Platform, error) {
	services := jit.Services{
		Now:       o.Now,
		Claims:    l.Claims(),
		UserAgent: o.UserAgent,
		// the next sweep repeats it
		Tidied: func(ctx context.Context, gone []jit.Marker) { _ = b.Tidied(ctx, gone) },
	}
	if o.Warn != nil {
		services.Warn = func(text string) { o.Warn(fmt.Sprintf("target %q: %s", name, text)) }
	}
	p, err := platform.Open(name, c, services)
	if err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		p = o.Wrap(name, p)
	}
	return batch.Share(p, o.Keep, o.Now), nil
}

// parseMaxTTL reads max_ttl, which must not be shorter than the shortest grant.
func parseMaxTTL(text string) (time.Duration, error) {
	d, err := jit.ParseDuration("max_ttl", text)
	if err == nil && d < jit.MinTTL {
		err = jit.Invalid("max_ttl", `write for example max_ttl = "24h"`,
			"%q is shorter than the shortest grant, %s", text, jit.FormatDuration(jit.MinTTL))
	}
	return d, err
}

// DefaultNoticeBefore is how long before its end a grant is announced.
const DefaultNoticeBefore = 15 * time.Minute

// notices returns the receivers in the order of their names, and how long before its end a grant is announced; 0 if no
// receiver wants that.
func notices(s Settings) (receivers []*notice.Receiver, before time.Duration, err error) {
	asked, err := every("notice_before", s.NoticeBefore)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Notify)) {
		r, err := notice.NewReceiver(name, s.Notify[name])
		if err != nil {
			return nil, 0, err
		}
		receivers = append(receivers, r)
		if r.Wants(jit.EventEndsSoon) {
			before = cmp.Or(asked, DefaultNoticeBefore)
		}
	}
	return receivers, before, nil
}

// every reads how often to do something; 0 if the text is empty.
func every(attribute, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return CheckEvery(attribute, text)
}

// minEvery is the shortest interval of a daemon.
const minEvery = time.Second

// CheckEvery reads the interval of a daemon: a second or more, such as "30s" or "5m".
func CheckEvery(attribute, text string) (time.Duration, error) {
	d, err := jit.ParseDuration(attribute, text)
	if err == nil && d < minEvery {
		err = jit.Invalid(attribute, `write for example "1m"`, "%q is less than %s", text, jit.FormatDuration(minEvery))
	}
	return d, err
}
