package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// verifier checks a ledger in one snapshot. It follows the events of each chain from the first to the last, those of
// [jit.AllChain] before all others.
type verifier struct {
	*Ledger
	tx     *sql.Tx
	state  *state
	report *Report
	// told are the facts of the events that recorded each policy and person last, by kind.
	told map[string]facts
	// runs are the first changes of policies and persons, by the run of Terraform.
	runs map[string]string
	// persons are those who could decide, at each time.
	persons approval.History
	// since are the heads after which events are checked; nil if all are. Then v looks at some grants only.
	since  map[string]tip
	grants some
}

// chains returns the chains to check: of an owner and all, or else every one that has a row or an event.
func (v *verifier) chains(ctx context.Context, owner string) ([]string, error) {
	if owner != "" {
		return slices.Compact([]string{jit.AllChain, jit.ChainOf(owner)}), nil
	}
	var others []string
	if v.state.layout().log {
		stored, err := v.storedChains(ctx)
		if err != nil {
			return nil, err
		}
		others = stored
	}
	for chain := range v.state.tips {
		others = append(others, chain)
	}
	others = slices.DeleteFunc(others, func(chain string) bool { return chain == jit.AllChain })
	slices.Sort(others)
	return append([]string{jit.AllChain}, slices.Compact(others)...), nil
}

// check checks one chain.
func (v *verifier) check(ctx context.Context, chain string) error {
	if jit.ChainOf(chain) != chain {
		return v.walk(ctx, chain, 0, func(e jit.Event) { // it must not pass for one of [jit.AllChain]
			v.report.Events++
			v.report.Damage = append(v.report.Damage, Damage{chain, Inserted, e.Seq, e.Seq, "no owner has that name"})
		}, v.misplaced)
	}
	end := v.state.tips[chain]
	since := v.since[chain]
	c := ChainReport{Tip: jit.Tip{Chain: chain, Seq: end.seq, Hash: end.hash}, VouchedFrom: since.seq + 1}
	f := follower{tip: since, whole: true, all: v.state.all().seq}
	if since.seq == 0 {
		f.tip = tip{hash: v.state.genesis(chain)}
	}
	err := v.walk(ctx, chain, since.seq, func(e jit.Event) {
		f.add(e)
		v.add(e)
	}, v.misplaced)
	if err != nil {
		return err
	}
	c.Events = f.events
	v.report.Events += f.events
	if f.whole && (f.tip == end || end == (tip{})) && f.seq == end.seq {
		v.report.Chains = append(v.report.Chains, c)
		return nil
	}
	found := newFindings(chain, v.state.genesis(chain), end)
	// The neighbours of an event that does not match its hash show where it came from, so all are indexed first.
	for _, visit := range []func(jit.Event){found.index, found.locate} {
		if err := v.walk(ctx, chain, 0, visit, func(jit.Event) {}); err != nil {
			return err
		}
	}
	damage, vouched := found.damage()
	if len(damage) == 0 && since.seq > 0 && f.doubt == 0 {
		damage = []Damage{{chain, Edited, since.seq, since.seq, "it is not the event that the head names"}}
	}
	if len(damage) == 0 {
		damage = f.doubts(chain)
	}
	c.VouchedFrom = vouched
	v.report.Damage = append(v.report.Damage, damage...)
	v.report.Chains = append(v.report.Chains, c)
	return nil
}

// walk passes the events of a chain after a sequence number to visit, in the order of their numbers, and those in the
// wrong table to misplaced. 0 stands for all events, also for those without a number.
func (v *verifier) walk(ctx context.Context, chain string, since int64, visit, misplaced func(jit.Event)) error {
	after := ""
	if since > 0 {
		after = " AND seq > " + strconv.FormatInt(since, 10)
	}
	lay := v.state.layout()
	if chain == jit.AllChain {
		err := each(ctx, v.tx, scanEvent, func(e jit.Event) bool {
			if lay.log && e.Seq > lay.last {
				misplaced(e)
			} else {
				visit(e)
			}
			return true
		}, selectFrom(oldTable)+" WHERE 1 = 1"+after+" ORDER BY seq")
		if err != nil || !lay.log {
			return err
		}
	}
	return each(ctx, v.tx, scanEvent, func(e jit.Event) bool {
		if chain == jit.AllChain && e.Seq > 0 && e.Seq <= lay.last {
			misplaced(e)
		} else {
			visit(e)
		}
		return true
	}, selectFrom(logTable)+" WHERE chain = $1"+after+" ORDER BY seq", chain)
}

// misplaced accuses an event that is stored where no program writes one.
func (v *verifier) misplaced(e jit.Event) {
	v.report.Damage = append(v.report.Damage, Damage{e.InChain(), Inserted, e.Seq, e.Seq,
		fmt.Sprintf("the events up to %s are in jit_events, and the others in jit_log",
			jit.PlaceIn(jit.AllChain, v.state.layout().last))})
}

// add takes in an event of a chain.
func (v *verifier) add(e jit.Event) {
	if e.ChangesRules() && e.InChain() != jit.AllChain {
		v.report.add(Mismatch{Policy: e.Policy, Person: e.Person(),
			Problem: fmt.Sprintf("event %s of an owner changes it", e.Place())})
		return
	}
	v.persons.Add(e)
	if run := e.Run(); run != "" && v.runs[run] == "" {
		v.runs[run] = strconv.FormatInt(e.Seq, 10)
	}
	switch e.Kind {
	case jit.EventPolicyChanged:
		v.told["policy"][e.Policy] = e.Detail
	case jit.EventPolicyRemoved:
		delete(v.told["policy"], e.Policy)
	case jit.EventPersonChanged:
		v.told["person"][e.Person()] = e.Detail
	case jit.EventPersonRemoved:
		delete(v.told["person"], e.Person())
	}
}

// follower follows the events of a chain.
type follower struct {
	tip
	events int64
	// whole: each event has its hash and follows the one before, and [jit.Event.After] never goes back.
	whole bool
	// after is the last [jit.Event.After], of at most all; doubt is the first event at which it went wrong.
	after, all, doubt int64
}

func (f *follower) add(e jit.Event) {
	f.events++
	f.whole = f.whole && e.Seq == f.seq+1 && e.Prev == f.hash && e.Sum() == e.Hash
	if e.InChain() != jit.AllChain && (e.After < f.after || e.After > f.all) && f.doubt == 0 {
		f.whole, f.doubt = false, e.Seq
	}
	f.tip, f.after = tip{e.Seq, e.Hash}, e.After
}

// doubts accuses a chain whose events each match their hashes.
func (f *follower) doubts(chain string) []Damage {
	if f.doubt != 0 {
		return []Damage{{chain, Edited, f.doubt, f.doubt, "it does not follow the event of " + jit.AllChain +
			" that it names, or the event before it follows a later one"}}
	}
	return []Damage{{chain, Inserted, f.seq, f.seq, "the chain has an event twice"}}
}
