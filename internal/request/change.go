package request

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Edit is a change of a block or an entry that is there.
type Edit struct {
	// Path is the file.
	Path          string
	before, after []byte
	// of makes the edit in another text of the file.
	of func(text []byte) ([]byte, error)
}

// Write writes the edit, unless the file has changed since it was read.
func (e Edit) Write() error { return hcledit.Write(e.Path, e.before, e.after) }

// undo takes the edit back.
func (e Edit) undo() error { return hcledit.Write(e.Path, e.after, e.before) }

// Nothing reports whether the file says so already.
func (e Edit) Nothing() bool { return string(e.before) == string(e.after) }

// Length is the new end of a grant: a ttl or an expires_at; one of them is set.
type Length struct{ TTL, ExpiresAt string }

func (l Length) attribute() (name, text string) {
	if l.TTL != "" {
		return "ttl", l.TTL
	}
	return "expires_at", l.ExpiresAt
}

// of returns a request with this length.
func (l Length) of(a Asked) Asked {
	a.TTL, a.ExpiresAt = l.TTL, l.ExpiresAt
	return a
}

// Extend judges another length of the grant whose id begins with prefix, and returns the edit of its block.
func (d *Desk) Extend(ctx context.Context, prefix string, l Length) (v Verdict, e Edit, err error) {
	name, text := l.attribute()
	p, err := d.placed(prefix, name+" = "+quoted(text))
	if err != nil {
		return v, e, err
	}
	was, _ := Length{p.asked.TTL, p.asked.ExpiresAt}.attribute()
	if was != name || slices.Contains(p.others, name) {
		return v, e, jit.Invalid(name, "change it by hand", "grant %s at %s sets its length with another "+
			"attribute, or with a value that is not literal", p.grant.ID, at(p.Block))
	}
	asked := l.of(p.asked)
	recorded, known, err := d.Broker.Lookup(ctx, p.grant.ID, jit.Grant{})
	if err != nil {
		return v, e, err
	}
	if !known || recorded.Failed() {
		v, err = d.Judge(ctx, asked)
	} else {
		v, err = d.judgeChange(ctx, recorded, asked)
	}
	if err != nil || v.Refusal != nil {
		return v, e, err
	}
	d.Notes = append(d.Notes, d.applyFirst(v)...)
	e, err = p.editNamed(v, asked, attribute{name, cty.StringVal(text)})
	return v, e, err
}

// judgeChange judges another length of a recorded grant.
func (d *Desk) judgeChange(ctx context.Context, g jit.Grant, a Asked) (Verdict, error) {
	v, err := d.changeOnce(ctx, g, a)
	if err == nil {
		err = d.settle(v)
	}
	if err != nil || v.Refusal == nil || g.Over(d.Broker.Now()) {
		return v, err
	}
	v.Nearest, err = d.nearestLength(a, g.Length(), func(shorter Asked) (Verdict, error) {
		return d.changeOnce(ctx, g, shorter)
	})
	return v, err
}

// nearestLength finds the longest form of a refused request that passes, changes nothing but its ttl, and is longer
// than least.
func (d *Desk) nearestLength(a Asked, least time.Duration, judge func(Asked) (Verdict, error)) (*Nearest, error) {
	for _, most := range d.lengths() {
		shorter := shortened(a, most)
		if a.TTL == "" || shorter == a || most <= least {
			continue
		}
		if judged, err := judge(shorter); err != nil || judged.Refusal == nil {
			return &Nearest{shorter, judged.Outcome(), changes(a, shorter)}, err
		}
	}
	return nil, nil
}

func (d *Desk) changeOnce(ctx context.Context, g jit.Grant, a Asked) (Verdict, error) {
	r, err := a.Request()
	if err != nil {
		return Verdict{Asked: a, Refusal: err}, nil //nolint:nilerr // it is the verdict
	}
	v, err := d.decided(a, func() (broker.Decision, error) { return d.Broker.PreviewChange(ctx, g, r) })
	switch changed := v.Decision.Grant; {
	case err != nil || v.Refusal != nil:
	case v.Decision.Over:
		v.Refusal = d.over(g)
	case !changed.RevokedAt.IsZero():
		v.Refusal = jit.Invalid("ttl", "write jit revoke "+string(g.ID)+" --reason … to end it",
			"that would end the grant now")
	case v.Decision.Verdict.Policy == "" && v.Decision.Verdict.Rule == "":
		v.Granted, v.Decision.Verdict.Rule = true, "it lasts so long already"
	}
	return v, err
}

// lengths returns the limits of policies and of the provider, the longest first.
func (d *Desk) lengths() []time.Duration {
	all := []time.Duration{d.Broker.MaxTTL}
	for _, p := range d.Policies {
		if p.Effect == jit.Permit && p.MaxTTL > 0 {
			all = append(all, min(p.MaxTTL, d.Broker.MaxTTL))
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return slices.Compact(all)
}

// Renew judges the next renewal of the grant whose id begins with prefix. If its block is there, e is the edit of it.
// Otherwise e is empty, and the request is that of the record. An empty length keeps the old one.
func (d *Desk) Renew(ctx context.Context, prefix string, l Length) (v Verdict, e Edit, err error) {
	p, g, err := d.toRenew(ctx, prefix)
	if err != nil {
		return v, e, err
	}
	if recorded, known, err := d.Broker.Lookup(ctx, g.ID, g); err != nil || known && recorded.Live(d.Broker.Now()) {
		return v, e, cmp.Or[error](
			err,
			jit.Errorf(jit.ErrDenied, "", "write jit request --extend "+string(g.ID)+" --ttl …",
				"grant %s is live until %s", g.ID, jit.FormatTime(recorded.End)),
		)
	}
	asked, set, err := d.renewed(ctx, p, g, l)
	if err != nil {
		return v, e, err
	}
	judge := func(a Asked) (Verdict, error) { return d.judgeOnce(ctx, a) }
	if v, err = judge(asked); err == nil && v.Refusal != nil {
		v.Nearest, err = d.nearestLength(asked, 0, judge)
	}
	if err == nil {
		err = d.settle(v)
	}
	if err == nil && v.Refusal == nil && p != nil {
		d.Notes = append(d.Notes, d.applyFirst(v)...)
		e, err = p.editNamed(v, asked, set...)
	}
	return v, e, err
}

// renewed returns the request of the next renewal, and the attributes that make it of the block.
func (d *Desk) renewed(ctx context.Context, p *placed, g jit.Grant, l Length) (a Asked, set []attribute, err error) {
	if p != nil {
		a = p.asked
	} else if a, err = d.recordedRequest(ctx, g); err != nil {
		return a, nil, err
	}
	if name, text := l.attribute(); text != "" {
		if was, _ := (Length{a.TTL, a.ExpiresAt}).attribute(); p != nil && was != name {
			return a, nil, jit.Invalid(name, "change it by hand", "the block at %s sets %s instead", at(p.Block), was)
		}
		a = l.of(a)
		set = append(set, attribute{name, cty.StringVal(text)})
	}
	if p != nil && slices.Contains(p.others, "break_glass") {
		return a, nil, jit.Invalid("break_glass", "take it out by hand",
			"the block at %s may begin without approval again", at(p.Block))
	}
	if a.BreakGlass { // an emergency does not last
		a.BreakGlass = false
		set = append(set, attribute{"break_glass", cty.False})
	}
	a.Renewal, err = d.nextRenewal(ctx, g, a.Renewal)
	return a, append(set, attribute{"renewal", cty.NumberIntVal(a.Renewal)}), err
}

// toRenew finds a grant by its id: in the ledger, or in a block. p is the block that asks for the same access for the
// same reason, whatever its renewal; nil if there is none.
func (d *Desk) toRenew(ctx context.Context, prefix string) (p *placed, g jit.Grant, err error) {
	found := map[jit.ID]jit.Grant{}
	for g, err := range d.Broker.Ledger.Grants(ctx, jit.Filter{IDPrefix: prefix, Owner: d.Broker.Owner}) {
		if err != nil {
			return nil, g, fmt.Errorf("read the ledger: %w", err)
		}
		found[g.ID] = g
	}
	for _, p := range d.grants {
		if _, known := found[p.grant.ID]; !known && strings.HasPrefix(string(p.grant.ID), prefix) {
			found[p.grant.ID] = p.grant
		}
	}
	if len(found) != 1 {
		return nil, g, unclear(prefix, len(found), "neither the ledger nor "+d.Dir+" has such a grant")
	}
	for _, g = range found {
	}
	for _, b := range d.open {
		d.note("jit cannot read the block of %s at %s: if this grant is there, change its renewal there", b.Address(), at(b))
	}
	for i := range d.grants {
		if same := &d.grants[i]; same.grant.Binding == g.Binding && same.asked.Reason == g.Reason {
			return same, g, nil
		}
	}
	return nil, g, nil
}

// recordedRequest returns the request of a record.
func (d *Desk) recordedRequest(ctx context.Context, g jit.Grant) (a Asked, err error) {
	if g.ReasonLost() {
		return a, jit.Errorf(
			jit.ErrDenied,
			"reason",
			"ask for the access with a new reason",
			"the ledger has lost the reason of grant %s",
			g.ID,
		)
	}
	a = Asked{
		Target: g.Target, Principal: g.Principal, Role: g.Role, Scope: g.Scope, Reason: g.Reason,
		TTL: cmp.Or(g.TTL.String(), jit.FormatDuration(g.Length())), Requester: g.Requester, Renewal: g.Renewal,
		TerminateSessions: g.TerminateSessions,
	}
	named, err := d.Broker.NamesPolicy(ctx, g.ID)
	if named {
		a.Policy = g.Policy
	}
	return a, err
}

// nextRenewal returns the first number after least and after the renewal of a grant that was never granted.
func (d *Desk) nextRenewal(ctx context.Context, g jit.Grant, least int64) (int64, error) {
	for n := max(least, g.Renewal, 1) + 1; ; n++ {
		used, known, err := d.Broker.Find(ctx, jit.NewID(d.Broker.Owner, g.Binding, g.Reason, n))
		if err != nil || !known || used.Failed() {
			return n, err
		}
	}
}

// placed finds the block of a grant by its id. byHand is the line to write where no literal block is found.
func (d *Desk) placed(prefix, byHand string) (placed, error) {
	var found []placed
	for _, p := range d.grants {
		if strings.HasPrefix(string(p.grant.ID), prefix) {
			found = append(found, p)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	why := "no block in " + d.Dir + " has literal values that give this id"
	for _, b := range d.open {
		why += fmt.Sprintf(
			"; jit cannot read that of %s at %s: if it is that one, write there by hand %s",
			b.Address(),
			at(b),
			byHand,
		)
	}
	return placed{}, unclear(prefix, len(found), why)
}

// unclear is the error for a prefix that not exactly one grant has.
func unclear(prefix string, n int, none string) error {
	if n == 0 {
		return jit.Errorf(jit.ErrInvalid, "id", "copy the id from `jit list --all`", "%q: %s", prefix, none)
	}
	return jit.Invalid("id", "write more of the id", "%d ids begin with %q", n, prefix)
}

// edit returns the edit that sets attributes of the block, or the whole entry.
func (p placed) edit(to Asked, set ...attribute) (e Edit, err error) {
	info, err := os.Lstat(p.File)
	if err == nil && !info.Mode().IsRegular() {
		err = jit.Errorf(jit.ErrDenied, "", "change it by hand", "%s is not a regular file", p.File)
	}
	if err != nil {
		return e, err
	}
	e = Edit{Path: p.File}
	if e.before, err = os.ReadFile(e.Path); err != nil {
		return e, fmt.Errorf("read the configuration: %w", err)
	}
	e.of = func(text []byte) (_ []byte, err error) {
		if p.Type == "" {
			f, err := to.fileOf(strings.TrimSuffix(filepath.Base(p.File), ".json"), TFVars)
			return f.text, err
		}
		for _, at := range set {
			if text, err = hcledit.Set(text, p.Block, at.name, at.value); err != nil {
				return nil, fmt.Errorf("edit %s: %w", e.Path, err)
			}
		}
		return text, p.check(text, to)
	}
	e.after, err = e.of(e.before)
	return e, err
}

// check requires that the block in a text says what is asked.
func (p placed) check(text []byte, want Asked) error {
	f, diags := hclsyntax.ParseConfig(text, p.File, hcl.InitialPos)
	if diags.HasErrors() {
		return diags
	}
	body, _ := f.Body.(*hclsyntax.Body)
	for _, b := range body.Blocks {
		if b.Type != "resource" || !slices.Equal(b.Labels, []string{p.Type, p.Name}) {
			continue
		}
		literals := map[string]cty.Value{}
		for name, at := range b.Body.Attributes {
			if v, diags := at.Expr.Value(nil); !diags.HasErrors() && !slices.Contains(p.others, name) {
				literals[name] = v
			}
		}
		got, err := askedOf(literals)
		if err == nil && got != want {
			err = errors.New("the edited block differs from the request")
		}
		if err != nil {
			return fmt.Errorf("edit %s: %w", p.File, err)
		}
		return nil
	}
	return fmt.Errorf("edit %s: the block is gone", p.File)
}

// addEntries reads the entries of the format [TFVars].
func (d *Desk) addEntries() error {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	names, err := fs.Glob(root.FS(), entries+"/*.json")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := root.ReadFile(name)
		if err != nil {
			d.note("not read: %v", err)
			continue
		}
		a, err := parseJSON(text)
		if err != nil {
			d.note("not read: %s: %v", name, err)
			continue
		}
		r, err := a.Request()
		if err != nil {
			continue
		}
		if g, _, err := d.Broker.Check(r); err == nil {
			block := hcledit.Block{File: filepath.Join(d.Dir, filepath.FromSlash(name)), Line: 1}
			d.grants = append(d.grants, placed{block, a, g, nil})
		}
	}
	return nil
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
