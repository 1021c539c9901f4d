package review

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// A longer max_ttl is seen wherever the CLI reads it from, and what this program cannot follow is a doubt.
func TestSettingsCannotHide(t *testing.T) {
	const short, long = `max_ttl = "4h"`, `max_ttl = "90d"`
	block := func(line string) string { return "provider \"jit\" {\n  " + line + "\n}\n" }
	variable := func(value string) string { return "variable \"m\" {\n  default = \"" + value + "\"\n}\n" }
	config := block(`config = "conf/jit.hcl"`)
	const grows = "max_ttl is changed from 4h to 90d"
	for name, tc := range map[string]struct {
		base, head map[string]string
		says       string
	}{
		"a file for OpenTofu alone": {map[string]string{"main.tf": block(short)},
			map[string]string{"main.tf": block(long), "z.tofu": block(short)}, "Terraform ignores"},
		"a hidden file": {map[string]string{"main.tf": block(short)},
			map[string]string{"main.tf": block(long), ".z_override.tf": block(short)}, grows},
		"a dot in the name of an override": {map[string]string{"main.tf": block(short), "z.tf": ""},
			map[string]string{"main.tf": block(short), "a.b_override.tf": block(long)}, grows},
		"the file of config": {map[string]string{"main.tf": config, "conf/jit.hcl": short},
			map[string]string{"main.tf": config, "conf/jit.hcl": long}, grows},
		"the file of config, by path.module": {
			map[string]string{"main.tf": block(`config = "${path.module}/conf/jit.hcl"`), "conf/jit.hcl": short},
			map[string]string{"main.tf": block(`config = "${path.module}/conf/jit.hcl"`), "conf/jit.hcl": long}, grows},
		"a file of config with the name of a block": {
			map[string]string{"main.tf": block(short + "\nconfig = \"provider.jit\""), "provider.jit": short},
			map[string]string{"main.tf": block(long + "\nconfig = \"provider.jit\""), "provider.jit": short}, grows},
		"a config that is no literal": {map[string]string{"main.tf": block("config = var.m")},
			map[string]string{"main.tf": block("config = var.m")}, "config of provider.jit: the file cannot be read"},
		"a default": {map[string]string{"main.tf": block("max_ttl = var.m") + variable("4h")},
			map[string]string{"main.tf": block("max_ttl = var.m") + variable("90d")}, "its value may be another one"},
		"a value of a variable": {map[string]string{"main.tf": block("max_ttl = var.m"), "x.auto.tfvars": `m = "4h"`},
			map[string]string{"main.tf": block("max_ttl = var.m"), "x.auto.tfvars": `m = "90d"`}, "may be another one"},
		"a local": {map[string]string{"main.tf": block("max_ttl = local.m"), "l.tf": "locals {\n  m = \"4h\"\n}\n"},
			map[string]string{"main.tf": block("max_ttl = local.m"), "l.tf": "locals {\n  m = \"90d\"\n}\n"},
			"may be another one"},
		"the same variable": {map[string]string{"main.tf": block("max_ttl = var.m") + variable("4h")},
			map[string]string{"main.tf": block("max_ttl = var.m") + variable("4h")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{Options: Options{Head: t.TempDir(), Base: t.TempDir()}, plan: &plan.Plan{}}
			for dir, files := range map[string]map[string]string{j.Head: tc.head, j.Base: tc.base} {
				for file, text := range files {
					path := filepath.Join(dir, file)
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			j.compareSettings()
			j.conclude()
			told := fmt.Sprint(j.report.Rules, j.report.Doubts)
			if tc.says == "" != (j.report.Outcome == Nothing) || !strings.Contains(told, tc.says) {
				t.Errorf("%s: %s, want %q", j.report.Outcome, told, tc.says)
			}
		})
	}
}

// Only the blocks of the root module are compared; in CI, so must they be.
func TestSettingsThatAreNotCompared(t *testing.T) {
	const text = `{"provider_config":{"jit":{"full_name":"registry.terraform.io/jitaccess/jit"},
		"module.m:jit":{"full_name":"registry.terraform.io/jitaccess/jit","module_address":"module.m"},
		"module.o:aws":{"full_name":"registry.terraform.io/hashicorp/aws","module_address":"module.o"}}}`
	for name, tc := range map[string]struct {
		options Options
		says    string
	}{
		"in a module": {Options{Head: t.TempDir(), Base: t.TempDir()}, "[module.m: the settings of the provider in a module"},
		"in CI":       {Options{CI: true}, "--base"},
		"by hand":     {Options{}, ""},
	} {
		j := &judge{Options: tc.options, plan: &plan.Plan{Configuration: []byte(text)}}
		j.compareSettings()
		j.conclude()
		told := fmt.Sprint(j.report.Doubts)
		if tc.says == "" != (j.report.Outcome == Nothing) || !strings.Contains(told, tc.says) {
			t.Errorf("%s: %s", name, told)
		}
	}
}
