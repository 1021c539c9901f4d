package hcledit_test

import (
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
)

func grant(name string) hcledit.Block {
	return hcledit.Block{File: "a.tf", Type: "jit_grant", Name: name}
}

func TestRemove(t *testing.T) {
	const b = "resource \"jit_grant\" \"b\" {\n  role = \"x\"\n}\n"
	for name, tc := range map[string]struct{ before, after string }{
		"alone":                         {b, ""},
		"without a line end":            {strings.TrimSpace(b), ""},
		"one line":                      {"resource \"jit_grant\" \"b\" {}", ""},
		"between":                       {"x {}\n\n" + b + "\ny {}\n", "x {}\n\ny {}\n"},
		"no empty lines":                {"x {}\n" + b + "y {}\n", "x {}\ny {}\n"},
		"an empty line after":           {"x {}\n" + b + "\ny {}\n", "x {}\n\ny {}\n"},
		"an empty line before":          {"x {}\n\n" + b + "y {}\n", "x {}\n\ny {}\n"},
		"two empty lines after":         {"x {}\n\n" + b + "\n\ny {}\n", "x {}\n\n\ny {}\n"},
		"first":                         {b + "\ny {}\n", "y {}\n"},
		"last":                          {"x {}\n\n" + b, "x {}\n"},
		"last, without a line end":      {"x {}\n\n" + strings.TrimSpace(b), "x {}\n"},
		"last, then empty lines":        {"x {}\n\n" + b + "\n", "x {}\n"},
		"a comment above":               {"x {}\n\n# b\n" + b + "\ny {}\n", "x {}\n\ny {}\n"},
		"comments above":                {"x {}\n\n// b\n# c\n/* d */\n" + b + "\ny {}\n", "x {}\n\ny {}\n"},
		"a comment farther above":       {"# file\n\n" + b + "\ny {}\n", "# file\n\ny {}\n"},
		"a comment of the block before": {"x {} # x\n" + b + "y {}\n", "x {} # x\ny {}\n"},
		"a long comment of the block before": {"x {} /* x\n x */\n" + b + "y {}\n",
			"x {} /* x\n x */\ny {}\n"},
		"a long comment above": {"x {}\n/* b\n\n b */\n" + b + "y {}\n", "x {}\ny {}\n"},
		"a comment on its line": {"x {}\n/* b\n */ /* c */ " + strings.TrimSpace(b) + " # b\ny {}\n",
			"x {}\ny {}\n"},
		"a long comment after":   {strings.TrimSpace(b) + " /* b\n b */\n# y\ny {}\n", "# y\ny {}\n"},
		"a comment below":        {b + "# y\ny {}\n", "# y\ny {}\n"},
		"CRLF":                   {"x {}\r\n\r\n" + strings.ReplaceAll(b, "\n", "\r\n") + "\r\ny {}\r\n", "x {}\r\n\r\ny {}\r\n"},
		"CRLF and a comment":     {"x {}\r\n\r\n# b\r\n" + strings.ReplaceAll(b, "\n", "\r\n") + "\r\ny {}", "x {}\r\n\r\ny {}"},
		"a byte order mark":      {"\xef\xbb\xbf" + b + "\ny {}\n", "\xef\xbb\xbfy {}\n"},
		"mark, comment and tabs": {"\xef\xbb\xbf\t# b\n\t" + b + "\n\ty {}\n", "\xef\xbb\xbf\t# b\n\n\ty {}\n"},
		"a header":               {"# a\n# b\n" + b + "\ny {}\n", "# a\n# b\n\ny {}\n"},
		"a header and a comment": {"# a\n" + b + "\n# b\n", "# a\n\n# b\n"},
		"only a header":          {"# a\n/* b */\n" + b, ""},
		"a heredoc": {"x {\n  a = <<-E\n  # no comment\n  E\n}\n" +
			"resource \"jit_grant\" \"b\" {\n  a = <<E\n}\nresource \"jit_grant\" \"b\" {}\nE\n}\ny {}\n",
			"x {\n  a = <<-E\n  # no comment\n  E\n}\ny {}\n"},
		"a Windows path":     {"x {\n  a = \"C:\\\\x\\\\\"\n}\n" + b, "x {\n  a = \"C:\\\\x\\\\\"\n}\n"},
		"spaces at the end":  {"x {}\n" + b + "  \t", "x {}\n  \t"},
		"a line of spaces":   {"x {}\n \t\n" + b + "\t\ny {}\n", "x {}\n \t\ny {}\n"},
		"braces in comments": {"x {}\n" + "resource \"jit_grant\" \"b\" { # }\n}\ny {}\n", "x {}\ny {}\n"},
		"unquoted":           {"resource jit_grant b {}\ny {}\n", "y {}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hcledit.Remove([]byte(tc.before), []hcledit.Block{grant("b")})
			if err != nil || string(got) != tc.after {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.after)
			}
		})
	}
}

func TestRemoveSeveral(t *testing.T) {
	block := func(name string) string { return "# " + name + "\nresource \"jit_grant\" \"" + name + "\" {}\n" }
	for name, tc := range map[string]struct{ before, after string }{
		"with empty lines": {"x {}\n\n" + block("a") + "\n" + block("b") + "\n" + block("c") + "\ny {}\n",
			"x {}\n\n" + block("b") + "\ny {}\n"},
		"all":                 {block("a") + "\n" + block("c"), ""},
		"beside each other":   {"x {}\n\n" + block("c") + block("a") + "\ny {}\n", "x {}\n\ny {}\n"},
		"the last ones":       {"x {}\n\n" + block("c") + "\n" + block("a"), "x {}\n"},
		"without empty lines": {"x {}\n" + block("a") + block("b") + block("c") + "y {}\n", "x {}\n" + block("b") + "y {}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := hcledit.Remove([]byte(tc.before), []hcledit.Block{grant("c"), grant("a")})
			if err != nil || string(got) != tc.after {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.after)
			}
		})
	}
}

func TestRemoveRefuses(t *testing.T) {
	const b = "resource \"jit_grant\" \"b\" {}\n"
	for name, text := range map[string]string{
		"no such block": "resource \"jit_grant\" \"c\" {}\n", "two": b + b, "a syntax error": b + "x {",
		"a data source": "data \"jit_grant\" \"b\" {}\n", "two on one line": strings.TrimSpace(b) + " x {}\n",
	} {
		if got, err := hcledit.Remove([]byte(text), []hcledit.Block{grant("b")}); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
	if got, err := hcledit.Remove([]byte(b+"x {}\n"), []hcledit.Block{grant("b"), grant("b")}); err == nil {
		t.Errorf("a block twice: got %q, want an error", got)
	}
}

func TestSet(t *testing.T) {
	text, number := cty.StringVal("2h"), cty.NumberIntVal(2)
	block := func(body string) string { return "x {}\nresource \"jit_grant\" \"b\" {" + body + "}\ny {}" }
	for name, tc := range map[string]struct {
		before, after string
		value         cty.Value
	}{
		"a value":             {"\n  ttl = \"1h\"\n", "\n  ttl = \"2h\"\n", text},
		"a comment after":     {"\n  ttl = \"1h\" # why\n", "\n  ttl = \"2h\" # why\n", text},
		"comments around":     {"\n  ttl = /* a */ \"1h\" /* b\n */\n", "\n  ttl = /* a */ \"2h\" /* b\n */\n", text},
		"another attribute":   {"\n  ttl = \"1h\"\n  a = 1\n", "\n  ttl = 2\n  a = 1\n", number},
		"one line":            {" ttl = \"1h\" ", " ttl = \"2h\" ", text},
		"one tight line":      {"ttl=1", "ttl=\"2h\"", text},
		"an expression":       {"\n\tttl = var.a[0] ? (1\n) : \"${var.b}h\"\n", "\n\tttl = \"2h\"\n", text},
		"parentheses":         {"\n  ttl = (1) + (\n  2\n)\n", "\n  ttl = \"2h\"\n", text},
		"a heredoc":           {"\n  ttl = <<E\n1h\nE\n  a = 1\n", "\n  ttl = \"2h\"\n  a = 1\n", text},
		"an indented heredoc": {"\n  ttl = <<-E\n    1h\n  E\n", "\n  ttl = \"2h\"\n", text},
		"new":                 {"\n  a = 1\n", "\n  a = 1\n  ttl = \"2h\"\n", text},
		"new, aligned":        {"\n  target = 1\n", "\n  target = 1\n  ttl    = \"2h\"\n", text},
		"new, with tabs":      {"\n\ta = 1 # a\n\tb {\n\t}\n", "\n\ta = 1 # a\n\tttl = \"2h\"\n\tb {\n\t}\n", text},
		"new, after a long comment": {"\n  a = 1 /* a\n a */\n", "\n  a = 1 /* a\n a */\n  ttl = \"2h\"\n",
			text},
		"new, after a heredoc":   {"\n  a = <<E\nx\nE\n", "\n  a = <<E\nx\nE\n  ttl = \"2h\"\n", text},
		"new, only a comment":    {" # a\n", " # a\n  ttl = \"2h\"\n", text},
		"new, only a block":      {"\n  b {}\n", "\n  ttl = \"2h\"\n  b {}\n", text},
		"new, empty":             {"", "\n  ttl = \"2h\"\n", text},
		"new, on one line":       {" a = 1 ", "\n  a = 1\n  ttl = \"2h\"\n", text},
		"new, comment on a line": {" a = 1 /* b */ ", "\n  a = 1 /* b */\n  ttl = \"2h\"\n", text},
		"new, CRLF":              {"\r\n  a = 1\r\n", "\r\n  a = 1\r\n  ttl = \"2h\"\r\n", text},
		"hostile":                {"\n  ttl = 1\n", "\n  ttl = \"$${a} %%{b} \\\" \\n\"\n", cty.StringVal("${a} %{b} \" \n")},
		"null":                   {"\n  ttl = 1\n", "\n  ttl = null\n", cty.NullVal(cty.DynamicPseudoType)},
		"a list":                 {"\n  ttl = 1\n", "\n  ttl = [\"a\"]\n", cty.TupleVal([]cty.Value{cty.StringVal("a")})},
		"an object": {"\n  ttl = 1\n", "\n  ttl = {\n    a = true\n  }\n",
			cty.ObjectVal(map[string]cty.Value{"a": cty.True})},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := block(tc.before), block(tc.after)
			if strings.Contains(tc.before, "\r\n") {
				before, after = strings.Replace(before, "x {}\n", "x {}\r\n", 1), strings.Replace(after, "x {}\n", "x {}\r\n", 1)
			}
			for _, mark := range []string{"", "\xef\xbb\xbf"} {
				got, err := hcledit.Set([]byte(mark+before), grant("b"), "ttl", tc.value)
				if err != nil || string(got) != mark+after {
					t.Errorf("got %q, %v\nwant %q", got, err, mark+after)
				}
			}
		})
	}
}
