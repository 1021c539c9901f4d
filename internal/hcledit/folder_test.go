package hcledit_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

// folder writes files and reads them.
func folder(t *testing.T, files map[string]string) (string, *hcledit.Folder) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := hcledit.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, f
}

func TestReadLiterals(t *testing.T) {
	_, f := folder(t, map[string]string{"a.tf": "\xef\xbb\xbf# a\r\n\r\n" + `resource "jit_policy" "a" {
  text     = "a\n$${b}"
  windows  = "C:\\keys"
  heredoc  = <<-E
    one
    two
  E
  number   = -1.5
  bool     = (true)
  nothing  = null
  list     = ["a", ["b"], { c = 1, "d" : 2 }]
  template = "${"a"}"
  mixed    = "a${1 + 1}"
  variable = var.a
  call     = file("a")
  sum      = 1 + 1
  choice   = true ? "a" : "b"
  nested   = [{ a = var.a }]
  key      = { (var.a) = 1 }
  timeouts { create = "1m" }
}
`})
	if len(f.Blocks) != 1 || len(f.Unread) != 0 {
		t.Fatalf("blocks %+v, unread %v", f.Blocks, f.Unread)
	}
	b := f.Blocks[0]
	if b.Line != 3 || b.Address() != "jit_policy.a" || b.Repeated {
		t.Errorf("block %+v", b)
	}
	got := map[string]string{}
	for name, v := range b.Literals {
		got[name] = v.GoString()
	}
	want := map[string]string{
		"text": `cty.StringVal("a\n${b}")`, "windows": `cty.StringVal("C:\\keys")`,
		"heredoc": `cty.StringVal("one\ntwo\n")`, "number": `cty.MustParseNumberVal("-1.5")`, "bool": "cty.True",
		"nothing": "cty.NullVal(cty.DynamicPseudoType)",
		"list": `cty.TupleVal([]cty.Value{cty.StringVal("a"), cty.TupleVal([]cty.Value{cty.StringVal("b")}), ` +
			`cty.ObjectVal(map[string]cty.Value{"c":cty.NumberIntVal(1), "d":cty.NumberIntVal(2)})})`,
	}
	for name := range want {
		if name != "number" && got[name] != want[name] {
			t.Errorf("%s is %s, want %s", name, got[name], want[name])
		}
	}
	if len(got) != len(want) || got["number"] == "" {
		t.Errorf("literals %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	others := []string{"call", "choice", "key", "mixed", "nested", "sum", "template", "timeouts", "variable"}
	if !slices.Equal(b.Others, others) {
		t.Errorf("others %v, want %v", b.Others, others)
	}
}

func TestReadFiles(t *testing.T) {
	dir, _ := folder(t, map[string]string{
		"b.tf":             "resource \"jit_grant\" \"b\" {\n  for_each = {}\n}\nresource \"jit_grant\" \"c\" {\n  count = 1\n}\n",
		"a.tofu":           "resource \"jit_grant\" \"a\" {}\n",
		"broken.tf":        "resource \"jit_grant\" \"x\" {}\nresource \"jit_grant\" {{\n",
		"bad.tf":           "a = \"\xff\"",
		"json.tf.json":     "{}",
		"override.tf":      "resource \"jit_grant\" \"b\" {}\n",
		"b_override.tofu":  "",
		".hidden.tf":       "resource \"jit_grant\" \"x\" {}\n",
		"b.tf~":            "resource \"jit_grant\" \"x\" {}\n",
		"#b.tf#":           "resource \"jit_grant\" \"x\" {}\n",
		"notes.txt":        "resource \"jit_grant\" \"x\" {}\n",
		"module/x.tf":      "resource \"jit_grant\" \"x\" {}\n",
		"a.tftest.hcl":     "",
		"terraform.tfvars": "",
		"providers.tf": "provider \"jit\" {\n  owner = \"payments\"\n  ledger = var.ledger\n}\n" +
			"provider \"jit\" {\n  alias = \"other\"\n}\nprovider \"aws\" {}\n" +
			"terraform {\n  required_providers {\n    jit = {\n      source = \"jitaccess/jit\"\n" +
			"      configuration_aliases = [jit.x]\n    }\n    aws = { source = var.a }\n  }\n}\n",
	})
	if err := os.Mkdir(filepath.Join(dir, "folder.tf"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "b.tf"), filepath.Join(dir, "link.tf")); err != nil {
		t.Fatal(err)
	}
	f, err := hcledit.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, b := range f.Blocks {
		blocks = append(blocks, filepath.Base(b.File)+" "+b.Address())
		if (b.Name != "a") != b.Repeated {
			t.Errorf("%s is repeated: %v", b.Address(), b.Repeated)
		}
	}
	want := "a.tofu jit_grant.a, b.tf jit_grant.b, b.tf jit_grant.c, link.tf jit_grant.b, link.tf jit_grant.c"
	if got := strings.Join(blocks, ", "); got != want {
		t.Errorf("blocks %s, want %s", got, want)
	}
	unread := map[string]string{}
	for _, u := range f.Unread {
		unread[filepath.Base(u.File)] = u.Why
	}
	for name, why := range map[string]string{
		"broken.tf": "line 2 has a syntax error", "bad.tf": "line 1 has a syntax error", "json.tf.json": "JSON",
		"override.tf": "an override file", "b_override.tofu": "an override file", "folder.tf": "it cannot be read",
	} {
		if !strings.Contains(unread[name], why) {
			t.Errorf("%s: %q, want %q", name, unread[name], why)
		}
	}
	if len(unread) != 6 {
		t.Errorf("unread %v", f.Unread)
	}
	if len(f.Providers) != 3 || f.Providers[0].Literals["owner"].AsString() != "payments" ||
		f.Providers[1].Name != "other" || f.Providers[2].Type != "aws" {
		t.Errorf("providers %+v", f.Providers)
	}
	if !maps.Equal(f.Sources, map[string]string{"jit": "jitaccess/jit"}) {
		t.Errorf("sources %v", f.Sources)
	}
	if repeats := f.Repeats(); repeats["jit_grant.b"] != 2 || repeats["jit_grant.a"] != 0 {
		t.Errorf("repeats %v", repeats)
	}
	if _, err := hcledit.Read(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that does not exist: %v", err)
	}
}

func TestMentions(t *testing.T) {
	dir, f := folder(t, map[string]string{
		"a.tf": `resource "jit_grant" "a" {
  reason = "as jit_grant.a"
}
resource "jit_grant" "b" { depends_on = [jit_grant.a] }
# jit_grant.free
output "o" { value = module.m.jit_grant.free }
resource "jit_grant" "free" {}
`,
		"moved.tf": "moved {\n  from = jit_grant.old\n  to = jit_grant.moved\n}\n",
		"more.tf": "output \"o\" { value = \"x ${[\njit_grant /* c */ .\nsplit[*].id]}\" }\n" +
			"resource \"x\" \"y\" { depends_on = [\"jit_grant.quoted\"] }\n" +
			"output \"p\" {\n  value = <<E\n${jit_grant.heredoc.id} module.jit_grant.dotted\nE\n}\n",
		"broken.tf":           "x { y = jit_grant.broken.id\n",
		"override.tf":         "resource \"jit_grant\" \"overridden\" {}\n",
		"b_override.tf":       "resource jit_grant unquoted {}\n",
		"a.tf.json":           `{"resource": {"jit_grant": {"json": {}}}, "output": {"o": {"value": "${jit_grant.quotes.id}"}}}`,
		"tests/a.tftest.hcl":  "run \"x\" { assert { condition = jit_grant.tested.id != \"\" } }\n",
		"tests/a.tftest.json": `{"run": {"r": {"assert": [{"condition": "${jit_grant.jsontest.role == \"login\"}"}]}}}`,
		"q.tfquery.hcl":       "list \"x\" \"y\" { config { a = jit_grant.queried.id } }\n",
		"b.tf.json": "\xef\xbb\xbf{\n\"v\": \"${jit\\u005fgrant.escaped.id}\",\n" +
			"\"w\": \"${\\\"a\\\" == jit_grant\\n . lines}\", \"jit\\u005fgrant\": {\"declared\": 1}}",
		"module/unrelated.tf": "output \"o\" { value = jit_grant.free.id }\n",
	})
	if len(f.Unread) != 5 {
		t.Errorf("unread %v", f.Unread)
	}
	for name, want := range map[string]string{
		"a": "a.tf:4", "b": "", "free": "", "moved": "moved.tf:3", "old": "moved.tf:2", "split": "more.tf:2",
		"quoted": "more.tf:4", "heredoc": "more.tf:7", "dotted": "more.tf:7", "broken": "broken.tf:1",
		"overridden": "override.tf", "unquoted": "b_override.tf", "over": "",
		"json": "a.tf.json", "quotes": "a.tf.json:1", "tested": "tests/a.tftest.hcl:1",
		"jsontest": "tests/a.tftest.json:1", "queried": "q.tfquery.hcl:1", "escaped": "b.tf.json:2", "lines": "b.tf.json:3",
		"declared": "b.tf.json",
	} {
		b := grant(name)
		for _, each := range f.Blocks {
			if each.Name == name {
				b = each
			}
		}
		got := strings.ReplaceAll(strings.Join(f.Mentions(b, nil), ", "), dir+string(filepath.Separator), "")
		if filepath.ToSlash(got) != want {
			t.Errorf("%s is mentioned at %q, want %q", name, got, want)
		}
	}
	if got := f.Mentions(f.Blocks[0], []hcledit.Block{f.Blocks[1]}); len(got) != 0 {
		t.Errorf("a is mentioned outside of b: %v", got)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.tf"), filepath.Join(dir, "link.tf")
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := hcledit.Write(path, nil, []byte("a")); err != nil || read() != "a" {
		t.Fatalf("a new file holds %q, %v", read(), err)
	}
	if err := errors.Join(os.Chmod(path, 0o644), os.Symlink("a.tf", link)); err != nil {
		t.Fatal(err)
	}
	if err := hcledit.Write(link, []byte("a"), []byte("b")); err != nil || read() != "b" {
		t.Errorf("the file holds %q, %v", read(), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	for name, err := range map[string]error{
		"write": hcledit.Write(path, []byte("a"), []byte("c")), "new": hcledit.Write(path, nil, []byte("c")),
		"delete": hcledit.Delete(path, []byte("a")), "gone": hcledit.Write(path+"x", []byte("a"), []byte("c")),
	} {
		if !errors.Is(err, hcledit.ErrChanged) || read() != "b" {
			t.Errorf("%s: %v; the file holds %q", name, err, read())
		}
	}
	if err := hcledit.Delete(path, []byte("b")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}
