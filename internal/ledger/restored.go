package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// restoresSchema is the schema version that indexes the events about restores.
const restoresSchema = 14

// restoreEvents selects the events about restores. It repeats the condition of their index word for word: SQLite uses
// the index for nothing else.
const restoreEvents = "kind IN ('ledger_behind', 'ledger_restored')"

// rememberedEvents selects the events of two numbers, and unionRestores adds those about restores.
var (
	rememberedEvents = selectEvent + " WHERE seq IN ($1, $2)"
	unionRestores    = " UNION ALL " + selectEvent + " WHERE " + restoreEvents
)

// memory is what this process remembers of the ledger. It is safe for concurrent use.
type memory struct {
	mu sync.Mutex
	// last is the newest head seen. told is the newest head that a caller remembers and that was missing.
	last, told jit.Head
	// found are heads of callers that the ledger has.
	found map[jit.Head]bool
	// seen is the last comparison with the ledger.
	seen comparison
	// filed: the file beside the ledger has been read.
	filed bool
}

// comparison is the ledger beside the heads of a memory.
type comparison struct {
	// of is the head of the ledger, and kept the remembered heads.
	of   jit.Head
	kept [2]jit.Head
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

// Head returns the newest head that this process remembers.
func (l *Ledger) Head() jit.Head {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	return cmp.Or(l.memory.told, l.memory.last)
}

// Recall compares heads with the ledger.
func (l *Ledger) Recall(ctx context.Context, heads ...jit.Head) error {
	if len(heads) == 0 {
		heads = []jit.Head{{}}
	}
	var found error
	for _, h := range heads {
		answer, err := l.recalls.Do(ctx, h)
		if err != nil {
			return l.fail("read", err)
		}
		if found == nil || errors.Is(answer, jit.ErrBehind) {
			found = answer
		}
	}
	return found
}

// Restores returns the events about restores, in order.
func (l *Ledger) Restores(ctx context.Context) ([]jit.Event, error) {
	seen, err := l.look(ctx)
	return seen.restores, err
}

// look compares the ledger with the heads that this process remembers.
func (l *Ledger) look(ctx context.Context) (comparison, error) {
	db, err := l.read(ctx)
	if err != nil || db == nil {
		return comparison{}, err
	}
	kept := l.kept() // before the head is read: what is remembered by then was committed by then
	h, err := l.head(ctx, db, "")
	if err != nil {
		return comparison{}, l.fail("read", err)
	}
	seen, err := l.compare(ctx, db, h, kept)
	if err != nil {
		return seen, l.fail("read", err)
	}
	if seen.lost == (jit.Head{}) {
		l.remember(h, seen.epoch())
	}
	return seen, nil
}

// kept returns the heads that this process remembers, with that of the file beside the ledger.
func (l *Ledger) kept() [2]jit.Head {
	m := &l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if file, ok := l.db.(*sqliteFile); ok && !m.filed {
		m.filed = true
		m.last = file.loadHead()
	}
	return [2]jit.Head{m.last, m.told}
}

// remember remembers a committed head of an epoch.
func (l *Ledger) remember(h head, epoch string) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if last := l.memory.last; h.id != last.Ledger || epoch != last.Epoch || h.seq > last.Seq {
		l.memory.last = jit.Head{Ledger: h.id, Epoch: epoch, Seq: h.seq, Hash: h.hash}
	}
}

// compare looks for the kept heads in the ledger with the head h.
func (l *Ledger) compare(ctx context.Context, q queryer, h head, kept [2]jit.Head) (comparison, error) {
	of := jit.Head{Ledger: h.id, Seq: h.seq, Hash: h.hash}
	l.memory.mu.Lock()
	seen := l.memory.seen
	l.memory.mu.Unlock()
	if seen.of == of && seen.kept == kept {
		return seen, nil
	}
	seen = comparison{of: of, kept: kept}
	hashes := map[int64]string{h.seq: h.hash}
	query, seqs := rememberedEvents, []any{kept[0].Seq, kept[1].Seq}
	if h.schema >= restoresSchema {
		query += unionRestores
	}
	err := each(ctx, q, scanEvent, func(e jit.Event) bool {
		hashes[e.Seq] = e.Hash
		if e.Kind == jit.EventLedgerBehind || e.Kind == jit.EventLedgerRestored {
			seen.restores = append(seen.restores, e)
		}
		return true
	}, query, seqs...)
	if err != nil {
		return seen, err
	}
	slices.SortFunc(seen.restores, func(a, b jit.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	seen.restores = slices.CompactFunc(seen.restores, func(a, b jit.Event) bool { return a.Seq == b.Seq })
	seen.decide(hashes, l.run)
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	l.memory.seen = seen
	if l.memory.told == kept[1] && seen.told == (jit.Head{}) {
		l.memory.told = jit.Head{}
	}
	return seen, nil
}

// decide finds the heads that the ledger lacks, for a process of a run of Terraform. hashes are those of its events at
// the numbers of the kept heads.
func (c *comparison) decide(hashes map[int64]string, run string) {
	lacks := func(h jit.Head) bool {
		return h.Ledger == c.of.Ledger && h.Seq > 0 && hashes[h.Seq] != h.Hash && !c.accepted(h)
	}
	if lacks(c.kept[0]) {
		c.lost = c.kept[0]
	}
	if lacks(c.kept[1]) {
		c.told = c.kept[1]
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
		Ledger: c.of.Ledger, Epoch: e.Detail[jit.LostEpochDetail], Seq: seq, Hash: e.Detail[jit.LostHashDetail],
	}
}

// recall answers a group of calls of Recall with one head each.
func (l *Ledger) recall(ctx context.Context, heads []jit.Head) []error {
	seen, err := l.look(ctx)
	if err != nil {
		return slices.Repeat([]error{err}, len(heads))
	}
	open, errs := l.unknown(seen.of.Ledger, heads)
	if len(open) > 0 {
		if err = l.find(ctx, &seen, open); err == nil {
			seen, err = l.look(ctx)
		}
	}
	if err = cmp.Or(err, seen.behind(l.db.name())); err != nil {
		return slices.Repeat([]error{err}, len(heads))
	}
	return errs
}

// unknown returns the heads that have to be looked for, and an error for each head of another ledger than id.
func (l *Ledger) unknown(id string, heads []jit.Head) (open []jit.Head, errs []error) {
	errs = make([]error, len(heads))
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for i, h := range heads {
		switch {
		case id == "" || h.Seq == 0 || h == l.memory.last || l.memory.found[h]:
		case h.Ledger != id:
			errs[i] = jit.Errorf(jit.ErrOtherLedger, "ledger", "name the ledger that recorded it, if there still is one",
				"%s is ledger %s, and the state was made with ledger %s", l.db.name(), id, h.Ledger)
		case !slices.Contains(open, h):
			open = append(open, h)
		}
	}
	return open, errs
}

// find looks for heads of callers, and remembers which the ledger has and the newest that it lacks.
func (l *Ledger) find(ctx context.Context, seen *comparison, heads []jit.Head) error {
	hashes := map[int64]string{}
	for some := range slices.Chunk(heads, maxParameters) {
		seqs := make([]any, len(some))
		for i, h := range some {
			seqs[i] = h.Seq
		}
		_, err := list(ctx, l, func(rows *sql.Rows) (none struct{}, err error) {
			var seq int64
			var hash string
			err = rows.Scan(&seq, &hash)
			hashes[seq] = hash
			return none, err
		}, "SELECT seq, hash FROM jit_events WHERE seq IN ("+l.marks(1, len(some))+")", seqs...)
		if err != nil {
			return err
		}
	}
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for _, h := range heads {
		switch {
		case hashes[h.Seq] == h.Hash || seen.accepted(h):
			l.memory.found[h] = true
		case h.Seq > l.memory.told.Seq:
			l.memory.told = h
		}
	}
	return nil
}

// Accept records that somebody accepts the ledger as it is, and begins a new epoch. lostEpoch closes an epoch that only
// a Terraform state remembers; it is empty if there is none.
func (l *Ledger) Accept(ctx context.Context, by jit.Actor, reason, lostEpoch string) (accepted jit.Event, err error) {
	var c *commit
	err = l.transact(ctx, func(ctx context.Context, tx *sql.Tx, h head) error {
		seen, err := l.compare(ctx, tx, h, l.kept())
		if err != nil {
			return err
		}
		detail := lostDetail(seen.lost)
		detail["reason"] = reason
		if lostEpoch != "" {
			detail[jit.LostEpochDetail] = lostEpoch
		}
		c = &commit{head: h, now: l.now()}
		c.addEvents([]jit.Event{{Kind: jit.EventLedgerRestored, Actor: by, Detail: detail}})
		return l.insertAll(ctx, tx, c)
	})
	if err != nil {
		return accepted, l.fail("write", err)
	}
	l.committed(c.head, comparison{restores: []jit.Event{{Kind: jit.EventLedgerRestored, Hash: c.head.hash}}})
	l.memory.mu.Lock()
	l.memory.seen = comparison{}
	l.memory.mu.Unlock()
	for e, err := range l.Events(ctx, c.head.seq) {
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
		jit.LostSeqDetail: strconv.FormatInt(lost.Seq, 10), jit.LostHashDetail: lost.Hash,
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
	c.addEvents([]jit.Event{{Kind: jit.EventLedgerBehind, Actor: by, Detail: detail}})
}

// committed remembers the head of a commit that followed seen, also in the file beside the ledger.
func (l *Ledger) committed(h head, seen comparison) {
	before := l.kept()[0]
	l.remember(h, seen.epoch())
	last := l.kept()[0]
	if last == before {
		return
	}
	l.memory.mu.Lock()
	seen.of, seen.kept = jit.Head{Ledger: h.id, Seq: h.seq, Hash: h.hash}, [2]jit.Head{last}
	l.memory.seen = seen
	l.memory.mu.Unlock()
	if file, ok := l.db.(*sqliteFile); ok {
		file.saveHead(last)
	}
}
