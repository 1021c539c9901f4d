package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// prunable returns the grants of the folder and of the state, with why each stays.
func (p *program) prunable(
	ctx context.Context, rt *config.Runtime, folder *hcledit.Folder, state []heldGrant, o pruning,
) (all []pruned, err error) {
	records, ledger, err := recordsOf(ctx, rt, state)
	if err != nil {
		return nil, err
	}
	every, err := p.folderStays(folder, o)
	if err != nil {
		return nil, err
	}
	held := map[string]heldGrant{}
	for _, g := range state {
		if _, twice := held[g.name]; twice {
			g.several = true
		}
		if g.name != "" {
			held[g.name] = g
		}
	}
	repeats := folder.Repeats()
	for _, b := range folder.Blocks {
		if b.Type != grantType {
			continue
		}
		g, applied := held[b.Name]
		each := pruned{Address: b.Address(), File: b.File, Line: b.Line, block: b}
		if applied && !g.several {
			each.ID = g.id
		}
		switch {
		case repeats[b.Address()] > 0:
			each.Why = fmt.Sprintf("%d blocks have this address", repeats[b.Address()])
		case b.Repeated:
			each.Why = "it has count or for_each"
		case !applied:
			each.Why = "the state does not have it: it is not applied yet, or this is another state"
		case g.several:
			each.Why = "the state has more than one instance of it"
		default:
			if each.Why = blockStays(b, g); each.Why == "" {
				record, known := records[g.id]
				each.Why = cmp.Or(p.recordStays(record, known, o.age), otherRequest(record, g, ledger),
					otherScope(rt, b, record), every)
				each.ended(record)
			}
		}
		all = append(all, each)
	}
	all = append(all, withoutBlock(folder, state)...)
	keepNamed(folder, all)
	return all, nil
}

// ended notes when a grant ended.
func (r *pruned) ended(g jit.Grant) {
	if !g.EndedAt.IsZero() {
		at := g.ActualEnd()
		r.EndedAt = &at
	}
}

// recordsOf reads the grants of the state in the ledger, and the id of the ledger.
func recordsOf(
	ctx context.Context, rt *config.Runtime, state []heldGrant,
) (records map[jit.ID]jit.Grant, ledger string, err error) {
	records = map[jit.ID]jit.Grant{}
	var ids []jit.ID
	for _, g := range state {
		if _, err := jit.ParseID(string(g.id)); err == nil {
			ids = append(ids, g.id)
		}
	}
	if len(ids) == 0 {
		return records, "", nil
	}
	found, err := recorded(ctx, rt, jit.Filter{IDs: ids}, func(jit.Grant) bool { return true })
	if err != nil {
		return nil, "", err
	}
	for _, g := range found {
		records[g.ID] = g
	}
	if ledger, err = rt.Ledger.ID(ctx); err != nil {
		err = unreadable(fmt.Errorf("read the ledger: %w", err))
	}
	return records, ledger, err
}

// recordStays says why the block of a grant stays by what the ledger says about it; empty if nothing keeps it.
func (p *program) recordStays(g jit.Grant, known bool, age time.Duration) string {
	now := p.Now()
	switch {
	case !known:
		return "the ledger does not know it"
	case g.Failed():
		return "it has not given access yet: " + string(g.State(now))
	case !g.Over(now):
		return "it is not over: " + string(g.State(now)) + ", " + when(g, now)
	case g.EndedAt.IsZero():
		return "its target has not confirmed the end; run jit sweep"
	case g.CleanupOpen():
		return "its target still holds remains of it; run jit sweep"
	case now.Sub(g.ActualEnd()) < age:
		return when(g, now) + ", which is less than " + jit.FormatDuration(age)
	}
	return ""
}

// otherRequest says that the grant of the state is not that of the ledger; empty if it is. Another ledger can have a
// grant of the same id: the digest names the ledger.
func otherRequest(g jit.Grant, held heldGrant, ledger string) string {
	end, err := jit.ParseTime("expires_at", plan.Attribute(held.values, "expires_at"))
	digest := g.RequestDigest(ledger)
	switch {
	case digest == "":
		return "the ledger has lost its request, so jit cannot compare it with the state; take it out by hand"
	case plan.Attribute(held.values, "request_digest") != digest:
		return "the state has it from another ledger, or from before its last change; check that jit.hcl names the " +
			"ledger of the provider block"
	case err != nil || !end.Equal(g.End):
		return "the state has another end than the ledger, " + jit.FormatTime(g.End)
	}
	return ""
}

// otherScope says that a block without a scope asks for another scope than that of its grant; empty if it does not.
func otherScope(rt *config.Runtime, b hcledit.Block, g jit.Grant) string {
	if v, written := b.Literals["scope"]; written && !v.IsNull() {
		return "" // it is that of the state
	}
	asked := g.Binding
	asked.Scope = ""
	target, err := rt.Broker.Target(g.Target)
	if err == nil {
		asked, _, err = target.Check(asked)
	}
	switch {
	case err != nil:
		return "jit cannot tell which scope it asks for: " + err.Error()
	case asked.Scope != g.Scope:
		return "its scope is not that of the state; apply first"
	}
	return ""
}

// identity holds the attributes that make another grant of a block, and the provider that grants it.
var identity = []string{"target", "principal", "role", "scope", "reason", "renewal", "provider"}

// blockStays says why a block stays by itself: it may ask for something that is not applied yet, or taking it out does
// more than destroy the grant.
func blockStays(b hcledit.Block, g heldGrant) string {
	for _, name := range identity {
		if slices.Contains(b.Others, name) {
			return "its " + name + " is not literal, so the block may ask for another grant by now"
		}
	}
	for name, v := range b.Literals {
		if text := plan.Attribute(g.values, name); !v.IsNull() && text != literalText(v) {
			return "its " + name + " differs from the state; apply first"
		}
	}
	renewal, written := b.Literals["renewal"]
	switch info, err := os.Lstat(b.File); {
	case (!written || renewal.IsNull()) && !slices.Contains([]string{"", "1"}, plan.Attribute(g.values, "renewal")):
		return "its renewal differs from the state; apply first"
	case slices.Contains(b.Others, "provisioner"):
		return "it has a provisioner"
	case slices.Contains(b.Others, "lifecycle"):
		return "it has a lifecycle block, which may forbid to destroy the grant"
	case err != nil:
		return "its file cannot be read: " + err.Error()
	case !info.Mode().IsRegular():
		return "its file is a symbolic link"
	}
	return ""
}

// literalText returns a literal as [plan.Attribute] returns the value of a state.
func literalText(v cty.Value) string {
	text, err := convert.Convert(v, cty.String)
	if err != nil || text.IsNull() {
		return ""
	}
	return text.AsString()
}

// withoutBlock returns the grants of the state in modules, and those that are in files that jit cannot read.
func withoutBlock(folder *hcledit.Folder, state []heldGrant) (all []pruned) {
	for _, g := range state {
		each := pruned{Address: g.address, ID: g.id}
		block := hcledit.Block{Type: grantType, Name: g.name}
		switch {
		case g.name == "":
			each.Why = "it is in a module"
		case slices.ContainsFunc(folder.Blocks, func(b hcledit.Block) bool { return b.Address() == block.Address() }):
			continue
		default:
			if each.Why = namedAt(folder.Mentions(block, nil)); each.Why == "" {
				continue // its block is gone already
			}
			each.Why = "its block was not found; " + each.Why
		}
		all = append(all, each)
	}
	return all
}

// keepNamed keeps the blocks that something else in the folder names. Blocks that go may name each other.
func keepNamed(folder *hcledit.Folder, all []pruned) {
	for again := true; again; {
		again = false
		var gone []hcledit.Block
		for _, each := range all {
			if each.Why == "" {
				gone = append(gone, each.block)
			}
		}
		for i, each := range all {
			if each.Why != "" {
				continue
			}
			if all[i].Why = namedAt(folder.Mentions(each.block, gone)); all[i].Why != "" {
				again = true
			}
		}
	}
}

// namedAt says where something names a block; empty if nothing does.
func namedAt(places []string) string {
	if len(places) == 0 {
		return ""
	}
	return "it is named at " + strings.Join(places, ", ")
}
