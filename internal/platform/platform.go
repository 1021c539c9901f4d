// Package platform lists the platforms and opens targets.
package platform

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	awsiam "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_iam"
	awsidentitycenter "github.com/jitaccess/terraform-provider-jit/internal/platform/aws_identity_center"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/azure"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/gcp"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/hoop"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/kubernetes"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/postgresql"
	"github.com/jitaccess/terraform-provider-jit/internal/platform/ssh"
)

// Config is one target as the user wrote it: exactly one platform is set.
type Config struct {
	SSH               *ssh.Config               `tfsdk:"ssh" json:"ssh"`
	PostgreSQL        *postgresql.Config        `tfsdk:"postgresql" json:"postgresql"`
	Kubernetes        *kubernetes.Config        `tfsdk:"kubernetes" json:"kubernetes"`
	AWSIAM            *awsiam.Config            `tfsdk:"aws_iam" json:"aws_iam"`
	AWSIdentityCenter *awsidentitycenter.Config `tfsdk:"aws_identity_center" json:"aws_identity_center"`
	Azure             *azure.Config             `tfsdk:"azure" json:"azure"`
	GCP               *gcp.Config               `tfsdk:"gcp" json:"gcp"`
	Hoop              *hoop.Config              `tfsdk:"hoop" json:"hoop"`
}

// list holds one line for each platform, in the order of their names.
var list = []entry{
	of("aws_iam", func(c Config) *awsiam.Config { return c.AWSIAM }, awsiam.New),
	claiming(of("aws_identity_center",
		func(c Config) *awsidentitycenter.Config { return c.AWSIdentityCenter }, awsidentitycenter.New)),
	of("azure", func(c Config) *azure.Config { return c.Azure }, azure.New),
	claiming(of("gcp", func(c Config) *gcp.Config { return c.GCP }, gcp.New)),
	local(of("hoop", func(c Config) *hoop.Config { return c.Hoop }, hoop.New)),
	of("kubernetes", func(c Config) *kubernetes.Config { return c.Kubernetes }, kubernetes.New),
	local(of("postgresql", func(c Config) *postgresql.Config { return c.PostgreSQL }, postgresql.New)),
	of("ssh", func(c Config) *ssh.Config { return c.SSH }, ssh.New),
}

type entry struct {
	kind string
	// claims: some bindings bear no marker, so only [jit.Claims] distinguishes ours.
	claims bool
	// local: settings also come from the environment and the files of the machine that opens it.
	local bool
	set   func(Config) bool
	open  func(Config, jit.Services) (jit.Platform, error)
}

// of ties a platform's name to its part of [Config] and to its constructor.
func of[C any, P jit.Platform](kind string, part func(Config) *C, open func(C, jit.Services) (P, error)) entry {
	return entry{
		kind: kind,
		set:  func(c Config) bool { return part(c) != nil },
		open: func(c Config, s jit.Services) (jit.Platform, error) {
			p, err := open(*part(c), s)
			if err != nil {
				return nil, err // not p: a nil *T in the interface would not be nil
			}
			return p, nil
		},
	}
}

func claiming(e entry) entry {
	e.claims = true
	return e
}

func local(e entry) entry {
	e.local = true
	return e
}

// Claims reports whether a platform has bindings of ours that only the ledger distinguishes from others.
func Claims(kind string) bool {
	return slices.ContainsFunc(list, func(e entry) bool { return e.kind == kind && e.claims })
}

// Kinds returns the names of all platforms in their order.
func Kinds() []string { return kindsOf(list) }

func kindsOf(entries []entry) []string {
	kinds := make([]string, len(entries))
	for i, e := range entries {
		kinds[i] = e.kind
	}
	return kinds
}

var targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Open opens the target called name without a call. Texts of its server are safe to show: see [jit.Told]. Errors name the attribute in full:
// targets["bastion"].ssh.authorized_keys.
func Open(name string, cfg Config, s jit.Services) (jit.Platform, error) {
	e, err := chosen(name, cfg)
	if err != nil {
		return nil, err
	}
	return e.opened(name, cfg, s)
}

// Check returns the error of [Open], if every machine would get it.
func Check(name string, cfg Config) error {
	e, err := chosen(name, cfg)
	if err != nil || e.local {
		return err
	}
	_, err = e.opened(name, cfg, jit.Services{Now: time.Now})
	return err
}

// chosen returns the platform of the target.
func chosen(name string, cfg Config) (entry, error) {
	if !targetName.MatchString(name) {
		return entry{}, jit.Invalid("targets", `name it for example prod-cluster`, "%q is not a name for a target; it takes "+
			"1 to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or digit", name)
	}
	given := slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return !e.set(cfg) })
	if len(given) != 1 {
		return entry{}, wrongNumber(attributeOf(name), name, given)
	}
	return given[0], nil
}

// attributeOf returns the attribute of a target.
func attributeOf(name string) string { return fmt.Sprintf("targets[%q]", name) }

// opened opens the target of the platform.
func (e entry) opened(name string, cfg Config, s jit.Services) (jit.Platform, error) {
	if warn := s.Warn; warn != nil {
		s.Warn = func(text string) { warn(jit.Said(text)) }
	}
	p, err := e.open(cfg, s)
	if err != nil {
		return nil, jit.Told(within(attributeOf(name)+"."+e.kind, err))
	}
	return safe(p), nil
}

// wrongNumber is the error for a target with no platform, or with several.
func wrongNumber(attribute, name string, given []entry) error {
	what := "has no platform"
	if len(given) > 0 {
		what = "has " + strings.Join(kindsOf(given), " and ")
	}
	hint := fmt.Sprintf("write for example %s = { ssh = { … } }, and another target for another platform", name)
	return jit.Invalid(attribute, hint, "the target %q %s; a target is exactly one of %s",
		name, what, strings.Join(Kinds(), ", "))
}

// within prefixes the attribute of an error with the attribute that contains it.
func within(attribute string, err error) error {
	var user *jit.Error
	if !errors.As(err, &user) {
		return &jit.Error{Attribute: attribute, Problem: err.Error(), Err: err}
	}
	located := *user
	located.Attribute = attribute
	if user.Attribute != "" {
		located.Attribute += "." + user.Attribute
	}
	return &located
}
