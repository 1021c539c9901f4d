package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheNameDecides(t *testing.T) {
	for _, tt := range []struct {
		args        []string
		code        int
		out, stderr string
	}{
		{[]string{"/usr/local/bin/jit", "version"}, 0, "jit dev (go", ""},
		{[]string{"jit.exe", "version"}, 0, "jit dev (go", ""},
		{[]string{"renamed", "bogus"}, 3, "", "unknown command"},
		{[]string{"./terraform-provider-jit_v1.2.3"}, 1, "", "ln -s ./terraform-provider-jit_v1.2.3 jit"},
		{[]string{"terraform-provider-jit", "version"}, 1, "", "Terraform provider jitaccess/jit"},
		{[]string{"terraform-provider-jit.exe", "--bogus"}, 1, "", "Terraform provider jitaccess/jit"},
	} {
		var out, errs bytes.Buffer
		code := run(tt.args, false, strings.NewReader(""), &out, &errs)
		if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errs.String(), tt.stderr) {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q; want %d, %q, %q", tt.args, code, out.String(), errs.String(), tt.code, tt.out, tt.stderr)
		}
	}
}
