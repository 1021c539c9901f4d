package lifetest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/gcptest"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv/hooptest"
)

// sick is a target whose server fails for a while.
type sick struct {
	place
	// through is the target's configuration for the daemons; empty means that of the place.
	through   string
	set, over func()
}

// as opens a place and returns it as its type.
func as[T place](t *testing.T, open func(*testing.T) place) T {
	t.Helper()
	at, ok := open(t).(T)
	if !ok {
		t.Fatal("open returned another type")
	}
	return at
}

// sickNetwork puts a proxy in front of a place's server.
func sickNetwork(t *testing.T, at place, address string, fault testenv.Fault) sick {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := testenv.NewProxy(t, u.Host)
	return sick{at, strings.Replace(at.target(), u.Host, proxy.Addr, 1), func() { proxy.Set(fault) },
		func() { proxy.Set(testenv.Sound) }}
}

// networkFaults are the faults by name.
var networkFaults = map[string]testenv.Fault{"slow": testenv.Slow, "refusing": testenv.Refusing,
	"cutting": testenv.Cutting, "silent": testenv.Silent}

// sickServices returns services that answer with faults.
func sickServices(t *testing.T) map[string]sick {
	t.Helper()
	all := map[string]sick{}
	for name, cut := range map[string]hooptest.Cut{
		"429": hooptest.Busy, "500": hooptest.Failing, "unanswered": hooptest.Unanswered,
	} {
		gateway := as[*gateway](t, newGateway)
		all["hoop_"+name] = sick{gateway, "",
			func() { gateway.server.Interrupt(func(*http.Request) hooptest.Cut { return cut }) },
			func() { gateway.server.Interrupt(nil) }}
	}
	for name, fault := range map[string]gcptest.Fault{
		"429":        {Status: http.StatusTooManyRequests, Message: "quota", RetryAfter: "1"},
		"500":        {Status: http.StatusInternalServerError, Message: "internal"},
		"unanswered": {Lost: true, After: true},
	} {
		project := as[*project](t, newProject)
		all["gcp_"+name] = sick{project, "",
			func() { project.server.Inject(func(gcptest.Request) gcptest.Fault { return fault }) },
			func() { project.server.Inject(nil) }}
	}
	return all
}

// Targets fail while grants end, on the network or with their answers. The working target ends its grants on time, no
// grant is recorded as ended too early, and everything is completed when the others are back. It takes half a minute,
// or three minutes in long tests.
func TestFaultsTargets(t *testing.T) {
	t.Parallel()
	for name, fault := range networkFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := as[*gateway](t, newGateway)
			all := map[string]sick{"hoop": sickNetwork(t, gateway, gateway.server.URL, fault)}
			if os.Getenv(testenv.EnvAcceptance) != "" {
				database := as[*database](t, newDatabase)
				all["postgresql"] = sickNetwork(t, database, database.url, fault)
			}
			targetsFail(t, all)
		})
	}
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		targetsFail(t, sickServices(t))
	})
}

func targetsFail(t *testing.T, all map[string]sick) {
	lasts := 30 * time.Second
	if long() {
		lasts = 3 * time.Minute
	}
	well := hostIn(t, t.TempDir())
	targets := map[string]place{"well": well}
	for name, s := range all {
		targets[name] = s.place
	}
	const each, ofWell = 4, 40
	p := newPost(t, released, targets, ofWell+1)
	for name, s := range all {
		if s.through != "" {
			p.through[name] = s.through
		}
	}
	p.open()

	begin := time.Now().Add(25 * time.Second) // when the faults begin; a loaded machine grants slowly
	ends := map[string][]jit.Grant{}
	for name, people := range p.people {
		n := each
		if name == "well" {
			n = ofWell
		}
		all := []asked{{target: name, who: people[ofWell], reason: "goes on", end: begin.Add(time.Hour)}}
		for i, who := range people[:n] {
			all = append(all,
				asked{target: name, who: who, reason: "ends",
					end: begin.Add(2*time.Second + lasts*time.Duration(i)/time.Duration(n))},
			)
		}
		ends[name] = p.grant(all...)[1:]
	}
	d := p.watch(nil)
	time.Sleep(time.Until(begin))
	stalled := pulse(t)
	for _, s := range all {
		s.set()
	}
	for time.Since(begin) < lasts {
		time.Sleep(time.Second)
		for name, s := range all {
			ended := 0
			for _, g := range ends[name] {
				if !p.record(g.ID).EndedAt.IsZero() {
					ended++
				}
			}
			if there := s.marked(t); there > each+1-ended {
				t.Fatalf("%s: %d of %d grants are recorded as ended, but %d bindings remain", name, ended, each+1,
					there)
			}
		}
	}
	patience := 5*time.Second + stalled()
	late := 0
	for _, g := range ends["well"] {
		if ended := p.record(g.ID).EndedAt; g.End.Before(begin.Add(lasts-patience)) && (ended.IsZero() ||
			ended.Sub(g.End) > patience) {
			late++
			t.Errorf("on the working target, the end at %s is recorded at %s", g.End, ended)
		}
	}
	stuck := 0
	for name := range all {
		for _, g := range ends[name] {
			if p.record(g.ID).EndedAt.IsZero() {
				stuck++
			}
		}
	}
	for _, s := range all {
		s.over()
	}
	back := time.Now()
	eventually(t, 2*time.Minute+lasts, func() string {
		var open []string
		for name, at := range targets {
			if n := at.marked(t); n != 1 {
				open = append(open, fmt.Sprintf("%s: %d bindings are ours, want only the lasting one", name, n))
			}
			for _, g := range ends[name] {
				if p.record(g.ID).EndedAt.IsZero() {
					open = append(open, fmt.Sprintf("%s: the end of %s is not recorded", name, g.ID))
				}
			}
		}
		return strings.Join(open, "\n")
	})
	t.Logf(
		"%d ends were delayed on %d targets for %s, and completed %s after the recovery; on the working target, %d of %d were more than %s late",
		stuck,
		len(all),
		lasts,
		time.Since(back).Round(time.Second),
		late,
		len(ends["well"]),
		patience.Round(time.Millisecond),
	)
	for name, at := range targets {
		may(t, at, p.people[name][ofWell], true, "on "+name+", inside the window")
		for _, g := range ends[name] {
			may(t, at, g.Principal, false, "on "+name+", after the end")
		}
	}
	p.checkRecord()
	d.stop()
}
