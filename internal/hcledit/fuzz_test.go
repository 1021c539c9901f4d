package hcledit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

// texts are the blocks of a file, as they are written.
func texts(t *testing.T, text []byte) (blocks map[string]string, ok bool) {
	t.Helper()
	parsed, diags := hclsyntax.ParseConfig(text, "a.tf", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, false
	}
	blocks = map[string]string{}
	for _, b := range parsed.Body.(*hclsyntax.Body).Blocks {
		blocks[b.Type+" "+strings.Join(b.Labels, " ")] += string(b.Range().SliceBytes(text)) +
			string(text[b.OpenBraceRange.Start.Byte:b.CloseBraceRange.End.Byte])
	}
	return blocks, true
}

// subsequence reports whether part is whole with some bytes left out.
func subsequence(part, whole []byte) bool {
	for _, b := range part {
		i := bytes.IndexByte(whole, b)
		if i < 0 {
			return false
		}
		whole = whole[i+1:]
	}
	return true
}

func seeds(f *testing.F) {
	for _, s := range []string{
		"resource \"jit_grant\" \"b\" {\n  ttl = \"1h\"\n}\n",
		"\xef\xbb\xbfx {} # x\r\n\r\n/* a\r\n*/ resource \"jit_grant\" \"b\" { a = <<E\n}\nE\n}\r\n# b\r\ny {}",
		"# a\nresource \"jit_grant\" \"b\" {}\n\n// c\nresource \"jit_grant\" \"c\" {ttl=[1,\n2]}",
		"x {\n a = \"${1}\" /* ${ */\n}\n\tresource jit_grant b {\n\t}/* z */",
	} {
		f.Add([]byte(s))
	}
}

// Removing blocks only takes bytes away, and every other block stays as it was written.
func FuzzRemove(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "a.tf")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		folder, err := hcledit.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		before, ok := texts(t, text)
		if len(folder.Blocks) == 0 || !ok || len(folder.Repeats()) > 0 {
			return
		}
		for _, gone := range [][]hcledit.Block{folder.Blocks[:1], folder.Blocks} {
			got, err := hcledit.Remove(text, gone)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if !subsequence(got, text) {
				t.Errorf("%q became %q", text, got)
			}
			after, ok := texts(t, got)
			if !ok {
				t.Fatalf("%q became %q, which cannot be read", text, got)
			}
			for _, b := range gone {
				delete(before, "resource "+b.Type+" "+b.Name)
			}
			for name, b := range before {
				if after[name] != b {
					t.Errorf("%q became %q: %s changed", text, got, name)
				}
			}
			if len(after) != len(before) {
				t.Errorf("%q became %q", text, got)
			}
		}
	})
}

// Setting an attribute changes one block, and nothing in it but one stretch of bytes.
func FuzzSet(f *testing.F) {
	f.Add([]byte("resource \"jit_grant\" \"b\" {}"), "${a} \u202e\n\"%{")
	f.Add([]byte("x {}\nresource \"jit_grant\" \"b\" {\n\tttl = <<-E\n\tE\n}\n"), "1h")
	f.Add([]byte("resource \"jit_grant\" \"b\" {\n  ttl /* a */ = (\n1) # c\n}\n"), "\x00")
	f.Add([]byte("resource jit_grant b { target = { a = 1 } /* x */ }\r\n"), "")
	f.Fuzz(func(t *testing.T, text []byte, value string) {
		b := hcledit.Block{File: "a.tf", Type: "jit_grant", Name: "b"}
		before, ok := texts(t, text)
		if _, there := before["resource jit_grant b"]; !ok || !there {
			return
		}
		want := cty.StringVal(value)
		got, err := hcledit.Set(text, b, "ttl", want)
		if err != nil {
			t.Skip() // two blocks, or a text that HCL cannot hold
		}
		after, ok := texts(t, got)
		if !ok || len(after) != len(before) {
			t.Fatalf("%q became %q", text, got)
		}
		for name, b := range before {
			if name != "resource jit_grant b" && after[name] != b {
				t.Errorf("%q became %q: %s changed", text, got, name)
			}
		}
		again, err := hcledit.Set(got, b, "ttl", want)
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q became %q, then %q, %v", text, got, again, err)
		}
	})
}
