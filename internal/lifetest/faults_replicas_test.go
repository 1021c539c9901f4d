package lifetest_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/testenv"
)

// load makes and revokes grants while replicas are killed.
type load struct {
	*post
	db *database

	mu   sync.Mutex
	made []jit.Grant // confirmed, with revoked_at if ended early
}

// admitted returns the people who have the role, according to the server.
func (l *load) admitted() map[string]bool {
	l.t.Helper()
	names, err := ask(l.db.url,
		fmt.Sprintf(
			`SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolname LIKE 'person%%-%s' AND pg_has_role(oid, '%s', 'USAGE')`,
			l.db.tag,
			l.db.role(),
		),
	)
	if err != nil {
		l.t.Fatal(err)
	}
	all := map[string]bool{}
	for _, name := range strings.Fields(names) {
		all[name] = true
	}
	return all
}

// look fails the test if a person with a live grant has no access.
func (l *load) look() {
	l.t.Helper()
	l.mu.Lock()
	confirmed := slices.Clone(l.made)
	l.mu.Unlock()
	admitted := l.admitted()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for i, g := range confirmed {
		// A grant may have been revoked during the query.
		if g.Live(now) && l.made[i].Live(now) && !admitted[g.Principal] {
			l.t.Errorf("at %s %s has no access, although grant %s lasts until %s", now.UTC(), g.Principal, g.ID,
				g.End)
		}
	}
}

// come makes a grant for one of the people and sometimes revokes it. The last of the people have grants that outlast
// the test.
func (l *load) come(n int, until time.Time) {
	people := l.people["db"]
	who := people[rand.IntN(len(people))]
	end := time.Now().Add(10*time.Second + rand.N(30*time.Second))
	if n < staying {
		who, end = people[len(people)-1-n], until.Add(time.Hour)
	}
	g, err := l.try(asked{target: "db", who: who, reason: fmt.Sprintf("load %d", n), end: end})
	if err != nil {
		l.t.Error(err)
		return
	}
	l.mu.Lock()
	l.made = append(l.made, g)
	l.mu.Unlock()
	if n < staying || rand.IntN(8) > 0 {
		return
	}
	time.Sleep(rand.N(8 * time.Second))
	l.mu.Lock()
	at := slices.IndexFunc(l.made, func(m jit.Grant) bool { return m.ID == g.ID })
	l.made[at].RevokedAt = time.Now()
	l.mu.Unlock()
	early := broker.Revocation{Grant: g, Reason: "INC-1: done early"}
	if _, _, err := l.rt.Broker.Revoke(l.t.Context(), early); err != nil {
		l.t.Error(err)
	}
}

// staying is the number of people who keep their access throughout.
const staying = 5

// Three replicas are killed at random under load, on an unreliable network. Everybody with a lasting grant keeps
// access, every expired grant ends, and every event is recorded once. It takes one minute, or ten in long tests.
func TestFaultsReplicasKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := testenv.Postgres(t)
	lasts := time.Minute
	if long() {
		lasts = 10 * time.Minute
	}
	db := as[*database](t, newDatabase)
	l := &load{post: newPost(t, released, map[string]place{"db": db}, 40), db: db}
	l.ledger = server.Database(t)
	u, err := url.Parse(l.ledger)
	if err != nil {
		t.Fatal(err)
	}
	networks := []*testenv.Proxy{testenv.NewProxy(t, u.Host), testenv.NewProxy(t, u.Host)}
	l.watched = strings.Replace(l.ledger, u.Host, networks[0].Addr, 1)
	l.through["db"] = strings.Replace(db.target(), u.Host, networks[1].Addr, 1)
	l.open()

	until := time.Now().Add(lasts)
	var all, coming sync.WaitGroup
	grants := 0
	all.Go(func() {
		for ; time.Now().Before(until); grants++ {
			n := grants
			coming.Go(func() { l.come(n, until) })
			time.Sleep(rand.N(250 * time.Millisecond))
		}
		coming.Wait()
	})
	all.Go(func() {
		for time.Now().Before(until.Add(30 * time.Second)) { // some have ended by then
			l.look()
			time.Sleep(500 * time.Millisecond)
		}
	})
	faults := 0
	all.Go(func() {
		for ; time.Now().Before(until); faults++ {
			time.Sleep(2*time.Second + rand.N(4*time.Second))
			network := networks[rand.IntN(len(networks))]
			network.Set(testenv.Slow + rand.N(testenv.Silent)) // any but Sound
			time.Sleep(time.Second + rand.N(4*time.Second))
			network.Set(testenv.Sound)
		}
	})
	replicas := []*daemon{l.watch(nil), l.watch(nil), l.watch(nil)}
	kills := 0
	for ; time.Now().Before(until.Add(20 * time.Second)); kills++ {
		time.Sleep(time.Second + rand.N(4*time.Second))
		i := rand.IntN(len(replicas))
		replicas[i].kill()
		time.Sleep(rand.N(2 * time.Second))
		replicas[i] = l.watch(nil)
	}
	all.Wait()

	eventually(t, 2*time.Minute, func() string {
		now, open := time.Now(), 0
		for g, err := range l.rt.Ledger.Grants(t.Context(), jit.Filter{Owner: l.owner, Open: true}) {
			if err != nil {
				t.Fatal(err)
			}
			if g.Over(now) || !g.End.After(until.Add(10*time.Minute)) {
				open++
			}
		}
		if open > 0 {
			return fmt.Sprintf("%d grants have not ended", open)
		}
		return ""
	})
	admitted := l.admitted()
	for i, who := range l.people["db"] {
		if want := i >= len(l.people["db"])-staying; admitted[who] != want {
			t.Errorf("after the test, access of %s is %t, want %t", who, admitted[who], want)
		}
	}
	if n := db.marked(t); n != staying {
		t.Errorf("%d bindings are ours, want the %d that last", n, staying)
	}
	l.checkRecord()
	var lags []time.Duration
	for _, g := range l.made {
		if recorded := l.record(g.ID); !recorded.EndedAt.IsZero() {
			lags = append(lags, recorded.EndedAt.Sub(recorded.ActualEnd()))
		}
	}
	slices.Sort(lags)
	part := func(percent int) time.Duration { return lags[(len(lags)-1)*percent/100].Round(time.Millisecond) }
	t.Logf(
		"in %s: %d grants, %d ended, %d kills of a replica, %d network faults; lag p50 %s, p99 %s, maximum %s",
		lasts,
		grants,
		len(lags),
		kills,
		faults,
		part(50),
		part(99),
		part(100),
	)
	for _, d := range replicas {
		d.stop()
	}
}
