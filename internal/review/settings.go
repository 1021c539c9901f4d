package review

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// settingsFile is the settings file of the command, which stands in for the provider block.
const settingsFile = "jit.hcl"

// source ends the source address of this provider, whichever registry it comes from.
const source = "jitaccess/jit"

// judging are the attributes of the provider block that grants are judged by, with the literal that a missing one is.
var judging = map[string]cty.Value{
	"max_ttl": cty.StringVal(jit.FormatDuration(jit.DefaultMaxTTL)), "owner": cty.StringVal(jit.DefaultOwner),
	"approvals_dir": cty.StringVal("approvals"), "ledger": cty.NilVal, "targets": cty.NilVal, "config": cty.NilVal,
}

// folder is what a folder of configuration says about this provider: its blocks, and those of jit.hcl, by address.
type folder struct {
	blocks map[string]map[string]expression
	// unread names the files that cannot be read.
	unread []string
	// defines is the text of the variables and locals, and of the files that set variables.
	defines []byte
	// both: some files are for both CLIs, others for OpenTofu alone.
	both bool
}

// expression is the value of an attribute.
type expression struct {
	// text is its source, without needless space; file is that of its whole file.
	text, file []byte
	// value is [cty.NilVal] unless the expression is literal.
	value  cty.Value
	syntax hcl.Expression
}

// compareSettings compares the provider blocks and jit.hcl with those of the base branch.
func (j *judge) compareSettings() {
	if j.Base == "" {
		if bytes.Contains(j.plan.Configuration, []byte("/"+source+`"`)) {
			const open = "the provider block and jit.hcl are not compared with those of the " +
				"base branch: name a folder with its configuration with --base"
			if j.CI {
				j.doubts.about(open, "")
			} else {
				j.report.Notes = append(j.report.Notes, strings.ToUpper(open[:1])+open[1:]+".")
			}
		}
		return
	}
	head, base := readFolder(cmp.Or(j.Head, ".")), readFolder(j.Base)
	for _, name := range slices.Concat(head.unread, base.unread) {
		j.doubts.about("the file cannot be read, so its provider block is not compared", name)
	}
	if head.both || base.both {
		j.doubts.about("Terraform ignores the files *.tofu, and OpenTofu prefers them to those *.tf of the same name: "+
			"which of them hold the provider block is not known", "")
	}
	for _, at := range j.plan.ProvidersOfModules(source) {
		j.doubts.about("the settings of the provider in a module are not compared: only those of the root are", at)
	}
	moved := !bytes.Equal(head.defines, base.defines)
	var open []string
	for _, at := range slices.Sorted(maps.Keys(head.blocks)) {
		was, known := base.blocks[at]
		if !known {
			j.setting(at, Create, true, "the settings are new: their targets, owner and max_ttl are not compared")
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(judging)) {
			open = append(open, j.compareSetting(at, name, was, head.blocks[at], moved)...)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(base.blocks)) {
		if _, kept := head.blocks[at]; !kept {
			j.setting(at, Destroy, false, "the settings are removed")
		}
	}
	if len(open) > 0 {
		j.report.Notes = append(j.report.Notes,
			"Only the text, not the value, was compared of what is no literal: "+strings.Join(open, ", ")+".")
	}
}

func (j *judge) setting(at string, action Action, loosens bool, what string) {
	rule := Rule{Address: at, Action: action, Loosens: loosens, What: what}
	if loosens {
		rule.Outcome = Decide
	}
	j.report.Rules = append(j.report.Rules, rule)
}

// compareSetting compares an attribute of one block. It returns the name of what it cannot compare. moved: variables or
// locals are changed.
func (j *judge) compareSetting(at, name string, was, is map[string]expression, moved bool) (open []string) {
	before, after := setting(was, name), setting(is, name)
	if before.same(after) {
		if after.syntax != nil && after.value == cty.NilVal {
			if moved {
				j.doubts.about("its text is the same, but it is no literal, and variables or locals are changed: "+
					"its value may be another one", name+" of "+at)
			}
			return []string{name + " of " + at}
		}
		return nil
	}
	text := func(e expression) string {
		if e.value != cty.NilVal && !e.value.IsNull() && e.value.Type() == cty.String {
			return e.value.AsString()
		}
		return "another value"
	}
	switch name {
	case "max_ttl":
		a, errA := jit.ParseDuration(name, text(before))
		b, errB := jit.ParseDuration(name, text(after))
		j.setting(at, Change, cmp.Or(errA, errB) != nil || b > a,
			"max_ttl is changed from "+text(before)+" to "+text(after))
	case "targets":
		j.compareTargets(at, before, after)
	case "ledger": // it may hold a password
		j.setting(at, Change, true, "ledger is changed: other policies judge, and other records count")
	default:
		j.setting(at, Change, true, name+" is changed from "+text(before)+" to "+text(after))
	}
	return nil
}

// setting returns an attribute of a block.
func setting(of map[string]expression, name string) expression {
	if e, set := of[name]; set {
		return e
	}
	return expression{value: judging[name]}
}

// same reports whether two expressions have the same literal value, or else the same text.
func (e expression) same(other expression) bool {
	if e.value != cty.NilVal && other.value != cty.NilVal {
		return e.value.RawEquals(other.value)
	}
	return e.value == cty.NilVal && other.value == cty.NilVal && bytes.Equal(e.text, other.text)
}

// compareTargets compares targets one by one. It shows none of their values, which may be secret.
func (j *judge) compareTargets(at string, was, is expression) {
	before, beforeOK := items(was)
	after, afterOK := items(is)
	if !beforeOK || !afterOK {
		j.setting(at, Change, true, "targets is changed")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		old, known := before[name]
		switch {
		case !known:
			j.setting(at, Change, true, "target "+name+" is new")
		case !old.same(after[name]):
			j.setting(at, Change, true, "target "+name+" is changed: the same name may be another system")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, kept := after[name]; !kept {
			j.setting(at, Change, false, "target "+name+" is removed")
		}
	}
}

// items returns the items of an object by their literal keys; a missing one has none.
func items(e expression) (all map[string]expression, ok bool) {
	all = map[string]expression{}
	if e.syntax == nil {
		return all, true
	}
	pairs, diags := hcl.ExprMap(e.syntax)
	if diags.HasErrors() {
		return nil, false
	}
	for _, pair := range pairs {
		key, diags := pair.Key.Value(nil)
		if diags.HasErrors() || key.IsNull() || !key.IsKnown() || key.Type() != cty.String {
			return nil, false
		}
		all[key.AsString()] = expressionOf(pair.Value, e.file)
	}
	return all, true
}

// paths are the folders that expressions of a root module name, relative to it.
var paths = &hcl.EvalContext{Variables: map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{
	"module": cty.StringVal("."), "root": cty.StringVal("."),
})}}

// expressionOf reads an expression of a file.
func expressionOf(syntax hcl.Expression, file []byte) expression {
	text := bytes.Join(bytes.Fields(syntax.Range().SliceBytes(file)), []byte(" "))
	e := expression{text: text, file: file, syntax: syntax}
	if value, diags := syntax.Value(paths); !diags.HasErrors() && value.IsWhollyKnown() {
		e.value = value
	}
	return e
}
