package platform

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/ssh"
)

func TestOpenRefusesWhatIsNotExactlyOnePlatform(t *testing.T) {
	for _, tt := range []struct {
		name, target string
		cfg          Config
		attribute    string
		says         []string
	}{
		{"none", "bastion", Config{}, `targets["bastion"]`, []string{`"bastion"`, "no platform",
			"aws_iam, aws_identity_center, azure, gcp, hoop, kubernetes, postgresql, ssh"}},
		{"two", "bastion", Config{SSH: &ssh.Config{}, PostgreSQL: &postgresql.Config{}}, `targets["bastion"]`,
			[]string{`"bastion"`, "postgresql and ssh"}},
		{"an unusable part", "bastion", Config{SSH: &ssh.Config{}}, `targets["bastion"].ssh`, []string{"ssh"}},
		{"a bad name", "-x y", Config{SSH: &ssh.Config{}}, "targets", []string{`"-x y"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Open(tt.target, tt.cfg, jit.Services{Now: time.Now})
			var user *jit.Error
			if !errors.As(err, &user) || !errors.Is(err, jit.ErrInvalid) {
				t.Fatalf("Open() = %v, %v; want a *jit.Error of the kind ErrInvalid", p, err)
			}
			if p != nil {
				t.Errorf("Open() returned the platform %v beside an error", p)
			}
			if !strings.HasPrefix(user.Attribute, tt.attribute) {
				t.Errorf("attribute %q, want %q", user.Attribute, tt.attribute)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
		})
	}
}

// Every platform's folder is in the list, under one name in Terraform, in jit.hcl and in the
// platform's own words.
func TestListIsComplete(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, e := range entries {
		if e.IsDir() && !slices.Contains([]string{"claims", "platformtest", "testdata"}, e.Name()) {
			folders = append(folders, e.Name())
		}
	}
	if !slices.Equal(folders, Kinds()) {
		t.Errorf("folders %v, list %v", folders, Kinds())
	}
	c := reflect.TypeFor[Config]()
	var fields []string
	for i := range c.NumField() {
		f := c.Field(i)
		if f.Tag.Get("tfsdk") != f.Tag.Get("json") {
			t.Errorf("%s has two names: %s", f.Name, f.Tag)
		}
		fields = append(fields, f.Tag.Get("json"))
		for _, field := range reflect.VisibleFields(f.Type.Elem()) {
			if tag := field.Tag; !field.Anonymous && (tag.Get("tfsdk") == "" || tag.Get("tfsdk") != tag.Get("json")) {
				t.Errorf("%s.%s needs one name in tfsdk and json, has %q", f.Name, field.Name, tag)
			}
		}
	}
	slices.Sort(fields)
	if !slices.Equal(fields, Kinds()) {
		t.Errorf("fields of Config %v, list %v", fields, Kinds())
	}
}

func TestOpenMakesNoCall(t *testing.T) {
	p, err := Open("bastion", Config{SSH: &ssh.Config{AuthorizedKeys: t.TempDir() + "/missing/authorized_keys"}},
		jit.Services{Now: time.Now})
	if err != nil {
		t.Fatalf("Open() of a target that is not there: %v", err)
	}
	if p.Kind() != "ssh" {
		t.Errorf("Kind() = %q, want ssh", p.Kind())
	}
}
