package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/gocty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/notice"
	"github.com/jitaccess/terraform-provider-jit/internal/platform"
)

// EnvFile is the environment variable that names the settings file; DefaultFile
// is read from the working directory where nothing names one.
const (
	EnvFile     = "JIT_CONFIG"
	DefaultFile = "jit.hcl"
)

const exampleFile = `write for example targets = { bastion = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } } }`

// Load reads the settings file: path, else the file that JIT_CONFIG names, else
// jit.hcl. Only the last may be missing, and only where JIT_LEDGER is set: the
// ledger can then be read without any target. Relative paths in the file are
// relative to the working directory, as in Terraform. Errors name file and line.
func Load(path string) (Settings, error) {
	asked := true
	if path == "" {
		path = os.Getenv(EnvFile)
	}
	if path == "" {
		path, asked = DefaultFile, false
	}
	src, err := os.ReadFile(path)
	switch {
	case err == nil:
		s, err := parse(src, path)
		s.File = path
		return s, err
	case !errors.Is(err, os.ErrNotExist):
		return Settings{}, fmt.Errorf("read settings: %w", err)
	case asked:
		return Settings{}, jit.Invalid("config", "name an existing file with --config or "+EnvFile, "there is no file %s", path)
	case os.Getenv(EnvLedger) == "":
		return Settings{}, jit.Invalid("config", "write one with the attributes of the provider block, or name one with --config or "+EnvFile,
			"there is no %s in this directory", path)
	}
	return Settings{}.WithDefaults(), nil
}

var schema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{
	{Name: "ledger"}, {Name: "owner"}, {Name: "owners"}, {Name: "max_ttl"}, {Name: "targets"}, {Name: "interval"}, {Name: "drift_interval"},
	{Name: "on_violation"}, {Name: "max_unplanned_revocations"},
	{Name: "listen"}, {Name: "listen_token"}, {Name: "listen_proxy"}, {Name: "notify"}, {Name: "notice_before"},
}}

func parse(src []byte, path string) (Settings, error) {
	file, diags := hclsyntax.ParseConfig(src, filepath.ToSlash(path), hcl.InitialPos)
	if diags.HasErrors() {
		return Settings{}, inFile(diags)
	}
	content, diags := file.Body.Content(schema)
	if diags.HasErrors() {
		return Settings{}, inFile(diags)
	}
	scope := &hcl.EvalContext{Functions: map[string]function.Function{"env": envFunction}}
	var s Settings
	for name, into := range map[string]*string{"ledger": &s.Ledger, "owner": &s.Owner, "max_ttl": &s.MaxTTL, "interval": &s.Interval, "drift_interval": &s.DriftInterval, "on_violation": &s.OnViolation,
		"listen": &s.Listen, "listen_token": &s.ListenToken, "notice_before": &s.NoticeBefore} {
		attr, ok := content.Attributes[name]
		if !ok {
			continue
		}
		v, diags := attr.Expr.Value(scope)
		if diags.HasErrors() {
			return Settings{}, inFile(diags)
		}
		if v.IsNull() {
			continue
		}
		if v.Type() != cty.String {
			return Settings{}, at(attr.Expr.Range(), jit.Invalid(name, fmt.Sprintf(`write %s = "…"`, name), "this takes a string, not %s", v.Type().FriendlyName()))
		}
		*into = v.AsString()
	}
	if attr, ok := content.Attributes["targets"]; ok {
		var err error
		if s.Targets, s.OnDrift, err = targets(attr.Expr, scope); err != nil {
			return Settings{}, err
		}
	}
	if attr, ok := content.Attributes["on_violation"]; ok && s.OnViolation != violationReport && s.OnViolation != violationRevoke {
		return Settings{}, at(attr.Expr.Range(), jit.Invalid("on_violation", `write on_violation = "report" or "revoke"`, "%q is neither", s.OnViolation))
	}
	if attr, ok := content.Attributes["owners"]; ok {
		var err error
		if s.Owners, err = ownersOf(attr, scope); err != nil {
			return Settings{}, err
		}
	}
	if attr, ok := content.Attributes["max_unplanned_revocations"]; ok {
		most, err := wholeNumber(attr, scope)
		if err != nil {
			return Settings{}, err
		}
		s.MaxUnplanned = most
	}
	if attr, ok := content.Attributes["listen_proxy"]; ok {
		if err := object(attr, scope, &s.ListenProxy, `write listen_proxy = { header = "X-Forwarded-User", from = ["10.0.0.7/32"] }`); err != nil {
			return Settings{}, err
		}
	}
	if attr, ok := content.Attributes["notify"]; ok {
		var err error
		if s.Notify, err = receivers(attr, scope); err != nil {
			return Settings{}, err
		}
	}
	return s.WithDefaults(), nil
}

// receivers evaluates the map of who is told of what happens, and checks each.
func receivers(attr *hcl.Attribute, scope *hcl.EvalContext) (map[string]notice.Config, error) {
	if err := noTwice(attr.Expr, scope, attr.Name, "receiver"); err != nil {
		return nil, err
	}
	const hint = `write for example notify = { ops = { url = env("OPS_HOOK"), secret = env("OPS_SECRET") } }`
	if v, diags := attr.Expr.Value(scope); !diags.HasErrors() && !v.IsNull() && v.Type().IsObjectType() {
		for name, is := range v.Type().AttributeTypes() {
			if !is.IsObjectType() {
				return nil, at(rangeOf(attr.Expr, scope, name), jit.Invalid(fmt.Sprintf("notify[%q]", name), hint, "a receiver is an object, not %s", is.FriendlyName()))
			}
		}
	}
	var all map[string]notice.Config
	if err := object(attr, scope, &all, hint); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		_, err := notice.NewReceiver(name, all[name])
		if wrong := (*jit.Error)(nil); errors.As(err, &wrong) {
			part := wrong.Attribute[strings.LastIndex(wrong.Attribute, ".")+1:]
			return nil, at(rangeOf(attr.Expr, scope, name, part), wrong)
		}
	}
	return all, nil
}

// object evaluates an attribute that takes an object, by its json names.
func object(attr *hcl.Attribute, scope *hcl.EvalContext, into any, hint string) error {
	v, diags := attr.Expr.Value(scope)
	if diags.HasErrors() {
		return inFile(diags)
	}
	if !v.IsNull() && !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return at(attr.Expr.Range(), jit.Invalid(attr.Name, hint, "this takes an object, not %s", v.Type().FriendlyName()))
	}
	text, err := ctyjson.Marshal(v, v.Type())
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	if err != nil {
		problem, _ := explain(err) // it tells no value
		return at(attr.Expr.Range(), jit.Invalid(attr.Name, hint, "%s", strings.Replace(problem, "of a target", "here", 1)))
	}
	return nil
}

// ownersOf evaluates the list of the owners that a sweeper serves, and checks the names.
func ownersOf(attr *hcl.Attribute, scope *hcl.EvalContext) ([]string, error) {
	v, diags := attr.Expr.Value(scope)
	if diags.HasErrors() {
		return nil, inFile(diags)
	}
	if v.IsNull() {
		return nil, nil
	}
	v, err := convert.Convert(v, cty.List(cty.String))
	names := []string{}
	if err == nil {
		err = gocty.FromCtyValue(v, &names)
	}
	if err != nil {
		return nil, at(attr.Expr.Range(), jit.Invalid(attr.Name, `write for example owners = ["payments", "search"], or ["*"] for every owner`, "this takes a list of names"))
	}
	_, err = jit.ParseOwners(attr.Name, names)
	if wrong := (*jit.Error)(nil); errors.As(err, &wrong) {
		return nil, at(attr.Expr.Range(), wrong)
	}
	return names, nil
}

// What on_violation takes.
const (
	violationReport = "report"
	violationRevoke = "revoke"
)

// wholeNumber evaluates an attribute that takes a whole number, 0 or more.
func wholeNumber(attr *hcl.Attribute, scope *hcl.EvalContext) (*int, error) {
	v, diags := attr.Expr.Value(scope)
	if diags.HasErrors() {
		return nil, inFile(diags)
	}
	if v.IsNull() {
		return nil, nil
	}
	var n int
	if v.Type() != cty.Number || gocty.FromCtyValue(v, &n) != nil || n < 0 {
		return nil, at(attr.Expr.Range(), jit.Invalid(attr.Name, fmt.Sprintf("write for example %s = 20", attr.Name), "this takes a whole number, 0 or more"))
	}
	return &n, nil
}

// target is one target of the file: its platform, and what a sweep does about drift there.
type target struct {
	platform.Config
	OnDrift *jit.OnDrift `json:"on_drift"`
}

// targets evaluates the map of targets and decodes each through the json names of its
// platform's Config, refusing names that are not there.
func targets(expr hcl.Expression, scope *hcl.EvalContext) (map[string]platform.Config, map[string]jit.OnDrift, error) {
	if err := noTwice(expr, scope, "targets", "target"); err != nil {
		return nil, nil, err
	}
	all, diags := expr.Value(scope)
	if diags.HasErrors() {
		return nil, nil, inFile(diags)
	}
	if all.IsNull() {
		return nil, nil, nil
	}
	if !all.Type().IsObjectType() && !all.Type().IsMapType() {
		return nil, nil, at(expr.Range(), jit.Invalid("targets", exampleFile, "this takes a map of targets, not %s", all.Type().FriendlyName()))
	}
	decoded, onDrift := map[string]platform.Config{}, map[string]jit.OnDrift{}
	for key, v := range all.AsValueMap() {
		where := rangeOf(expr, scope, key)
		text, err := ctyjson.Marshal(v, v.Type())
		if err != nil {
			return nil, nil, at(where, jit.Invalid("targets", exampleFile, "the target %q cannot be read", key))
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		var c target
		if err := decoder.Decode(&c); err != nil {
			problem, path := explain(err)
			return nil, nil, at(rangeOf(expr, scope, append([]string{key}, path...)...),
				jit.Invalid(fmt.Sprintf("targets[%q]", key), "the attributes are those of the provider block; the platforms are "+strings.Join(platform.Kinds(), ", "), "%s", problem))
		}
		decoded[key] = c.Config
		if c.OnDrift == nil {
			continue
		}
		if onDrift[key] = *c.OnDrift; !slices.Contains([]jit.OnDrift{jit.RepairDrift, jit.RevokeDrift, jit.ReportDrift}, onDrift[key]) {
			return nil, nil, at(rangeOf(expr, scope, key, "on_drift"), jit.Invalid(fmt.Sprintf("targets[%q].on_drift", key),
				`write on_drift = "repair", "revoke" or "report"`, "%q is none of what can be done about drift", onDrift[key]))
		}
	}
	return decoded, onDrift, nil
}

var unknownField = regexp.MustCompile(`^json: unknown field "(.*)"$`)

// explain puts an error of the JSON decoder into the words of the file, without any
// value, and tells the path of names to what is to blame as far as it is known.
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

// rangeOf finds where a name of a nested map is written, passing over levels that
// path leaves out; where it cannot be told it returns the nearest that can.
func rangeOf(expr hcl.Expression, scope *hcl.EvalContext, path ...string) hcl.Range {
	if len(path) == 0 {
		return expr.Range()
	}
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return expr.Range()
	}
	for _, pair := range pairs {
		if keyOf(pair, scope) == path[0] {
			if len(path) == 1 {
				return pair.Key.Range()
			}
			return rangeOf(pair.Value, scope, path[1:]...)
		}
	}
	for _, pair := range pairs {
		if found := rangeOf(pair.Value, scope, path...); found != pair.Value.Range() {
			return found
		}
	}
	return expr.Range()
}

// noTwice refuses a map that has a name twice: HCL would silently keep only the last.
func noTwice(expr hcl.Expression, scope *hcl.EvalContext, attribute, thing string) error {
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		return nil // computed: it has one value for each name
	}
	seen := map[string]bool{}
	for _, pair := range pairs {
		key := keyOf(pair, scope)
		if key != "" && seen[key] {
			return at(pair.Key.Range(), jit.Invalid(attribute, "give each its own name", "the %s %q is written twice", thing, key))
		}
		seen[key] = true
	}
	return nil
}

func keyOf(pair hcl.KeyValuePair, scope *hcl.EvalContext) string {
	v, diags := pair.Key.Value(scope)
	if diags.HasErrors() || v.IsNull() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}

// envFunction is env("NAME"): the value of an environment variable that has to be set.
var envFunction = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "name", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		name := args[0].AsString()
		value, ok := os.LookupEnv(name)
		if !ok {
			return cty.NilVal, function.NewArgErrorf(0, "the environment variable %s is not set", name)
		}
		return cty.StringVal(value), nil
	},
})

// inFile makes the first of the diagnostics an error that begins with file:line.
func inFile(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		user := &jit.Error{Problem: d.Summary + ": " + strings.TrimSuffix(d.Detail, "."), Err: jit.ErrInvalid}
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok && call.FunctionCallError() != nil {
			user.Problem = call.CalledFunctionName() + ": " + call.FunctionCallError().Error()
		}
		if d.Subject == nil {
			return user
		}
		return at(*d.Subject, user)
	}
	return nil
}

// at puts file:line before the error's problem.
func at(where hcl.Range, err *jit.Error) error {
	located := *err
	location := fmt.Sprintf("%s:%d: ", where.Filename, where.Start.Line)
	if located.Attribute == "" {
		located.Problem = location + located.Problem
	} else {
		located.Attribute = location + located.Attribute
	}
	return &located
}
