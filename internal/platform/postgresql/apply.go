package postgresql

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jitaccess/terraform-provider-jit/internal/backoff"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

const (
	// attempts caps the attempts at changes that lose races with other writers.
	attempts = 10
	// firstPause is the longest pause after the first lost race; it doubles with each up to maxPause.
	firstPause = 10 * time.Millisecond
	maxPause   = 32 * firstPause
	// waits caps the attempts at a change that an open transaction of another session blocks.
	waits = 4
	// maxWait caps the sum of the waits for such transactions in one transaction of ours. Nothing is committed before
	// its last statement, and one transaction left open must not stop the access of everybody else from ending.
	maxWait = time.Second
	// lockKey is the advisory lock under which writers of one database take turns ("jit:role"). It does not stop
	// writers through other databases; changes that collide with theirs are tried again.
	lockKey = 0x6a69743a726f6c65
	// maxTurn caps the wait for that lock. Any role can take it, so nothing depends on it.
	maxTurn = 5 * time.Second
)

// Apply makes all changes in one transaction, whatever their number: one round trip reads under a lock, and one writes.
// If a change fails, all are made again, apart: the one that fails leaves nothing behind and does not affect the others. A change that an open transaction of
// another session blocks is tried again in a transaction of its own.
//
// A Remove drops the wrapper. Before that it takes back the privileges granted to the wrapper in the configured
// database, if the wrapper owns nothing there. If the wrapper still cannot be dropped, because of its property, another
// database or an open transaction, the error wraps [jit.ErrRemains] and says what is left.
//
// With TerminateSessions a Remove ends all sessions of the principal, whatever they were opened for. It does so also if
// the wrapper is gone already, so a Remove whose answer was lost can be repeated.
func (p *Platform) Apply(ctx context.Context, scope string, changes []jit.Change) []error {
	errs := make([]error, len(changes))
	var todo []int
	for i, c := range changes {
		if errs[i] = p.checkChange(scope, c); errs[i] == nil {
			todo = append(todo, i)
		}
	}
	w := &work{platform: p, changes: changes, errs: errs, memory: make([]memory, len(changes))}
	for lost := 0; len(todo) > 0; {
		t := &transaction{work: w}
		t.run(ctx, todo)
		todo = t.later
		if len(t.again) == 0 {
			continue
		}
		if lost++; lost >= attempts {
			continue // their errors stand
		}
		for _, i := range t.again {
			errs[i] = nil
		}
		todo = append(t.again, todo...)
		slices.Sort(todo)
		if err := backoff.Wait(ctx, lost-1, firstPause, maxPause); err != nil {
			for _, i := range todo {
				errs[i] = fmt.Errorf("wait for another writer of roles: %w", err)
			}
			break
		}
	}
	w.nameHolders(ctx)
	return errs
}

// checkChange refuses changes that can never be carried out.
func (p *Platform) checkChange(scope string, c jit.Change) error {
	if scope != cluster {
		return unknownScope(scope)
	}
	if c.Op == jit.Remove {
		return nil
	}
	_, _, err := p.Check(c.Access.Binding)
	return err
}

// work is one Apply.
type work struct {
	platform *Platform
	changes  []jit.Change
	// errs gets one outcome for each change that was tried.
	errs   []error
	memory []memory
	// jostle: the advisory lock was not free in time, and we go on without it.
	jostle bool
	// apart: the changes failed together, so each gets savepoints of its own.
	apart bool
}

// memory is what the attempts at a change have shown.
type memory struct {
	how how
	// over: nobody has access through the wrapper any more.
	over bool
	// waited counts the attempts that another session's lock ended.
	waited int
	// blocked is the unit that such a lock ended in the last attempt, nil if there is none.
	blocked *unit
}

// transaction is one attempt at a list of changes.
type transaction struct {
	*work
	// again lists the changes that lost a race, with their errors in errs.
	again []int
	// later lists the changes that wait for an earlier one of the same grant.
	later []int
	// logins are the changes whose wrapper can log in itself.
	logins map[int]bool
}

// run tries the changes todo.
func (t *transaction) run(ctx context.Context, todo []int) {
	fail := func(err error) {
		for _, i := range todo {
			t.errs[i] = err
		}
		if lostRace(err) {
			t.again = todo
		}
	}
	todo = t.oneEach(todo)
	conn, major, err := t.platform.acquire(ctx)
	if err != nil {
		fail(err)
		return
	}
	defer conn.Release() // a connection whose transaction is still open is closed

	s, err := t.begin(ctx, conn.Conn(), major, todo)
	if err != nil {
		t.jostle = t.jostle || sqlState(err) == codeLockTimeout
		fail(err)
		return
	}
	skew := jit.CheckSkew(t.platform.now(), s.clock)
	units, sessions := t.plan(s, major, todo, skew)
	if len(units)+len(sessions) == 0 {
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			fail(t.platform.explain(ctx, "end the transaction", err))
		}
		return
	}
	t.platform.call("write")
	together := !t.apart && len(sessions) == 0
	if together {
		err = t.writeTogether(ctx, conn.Conn(), units)
		t.apart = sqlState(err) != ""
	} else {
		err = t.write(ctx, conn.Conn().PgConn(), units, sessions)
	}
	if err == nil {
		t.tellMade(s, todo)
		return
	}
	for _, i := range todo {
		if t.errs[i] == nil {
			t.errs[i] = err
			if lostRace(err) || together && t.apart {
				t.again = append(t.again, i)
			}
		}
	}
}

// tellMade gives each access that has ended the error about what may outlive it.
func (t *transaction) tellMade(s *state, todo []int) {
	for _, i := range todo {
		if m := t.changes[i].Access.Marker; t.changes[i].Op == jit.Remove && t.errs[i] == nil {
			t.errs[i] = s.leftActing(wrapperName(m.Owner, m.ID))
		}
	}
}

// oneEach returns the first change of each grant and postpones the others.
func (t *transaction) oneEach(todo []int) []int {
	type grant struct {
		owner string
		id    jit.ID
	}
	seen := map[grant]bool{}
	var first []int
	for _, i := range todo {
		g := grant{t.changes[i].Access.Marker.Owner, t.changes[i].Access.Marker.ID}
		if seen[g] {
			t.later = append(t.later, i)
			continue
		}
		seen[g] = true
		first = append(first, i)
	}
	return first
}

// begin opens the transaction, takes the lock and reads what concerns the changes, in one round trip.
func (t *transaction) begin(ctx context.Context, conn *pgx.Conn, major int, todo []int) (*state, error) {
	names := map[string]bool{}
	var wrappers, removed []string
	for _, i := range todo {
		a := t.changes[i].Access
		wrapper := wrapperName(a.Marker.Owner, a.Marker.ID)
		wrappers = append(wrappers, wrapper)
		names[wrapper] = true
		if t.changes[i].Op == jit.Remove {
			removed = append(removed, wrapper)
		} else {
			names[a.Binding.Principal], names[a.Binding.Role] = true, true
		}
	}
	var s state
	batch := &pgx.Batch{}
	// Each statement must see what was committed before it got the lock, whatever the role's default is.
	t.platform.begin(batch, "READ COMMITTED READ WRITE")
	if !t.jostle {
		batch.Queue(setLockTimeout(maxTurn))
		batch.Queue(turnSQL)
	}
	batch.Queue(setLockTimeout(maxWait / time.Duration(2*len(todo)))) // two units each, as a rule
	s.queueNamed(batch, major, slices.Sorted(maps.Keys(names)), wrappers)
	if major < 16 && len(removed) > 0 {
		batch.Queue(madeSQL, removed).Query(collect(&s.made))
	}
	t.platform.call("read")
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, t.platform.explain(ctx, "read roles under the lock", err)
	}
	return &s, nil
}

// turnSQL takes the lock under which writers of one database take turns.
var turnSQL = fmt.Sprintf("SELECT pg_catalog.pg_advisory_xact_lock(%d)", int64(lockKey))

func setLockTimeout(d time.Duration) string {
	return fmt.Sprintf("SET LOCAL lock_timeout = %d", max(d.Milliseconds(), 1)) // 0 would be for ever
}

// plan returns what to run, and for each principal whose sessions are to end the changes that end them.
func (t *transaction) plan(s *state, major int, todo []int, skew error) ([]unit, map[string][]int) {
	there := map[string]*wrapper{}
	for _, w := range s.wrappers() {
		there[w.Name] = w
	}
	var units []unit
	sessions := map[string][]int{}
	on := server{major, s.operator}
	t.logins = map[int]bool{}
	for _, i := range todo {
		c := t.changes[i]
		w := there[wrapperName(c.Access.Marker.Owner, c.Access.Marker.ID)]
		switch {
		case w.another(c):
			t.errs[i] = &jit.Error{
				Problem: fmt.Sprintf("the comment of role %q bears the marker of another grant (%s)", w.Name, w.marker),
				Hint:    "find out who changed the comment; drop the role if nobody needs it",
			}
		case c.Op == jit.Remove:
			if w != nil {
				units = append(units, remove(i, c.Access, w, on, t.memory[i].how)...)
				t.logins[i] = w.Login
			}
			for _, principal := range sessionsToEnd(c.Access, w) {
				sessions[principal] = append(sessions[principal], i)
			}
		case skew != nil:
			t.errs[i] = skew
		default:
			if t.errs[i] = s.lacks(c.Access.Binding, w); t.errs[i] != nil {
				continue
			}
			if list := ensure(c.Access, s.roles[c.Access.Binding.Principal], w, on, t.memory[i].how); len(list) > 0 {
				units = append(units, unit{change: i, statements: list})
			}
		}
	}
	return units, sessions
}

// another reports whether the wrapper of a change, nil if there is none, is marked as that of another grant. A Remove
// still ends what the wrapper gives of its binding.
func (w *wrapper) another(c jit.Change) bool {
	return w != nil && w.marked && !w.ours() && (c.Op == jit.Ensure || !w.carries(c.Access.Binding))
}

// sessionsToEnd returns the principals whose sessions a Remove ends: the grant's own and the members of the wrapper.
func sessionsToEnd(a jit.Access, w *wrapper) []string {
	if !a.TerminateSessions {
		return nil
	}
	var names []string
	if a.Binding.Principal != "" {
		names = append(names, a.Binding.Principal)
	}
	if w != nil {
		for _, m := range w.members {
			names = append(names, m.Member)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lacks returns an error if a role of the binding is missing or cannot be used. w is the grant's wrapper, nil if there
// is none.
func (s *state) lacks(b jit.Binding, w *wrapper) error {
	principal, ok := s.roles[b.Principal]
	switch {
	case !ok:
		return missingRole("principal", b.Principal)
	case !principal.Login:
		return noLogin(b.Principal)
	case w != nil && w.principal != "" && w.principal != strconv.FormatUint(uint64(principal.OID), 10) &&
		!w.has(b.Principal):
		return &jit.Error{Attribute: "principal", Problem: fmt.Sprintf("role %q is another one than the grant was "+
			"made for: that one was dropped, and this one made since", b.Principal),
			Hint: "if the new one is to have the access, set renewal to the next number; end this grant with `jit " +
				"revoke`"}
	}
	if _, ok := s.roles[b.Role]; !ok {
		return missingRole("role", b.Role)
	}
	return nil
}
