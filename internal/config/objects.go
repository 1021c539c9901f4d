package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// object reads an object by the json names of into.
func (r *reader) object(name string, into any, hint string) {
	attr, v, ok := r.value(name)
	if !ok {
		return
	}
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		r.refuse(attr, hint, "this takes an object, not %s", v.Type().FriendlyName())
		return
	}
	if err := decode(v, into); err != nil {
		problem, _ := explain(err) // it shows no value
		r.refuse(attr, hint, "%s", strings.Replace(problem, "of a target", "here", 1))
	}
}

// decode reads a value into a struct by its json names, and refuses unknown names.
func decode(v cty.Value, into any) error {
	text, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// receivers reads the receivers of notices by their names, and checks each.
func (r *reader) receivers(name string) map[string]notice.Config {
	attr, v, ok := r.uniqueMap(name, "receiver")
	if !ok {
		return nil
	}
	const hint = `write for example notify = { ops = { url = env("OPS_HOOK"), secret = env("OPS_SECRET") } }`
	if v.Type().IsObjectType() {
		for key, t := range v.Type().AttributeTypes() {
			if !t.IsObjectType() {
				r.err = at(rangeOf(attr.Expr, r.scope, key),
					jit.Invalid(fmt.Sprintf("notify[%q]", key), hint, "a receiver is an object, not %s",
						t.FriendlyName()))
				return nil
			}
		}
	}
	var all map[string]notice.Config
	if r.object(name, &all, hint); r.err != nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		_, err := notice.NewReceiver(key, all[key])
		if wrong := (*jit.Error)(nil); errors.As(err, &wrong) {
			part := wrong.Attribute[strings.LastIndex(wrong.Attribute, ".")+1:]
			r.err = at(rangeOf(attr.Expr, r.scope, key, part), wrong)
			return nil
		}
	}
	return all
}

const targetHint = `write for example targets = { bastion = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } } }`

// target is one target of the file: its platform, and what a sweep does about drift there.
type target struct {
	platform.Config
	OnDrift *jit.OnDrift `json:"on_drift"`
}

// targets reads the targets by their names.
func (r *reader) targets(name string) (map[string]platform.Config, map[string]jit.OnDrift) {
	attr, v, ok := r.uniqueMap(name, "target")
	if !ok {
		return nil, nil
	}
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		r.refuse(attr, targetHint, "this takes a map of targets, not %s", v.Type().FriendlyName())
		return nil, nil
	}
	all, onDrift := map[string]platform.Config{}, map[string]jit.OnDrift{}
	for key, v := range v.AsValueMap() {
		var t target
		if err := decode(v, &t); err != nil {
			problem, path := explain(err)
			r.err = at(rangeOf(attr.Expr, r.scope, append([]string{key}, path...)...),
				jit.Invalid(fmt.Sprintf("targets[%q]", key),
					"the attributes are those of the provider block; the platforms are "+strings.Join(platform.Kinds(),
						", "), "%s", problem))
			return nil, nil
		}
		all[key] = t.Config
		if t.OnDrift == nil {
			continue
		}
		onDrift[key] = *t.OnDrift
		if !slices.Contains([]jit.OnDrift{jit.RepairDrift, jit.RevokeDrift, jit.ReportDrift}, *t.OnDrift) {
			r.err = at(rangeOf(attr.Expr, r.scope, key, "on_drift"),
				jit.Invalid(fmt.Sprintf("targets[%q].on_drift", key),
					`write on_drift = "repair", "revoke" or "report"`, "%q is not a reaction to drift", *t.OnDrift))
			return nil, nil
		}
	}
	return all, onDrift
}

var unknownField = regexp.MustCompile(`^json: unknown field "(.*)"$`)

// explain describes an error of the JSON decoder in the words of the file, without any value. path leads to the faulty
// attribute, as far as it is known.
func explain(err error) (problem string, path []string) {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		what := strings.TrimPrefix(wrong.Type.String(), "*")
		if wrong.Type.Kind().String() == "struct" || strings.Contains(what, ".") {
			what = "an object { … }"
		}
		value, _, _ := strings.Cut(wrong.Value, " ")
		field := strings.TrimPrefix(wrong.Field, "Config.") // the platforms are embedded
		if field == "" {
			return fmt.Sprintf("a target takes an object such as { ssh = { … } }, not a %s", value), nil
		}
		return fmt.Sprintf("%s takes %s, not a %s", field, what, value), strings.Split(field, ".")
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Sprintf("%q is not an attribute of a target", m[1]), []string{m[1]}
	}
	return "the target cannot be read", nil
}
