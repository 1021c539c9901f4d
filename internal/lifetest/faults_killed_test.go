package lifetest_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// watchedPlaces are the places of the tests of daemons: a file, a database and two services.
var watchedPlaces = []string{"ssh", "postgresql", "gcp", "hoop"}

// The daemon is killed at each of its steps, and the next one completes the work. The end of a grant does not end
// another grant of the same access, a grant that is due begins, an altered binding is repaired, and a binding that no
// record explains is removed when it is over.
func TestFaultsDaemonKilled(t *testing.T) {
	t.Parallel()
	for _, p := range places {
		if !slices.Contains(watchedPlaces, p.name) {
			continue
		}
		points := append(
			[]string{"revoke.after-platform", "revoke.after-outcome", "repair.after-intent", "repair.after-platform",
				"repair.after-outcome"},
			writing[p.name]...)
		if p.name != "gcp" { // gcp begins access itself, and each of its writes also removes expired bindings
			points = append(points, "start.after-platform", "start.after-outcome", "remove.after-intent",
				"remove.after-platform")
		}
		for _, point := range points {
			t.Run(p.name+"/"+point, func(t *testing.T) {
				t.Parallel()
				daemonKilled(t, p.open(t), point)
			})
		}
	}
}

func daemonKilled(t *testing.T, at place, point string) {
	p := newPost(t, killable, map[string]place{"here": at}, 3)
	twice, later, lost := p.people["here"][0], p.people["here"][1], p.people["here"][2]
	elsewhere := *p
	elsewhere.ledger = "sqlite://" + filepath.Join(p.dir, "lost.db")
	elsewhere.open()
	soon := time.Now().Add(12 * time.Second)
	elsewhere.grant(asked{target: "here", who: lost, reason: "lost", end: soon})
	p.open()
	hour := soon.Add(time.Hour)
	long := p.grant(asked{target: "here", who: twice, reason: "long", end: hour})[0]
	made := p.grant(asked{target: "here", who: twice, reason: "short", end: soon},
		asked{target: "here", who: later, reason: "later", begin: soon, end: hour})
	short, begins := made[0], made[1]
	at.tamper(t)

	p.watch([]string{"JIT_FAILPOINT=" + point}).dies(point, time.Minute)
	same(t, p.foreign["here"], at.foreign(t), "after the crash, foreign access is")
	d := p.watch(nil)
	eventually(t, 90*time.Second, func() string {
		switch ended := p.record(short.ID).EndedAt; {
		case ended.IsZero():
			return "the expired grant has not ended"
		case p.record(begins.ID).GrantedAt.IsZero():
			return "the due grant has not begun"
		case at.marked(t) != 2:
			return fmt.Sprintf("%d bindings are ours, want 2\n%s", at.marked(t), at.dump(t))
		case !at.tries(t, twice):
			return "the end of one of two grants of the same access has ended the other"
		case !at.tries(t, later):
			return "the due grant gives no access"
		case at.tries(t, lost):
			return "expired access without a record remains"
		}
		for _, g := range []jit.Grant{long, begins} {
			if n := p.events()[g.ID]; n[jit.EventDrift] != n[jit.EventRepaired] {
				return fmt.Sprintf("the record lacks the outcome of a finding about grant %s: %v\n%s",
					g.ID, n, p.history(g.ID))
			}
		}
		return ""
	})
	if n := p.events()[long.ID]; n[jit.EventDrift] != 1 {
		t.Errorf("%d drift_found events for the altered binding, want 1\n%s", n[jit.EventDrift],
			p.history(long.ID))
	}
	p.checkRecord()
	d.stop()
}
