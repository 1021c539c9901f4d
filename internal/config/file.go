package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/gocty"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// EnvFile is the environment variable that names the settings file. Without it, DefaultFile in the working directory is
// the settings file.
const (
	EnvFile     = "JIT_CONFIG"
	DefaultFile = "jit.hcl"
)

// Load reads the settings file: path, or else the file that JIT_CONFIG names, or else jit.hcl. Only jit.hcl may be
// missing, and only if JIT_LEDGER is set: the ledger can then be read without any target. Relative paths in the file
// are relative to the working directory, as in Terraform. Errors name file and line.
func Load(path string) (Settings, error) {
	path, named := fileOf(path)
	src, err := os.ReadFile(path)
	switch {
	case err == nil:
		s, err := parse(src, path)
		s.File = path
		return s, err
	case !errors.Is(err, os.ErrNotExist):
		return Settings{}, fmt.Errorf("read settings: %w", err)
	case named:
		return Settings{},
			jit.Invalid("config", "name an existing file with --config or "+EnvFile, "there is no file %s", path)
	case os.Getenv(EnvLedger) == "":
		return Settings{}, jit.Invalid("config",
			"write one with the attributes of the provider block, or name one with --config or "+EnvFile,
			"there is no %s in this directory", path)
	}
	return Settings{}.WithDefaults(), nil
}

// fileOf returns the settings file, and whether somebody named it.
func fileOf(path string) (file string, named bool) {
	if path = cmp.Or(path, os.Getenv(EnvFile)); path != "" {
		return path, true
	}
	return DefaultFile, false
}

// LoadApprover reads from the settings file who approves, and the folder of approvals, with its default. It evaluates
// nothing else in the file, so that the approver needs no variable of the targets. Only jit.hcl may be missing.
func LoadApprover(path string) (Settings, error) {
	path, named := fileOf(path)
	src, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && !named:
		return Settings{ApprovalsDir: DefaultApprovalsDir}, nil
	case err != nil:
		return Settings{}, fmt.Errorf("read settings: %w", err)
	}
	content, err := contentOf(src, path, schema)
	if err != nil {
		return Settings{}, err
	}
	r := newReader(content)
	s := Settings{File: path}
	r.text("approver", &s.Approver)
	r.text("approvals_dir", &s.ApprovalsDir)
	s.ApprovalsDir = cmp.Or(s.ApprovalsDir, DefaultApprovalsDir)
	return s, r.err
}

// LoadProvider reads the file that config in the provider block names, which must exist. It evaluates only the
// attributes that the provider block has too, so that Terraform needs no variable of the sweeper. Relative paths, also
// that of the file, are relative to the working directory. Errors name file and line.
func LoadProvider(path string) (Settings, error) {
	src, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Settings{}, jit.Invalid("config",
			"name an existing file; a relative path starts in the directory in which Terraform runs, or which -chdir "+
				"names",
			"there is no file %q", path)
	case err != nil:
		return Settings{}, fmt.Errorf("read settings: %w", err)
	}
	content, err := contentOf(src, path, schema)
	if err != nil {
		return Settings{}, err
	}
	r := newReader(content)
	s := r.shared()
	s.File = path
	return s.WithDefaults(), r.err
}

// shared reads the attributes that the provider block has too.
func (r *reader) shared() (s Settings) {
	r.text("ledger", &s.Ledger)
	r.text("owner", &s.Owner)
	r.text("max_ttl", &s.MaxTTL)
	r.text("approvals_dir", &s.ApprovalsDir)
	r.text("wait_for_approval", &s.WaitForApproval)
	s.Targets, s.OnDrift = r.targets("targets")
	s.places = r.places()
	return s
}

var schema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{
	{Name: "ledger"}, {Name: "owner"}, {Name: "owners"}, {Name: "max_ttl"}, {Name: "targets"},
	{Name: "approvals_dir"}, {Name: "wait_for_approval"},
	{Name: "interval"}, {Name: "drift_interval"}, {Name: "on_violation"}, {Name: "max_unplanned_revocations"},
	{Name: "listen"}, {Name: "listen_token"}, {Name: "listen_proxy"}, {Name: "notify"}, {Name: "notice_before"},
	{Name: "approver"},
}}

// The values of on_violation.
const (
	violationReport = "report"
	violationRevoke = "revoke"
)

func parse(src []byte, path string) (Settings, error) {
	content, err := contentOf(src, path, schema)
	if err != nil {
		return Settings{}, err
	}
	r := newReader(content)
	s := r.shared()
	r.text("interval", &s.Interval)
	r.text("drift_interval", &s.DriftInterval)
	r.text("on_violation", &s.OnViolation, violationReport, violationRevoke)
	r.text("listen", &s.Listen)
	r.text("listen_token", &s.ListenToken)
	r.text("notice_before", &s.NoticeBefore)
	r.text("approver", &s.Approver)
	s.Owners = r.owners("owners")
	s.MaxUnplanned = r.number("max_unplanned_revocations")
	r.object("listen_proxy", &s.ListenProxy,
		`write listen_proxy = { header = "X-Forwarded-User", from = ["10.0.0.7/32"] }`)
	s.Notify = r.receivers("notify")
	if r.err != nil {
		return Settings{}, r.err
	}
	return s.WithDefaults(), nil
}

// contentOf parses a file. Errors name file and line.
func contentOf(src []byte, path string, schema *hcl.BodySchema) (*hcl.BodyContent, error) {
	file, diags := hclsyntax.ParseConfig(src, filepath.ToSlash(path), hcl.InitialPos)
	if diags.HasErrors() {
		return nil, inFile(diags)
	}
	content, diags := file.Body.Content(schema)
	return content, inFile(diags)
}

// reader evaluates the attributes of a settings file. After its first error it reads nothing more.
type reader struct {
	attributes hcl.Attributes
	scope      *hcl.EvalContext
	err        error
}

func newReader(content *hcl.BodyContent) *reader {
	return &reader{
		attributes: content.Attributes,
		scope:      &hcl.EvalContext{Functions: map[string]function.Function{"env": envFunction}},
	}
}

// value evaluates an attribute; ok is false if the file leaves it out or sets it to null.
func (r *reader) value(name string) (attr *hcl.Attribute, v cty.Value, ok bool) {
	attr, ok = r.attributes[name]
	if !ok || r.err != nil {
		return nil, v, false
	}
	v, diags := attr.Expr.Value(r.scope)
	if diags.HasErrors() {
		r.err = inFile(diags)
		return nil, v, false
	}
	return attr, v, !v.IsNull()
}

// refuse makes a wrong value of an attribute the error.
func (r *reader) refuse(attr *hcl.Attribute, hint, format string, args ...any) {
	r.err = at(attr.Expr.Range(), jit.Invalid(attr.Name, hint, format, args...))
}

// text reads a string, which must be one of the choices if there are any.
func (r *reader) text(name string, into *string, choices ...string) {
	attr, v, ok := r.value(name)
	switch {
	case !ok:
	case v.Type() != cty.String:
		r.refuse(attr, fmt.Sprintf(`write %s = "…"`, name), "this takes a string, not %s", v.Type().FriendlyName())
	case len(choices) == 2 && !slices.Contains(choices, v.AsString()):
		r.refuse(attr, fmt.Sprintf("write %s = %q or %q", name, choices[0], choices[1]), "%q is neither", v.AsString())
	default:
		*into = v.AsString()
	}
}

// number reads a whole number, 0 or more; nil if there is none.
func (r *reader) number(name string) *int {
	attr, v, ok := r.value(name)
	if !ok {
		return nil
	}
	var n int
	if v.Type() != cty.Number || gocty.FromCtyValue(v, &n) != nil || n < 0 {
		r.refuse(attr, fmt.Sprintf("write for example %s = 20", name), "this takes a whole number, 0 or more")
	}
	return &n
}

// owners reads the names of the owners that a sweeper serves; nil if there are none.
func (r *reader) owners(name string) []string {
	attr, v, ok := r.value(name)
	if !ok {
		return nil
	}
	names := []string{}
	list, err := convert.Convert(v, cty.List(cty.String))
	if err == nil {
		err = gocty.FromCtyValue(list, &names)
	}
	if err != nil {
		r.refuse(attr, `write for example owners = ["payments", "search"], or ["*"] for every owner`,
			"this takes a list of names")
		return nil
	}
	_, err = jit.ParseOwners(name, names)
	if wrong := (*jit.Error)(nil); errors.As(err, &wrong) {
		r.err = at(attr.Expr.Range(), wrong)
	}
	return names
}

// envFunction is env("NAME"): the value of an environment variable, which must be set.
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
