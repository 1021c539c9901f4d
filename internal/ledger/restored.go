package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// restoresSchema is the schema version that indexes the events about restores.
const restoresSchema = 14

// restoreEvents selects the events about restores. It repeats the condition of their index word for word: SQLite uses
// the index for nothing else.
const restoreEvents = "kind IN ('ledger_behind', 'ledger_restored')"

// comparison is the ledger beside the heads of a memory.
type comparison struct {
	// ledger is the id of the ledger, and of what it is compared with.
	ledger string
	of     kept
	// restores are the events about restores.
	restores []jit.Event
	// lost is the head that this process has seen and the ledger lacks, or that the ledger lacks by its own record; zero
	// if there is none. It blocks everybody.
	lost jit.Head
	// told is the newest head that the ledger lacks by a Terraform state; zero if there is none. The state may belong to
	// a copy of the ledger, so it blocks this run alone.
	told jit.Head
	// reported: the ledger records lost, or else that this run knows of told.
	reported bool
}

// epoch returns the present epoch.
func (c *comparison) epoch() (hash string) {
	for _, e := range c.restores {
		if e.Kind == jit.EventLedgerRestored {
			hash = e.Hash
		}
	}
	return hash
}

// accepted reports whether a head that is missing belongs to an epoch that somebody has closed. Its beginning may be
// missing too: then an event up to the last acceptance names it.
func (c *comparison) accepted(h jit.Head) bool {
	now := c.epoch()
	if h.Epoch == now || h.Epoch == "" {
		return h.Epoch != now
	}
	closed := false
	for _, e := range slices.Backward(c.restores) {
		began := e.Kind == jit.EventLedgerRestored
		closed = closed || began
		if closed && (e.Detail[jit.LostEpochDetail] == h.Epoch || began && e.Hash == h.Epoch) {
			return true
		}
	}
	return false
}

// Recall compares heads with the ledger.
func (l *Ledger) Recall(ctx context.Context, heads ...jit.Head) error {
	answer, err := l.recalls.Do(ctx, heads)
	if err != nil {
		return l.fail("read", err)
	}
	return answer
}

// Restores returns the events about restores, in order.
func (l *Ledger) Restores(ctx context.Context) ([]jit.Event, error) {
	seen, err := l.look(ctx)
	return seen.restores, err
}

// look compares the ledger with all heads that this process remembers.
func (l *Ledger) look(ctx context.Context) (comparison, error) {
	ctx = tolerant(ctx)
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return comparison{}, err
	}
	l.memory.mu.Lock()
	l.memory.looked = true
	l.memory.mu.Unlock()
	k := l.kept(nil) // before the tips are read: what is remembered by then was committed by then
	s, err := l.state(ctx, db)
	if err != nil {
		return comparison{}, l.fail("read", err)
	}
	seen, err := l.compare(ctx, db, s, k)
	if err != nil {
		return seen, l.fail("read", err)
	}
	if seen.lost == (jit.Head{}) {
		l.remember(s, seen.epoch())
	}
	return seen, nil
}

// compare looks for the kept heads in the ledger.
func (l *Ledger) compare(ctx context.Context, q queryer, s *state, k kept) (comparison, error) {
	seen := comparison{ledger: s.id, of: k}
	var err error
	if seen.restores, err = l.restores(ctx, q, s); err != nil {
		return seen, err
	}
	hashes := map[place]string{}
	var open []jit.Head
	for _, h := range append(k.last[:len(k.last):len(k.last)], k.told) {
		if t := s.tips[h.Chain]; t.seq == h.Seq {
			hashes[placeOf(h)] = t.hash
		} else if h.Seq > 0 && h.Ledger == s.id {
			open = append(open, h)
		}
	}
	if err := l.hashesAt(ctx, q, s.layout(), open, hashes); err != nil {
		return seen, err
	}
	seen.decide(hashes, l.run)
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	l.memory.lost = seen.lost
	if l.memory.told == k.told && seen.told == (jit.Head{}) {
		l.memory.told = jit.Head{}
	}
	return seen, nil
}

// restores returns the events about restores, in order.
func (l *Ledger) restores(ctx context.Context, q queryer, s *state) ([]jit.Event, error) {
	l.memory.mu.Lock()
	all, at := l.memory.restores, l.memory.restoresAt
	l.memory.mu.Unlock()
	if at == s.all() || s.schema < restoresSchema {
		return all, nil
	}
	all, err := collect(ctx, q, scanEvent, s.layout().union(func(table string) string {
		if table == oldTable {
			return selectFrom(table) + " WHERE " + restoreEvents
		}
		return selectFrom(table) + " WHERE chain = '" + jit.AllChain + "' AND " + restoreEvents
	}))
	slices.SortFunc(all, func(a, b jit.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if err == nil {
		l.memory.restores, l.memory.restoresAt = all, s.all()
	}
	return all, err
}

// decide finds the heads that the ledger lacks, for a process of a run of Terraform. hashes are those of its events at
// the places of the kept heads.
func (c *comparison) decide(hashes map[place]string, run string) {
	lacks := func(h jit.Head) bool {
		return h.Ledger == c.ledger && h.Seq > 0 && hashes[placeOf(h)] != h.Hash && !c.accepted(h)
	}
	for _, h := range c.of.last {
		if lacks(h) {
			c.lost = h
			break
		}
	}
	if lacks(c.of.told) {
		c.told = c.of.told
	}
	var recorded, recordedHere jit.Head // since the last acceptance
	for _, e := range c.restores {
		switch {
		case e.Kind == jit.EventLedgerRestored:
			recorded, recordedHere = jit.Head{}, jit.Head{}
		case !e.FromState():
			recorded = c.lostIn(e)
		case run != "" && e.Detail[jit.RunDetail] == run:
			recordedHere = c.lostIn(e)
		}
	}
	c.reported = cmp.Or(recorded, recordedHere) != (jit.Head{})
	if c.lost != (jit.Head{}) {
		c.reported = recorded != (jit.Head{})
	}
	c.lost, c.told = cmp.Or(c.lost, recorded), cmp.Or(c.told, recordedHere)
}

// lostIn returns the head that an event names as lost.
func (c *comparison) lostIn(e jit.Event) jit.Head {
	seq, _ := strconv.ParseInt(e.Detail[jit.LostSeqDetail], 10, 64)
	return jit.Head{
		Ledger: c.ledger, Epoch: e.Detail[jit.LostEpochDetail], Chain: cmp.Or(e.Detail[jit.LostChainDetail], jit.AllChain),
		Seq: seq, Hash: e.Detail[jit.LostHashDetail],
	}
}

// recall answers a group of calls of Recall.
func (l *Ledger) recall(ctx context.Context, calls [][]jit.Head) []error {
	seen, err := l.look(ctx)
	if err != nil {
		return slices.Repeat([]error{err}, len(calls))
	}
	open, errs := l.unknown(seen.ledger, calls)
	if len(open) > 0 {
		if err = l.find(ctx, &seen, open); err == nil {
			seen, err = l.look(ctx)
		}
	}
	if err = cmp.Or(err, seen.behind(l.db.name())); err != nil {
		return slices.Repeat([]error{err}, len(calls))
	}
	return errs
}

// unknown returns the heads that have to be looked for, and an error for each call with a head of another ledger than
// id.
func (l *Ledger) unknown(id string, calls [][]jit.Head) (open []jit.Head, errs []error) {
	errs = make([]error, len(calls))
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for i, heads := range calls {
		for _, h := range heads {
			h = h.InChain()
			switch {
			case id == "" || h.Seq == 0 || h == l.memory.last[h.Chain] || l.memory.found[h]:
			case h.Ledger != id:
				errs[i] = jit.Errorf(jit.ErrOtherLedger, "ledger", "name the ledger that recorded it, if there still is one",
					"%s is ledger %s, and the state was made with ledger %s", l.db.name(), id, h.Ledger)
			case l.wholeFor(h.Chain) != nil: // it may be in the part that cannot be read
				errs[i] = l.wholeFor(h.Chain)
			case !slices.Contains(open, h):
				open = append(open, h)
			}
		}
	}
	return open, errs
}

// find looks for heads of callers, and remembers which the ledger has and the newest that it lacks.
func (l *Ledger) find(ctx context.Context, seen *comparison, heads []jit.Head) error {
	hashes := map[place]string{}
	db, err := l.read(tolerant(ctx))
	if err == nil && db != nil {
		err = l.fail("read", l.hashesAt(ctx, db, l.known.Load().layout, heads, hashes))
	}
	if err != nil {
		return err
	}
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for _, h := range heads {
		told := l.memory.told
		switch {
		case hashes[placeOf(h)] == h.Hash || seen.accepted(h):
			l.memory.found[h] = true
		case told.Seq == 0 || h.Chain == told.Chain && h.Seq > told.Seq:
			l.memory.told = h
		}
	}
	return nil
}

// Accept records that somebody accepts the ledger as it is, and begins a new epoch. lostEpoch closes an epoch that only
// a Terraform state remembers; it is empty if there is none.
func (l *Ledger) Accept(ctx context.Context, by jit.Actor, reason, lostEpoch string) (accepted jit.Event, err error) {
	var s *state
	lock := func(ctx context.Context, tx *sql.Tx) (*state, error) {
		s, err := l.lockAll(ctx, tx)
		if err == nil && s.schema < len(l.migrations) {
			err = errOutdated
		}
		return s, err
	}
	err = l.transactBy(ctx, lock, nil, func(ctx context.Context, tx *sql.Tx, locked *state) error {
		s = locked
		seen, err := l.compare(ctx, tx, s, l.kept(nil))
		if err != nil {
			return err
		}
		detail := lostDetail(seen.lost)
		detail["reason"] = reason
		if lostEpoch != "" {
			detail[jit.LostEpochDetail] = lostEpoch
		}
		c := newCommit(s, l.now())
		c.addEvents(jit.AllChain, []jit.Event{{Kind: jit.EventLedgerRestored, Actor: by, Detail: detail}})
		return l.insertAll(ctx, tx, c)
	})
	if err != nil {
		return accepted, l.fail("write", err)
	}
	l.memory.mu.Lock()
	l.memory.lost, l.memory.restoresAt = jit.Head{}, tip{}
	l.memory.mu.Unlock()
	l.committed(s, s.all().hash)
	for e, err := range l.Events(ctx, jit.AllChain, s.all().seq) {
		return e, err
	}
	return accepted, nil
}

// lostDetail returns the details that name a lost head; none for the zero head.
func lostDetail(lost jit.Head) map[string]string {
	if lost == (jit.Head{}) {
		return map[string]string{}
	}
	detail := map[string]string{
		jit.LostChainDetail: lost.Chain, jit.LostSeqDetail: strconv.FormatInt(lost.Seq, 10), jit.LostHashDetail: lost.Hash,
	}
	if lost.Epoch != "" {
		detail[jit.LostEpochDetail] = lost.Epoch
	}
	return detail
}

// report adds the event that the ledger lacks a head, before all other events of the commit.
func (c *commit) report(seen comparison, by jit.Actor, run string) {
	detail := lostDetail(cmp.Or(seen.lost, seen.told))
	if seen.lost == (jit.Head{}) {
		detail[jit.KnownFromDetail], detail["note"] = jit.KnownFromState, "the state may belong to a copy of the ledger"
		if run != "" {
			detail[jit.RunDetail] = run
		}
	}
	c.addEvents(jit.AllChain, []jit.Event{{Kind: jit.EventLedgerBehind, Actor: by, Detail: detail}})
}
