package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// memory is what this process remembers of the ledger. It is safe for concurrent use.
type memory struct {
	mu sync.Mutex
	// last are the newest heads seen, by chain. told is the newest head that a caller remembers and that was missing.
	last map[string]jit.Head
	told jit.Head
	// found are heads of callers that the ledger has.
	found map[jit.Head]bool
	// lost is the head that the last comparison missed.
	lost jit.Head
	// restores are the events about restores when restoresAt was the tip of [jit.AllChain].
	restores   []jit.Event
	restoresAt tip
	// filed: the file beside the ledger has been read. looked: all heads have been compared.
	filed, looked bool
}

// kept are the heads of a memory that the ledger is compared with.
type kept struct {
	last []jit.Head
	told jit.Head
}

// Heads returns the newest heads that this process remembers of [jit.AllChain] and the chain of an owner.
func (l *Ledger) Heads(owner string) []jit.Head {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	told := l.memory.told
	var all []jit.Head
	for _, chain := range []string{jit.AllChain, jit.ChainOf(owner)} {
		if last := l.memory.last[chain]; last.Seq > 0 && chain != told.Chain && !slices.Contains(all, last) {
			all = append(all, last)
		}
	}
	if told.Seq > 0 {
		all = append(all, told)
	}
	return all
}

// lookFirst compares all heads, those of the file beside the ledger too, before the first write that leads to access.
// Each write compares only those of its chains.
func (l *Ledger) lookFirst(ctx context.Context, entries []jit.Entry) error {
	l.memory.mu.Lock()
	looked := l.memory.looked
	l.memory.mu.Unlock()
	if looked || !slices.ContainsFunc(entries, func(e jit.Entry) bool { return e.Current }) {
		return nil
	}
	_, err := l.look(ctx)
	return err
}

// kept returns the heads that this process remembers, with those of the file beside the ledger: of these chains and the
// one that was lost, or of all without chains.
func (l *Ledger) kept(chains map[string]tip) kept {
	m := &l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := l.db.(*inBucket); ok && b.rewound() {
		m.filed = false
	}
	if file, ok := l.db.(headKeeper); ok && !m.filed {
		m.filed = true
		m.last = file.loadHeads()
	}
	k, broken := kept{told: m.told}, l.broken()
	if broken[m.told.Chain] != nil {
		k.told = jit.Head{}
	}
	for chain, h := range m.last {
		if broken[chain] != nil { // it may be in the part that cannot be read
			continue
		}
		if _, wanted := chains[chain]; wanted || chains == nil || chain == m.lost.Chain {
			k.last = append(k.last, h)
		}
	}
	slices.SortFunc(k.last, func(a, b jit.Head) int { return cmp.Compare(a.Chain, b.Chain) })
	return k
}

// remember remembers the tips of committed chains, of an epoch. It reports whether they are new.
func (l *Ledger) remember(s *state, epoch string) (changed bool) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	for chain, t := range s.tips {
		last := l.memory.last[chain]
		if t.seq > 0 && (s.id != last.Ledger || epoch != last.Epoch || t.seq > last.Seq) {
			l.memory.last[chain] = jit.Head{Ledger: s.id, Epoch: epoch, Chain: chain, Seq: t.seq, Hash: t.hash}
			changed = true
		}
	}
	return changed
}

// committed remembers the tips of a commit, also in the file beside the ledger.
func (l *Ledger) committed(s *state, epoch string) {
	if !l.remember(s, epoch) {
		return
	}
	if file, ok := l.db.(headKeeper); ok {
		file.saveHeads(l.kept(nil).last)
	}
}

// place is an event by its chain and number.
type place struct {
	chain string
	seq   int64
}

func placeOf(h jit.Head) place { return place{h.Chain, h.Seq} }

// headsAtOnce is how many heads one query looks for: SQLite limits the depth of a condition.
const headsAtOnce = 200

// hashesAt adds the hashes of the events at the places of heads.
func (l *Ledger) hashesAt(
	ctx context.Context, q queryer, lay layout, heads []jit.Head, hashes map[place]string,
) error {
	for some := range slices.Chunk(heads, headsAtOnce) {
		var args []any
		mark := func(v any) string { args = append(args, v); return l.mark(len(args)) }
		var old, log []string
		for _, h := range some {
			if h.Chain == jit.AllChain && lay.old {
				old = append(old, mark(h.Seq))
			}
		}
		var parts []string
		if len(old) > 0 {
			parts = append(parts, "SELECT '"+jit.AllChain+"' AS chain, seq, hash FROM jit_events WHERE seq IN ("+
				strings.Join(old, ",")+")")
		}
		for _, h := range some {
			if lay.log {
				log = append(log, "chain = "+mark(h.Chain)+" AND seq = "+mark(h.Seq))
			}
		}
		if len(log) > 0 {
			parts = append(parts, "SELECT chain, seq, hash FROM jit_log WHERE "+strings.Join(log, " OR "))
		}
		if len(parts) == 0 {
			continue
		}
		err := each(ctx, q, func(rows *sql.Rows) (none struct{}, err error) {
			var at place
			var hash string
			err = rows.Scan(&at.chain, &at.seq, &hash)
			hashes[at] = hash
			return none, err
		}, func(struct{}) bool { return true }, strings.Join(parts, " UNION ALL "), args...)
		if err != nil {
			return err
		}
	}
	return nil
}
