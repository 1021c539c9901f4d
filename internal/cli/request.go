package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/request"
)

// Exit codes of jit request alone. All errors but those of the command line are 1.
const (
	exitForbidden = 2
	exitWaits     = 4
)

// envRequester is the environment variable that names the person who asks.
const envRequester = "JIT_REQUESTER"

// ask holds the arguments of jit request.
type ask struct {
	request.Asked
	dir, format   string
	extend, renew string
	pr, dry       bool
	// settings is the file that --config names.
	settings string
	// given is what the command line says; the rest was found out.
	given request.Asked
	// asked: the person was asked for what the command line leaves out.
	asked bool
}

func (p *program) requestCommand() *cobra.Command {
	var a ask
	cmd := &cobra.Command{
		Use:   "request [TARGET ROLE [SCOPE]] --ttl 2h --reason TEXT",
		Short: "Ask for access: get the verdict, the file and the pull request",
		Long: `Ask for access. jit judges the request at once, as a plan would: by the policies in the ledger, and by those in
the configuration of the folder. It says whether the request is permitted, whose approval it needs, or why it is
refused. After a refusal it prints a command with the nearest form that passes, if there is one.

If the request is not refused, jit writes one new file for the grant, and prints the text and the commands of a pull
request. With --pr, jit makes the pull request, with git and with gh or glab. jit calls no target and writes nothing
into the ledger. Access begins when somebody applies the configuration.

You are --requester NAME, or else ` + envRequester + `, or else ` + config.EnvApprover + `, or else approver of jit.hcl:
the name of your jit_person. The access is for the principal that your jit_person has on the target. To ask for
somebody else, name the principal with --for.

--extend ID changes how long a live grant lasts. --renew ID asks again for a grant that is over. On a terminal, jit asks
for each argument that you leave out.

jit request ends with one of these exit codes:

  0    permitted, or granted already
  1    not done: something could not be read, judged, written or published
  2    refused; nothing was written
  3    the command line or the settings are wrong; nothing was written
  4    needs approval; the file is written
  130  interrupted`,
		Example: `  jit request
  jit request payments-db payments_read --ttl 2h --reason "INC-4211: fail over the primary"
  jit request bastion login --ttl 30m --reason "INC-4212: disk full" --pr
  jit request --extend 3f2b8c1e --ttl 4h
  jit request --renew 3f2b8c1e --pr
  jit request ls`,
		Args:              cobra.MaximumNArgs(3),
		ValidArgsFunction: p.completeRequest,
	}
	flags := cmd.Flags()
	for _, f := range []struct {
		into             *string
		name, def, about string
	}{
		{&a.TTL, "ttl", "", "how long, such as 90m, 2h or 1d12h"},
		{&a.ExpiresAt, "until", "", "until when, in RFC 3339, instead of --ttl"},
		{&a.Reason, "reason", "", "why"},
		{&a.Principal, "for", "", "the `principal` who gets the access (default: you)"},
		{&a.StartsAt, "starts-at", "", "begin at this time, in RFC 3339"},
		{&a.StartBy, "start-by", "", "refuse the grant if it has not begun by this time, in RFC 3339"},
		{&a.Requester, "requester", "", "your `name` as a jit_person (default " + envRequester + ")"},
		{&a.Policy, "policy", "", "the `name` of the policy that must permit it"},
		{&a.extend, "extend", "", "change how long the grant with this `id` lasts"},
		{&a.renew, "renew", "", "ask again for the grant with this `id`, which is over"},
		{&a.dir, "dir", ".", "the `folder` of the configuration"},
		{&a.format, "format", string(request.HCL), "hcl: a block in a file; tfvars: an entry for a block with for_each"},
	} {
		flags.StringVar(f.into, f.name, f.def, f.about)
		_ = cmd.RegisterFlagCompletionFunc(f.name, cobra.NoFileCompletions)
	}
	for _, name := range []string{"extend", "renew"} {
		_ = cmd.RegisterFlagCompletionFunc(name, p.completeIDs)
	}
	_ = cmd.RegisterFlagCompletionFunc(
		"dir",
		func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(
		[]string{string(request.HCL), string(request.TFVars)}, cobra.ShellCompDirectiveNoFileComp))
	flags.BoolVar(&a.BreakGlass, "break-glass", false, "begin without approval, where the policy permits that")
	flags.BoolVar(&a.TerminateSessions, "terminate-sessions", false, "also end open sessions at the end")
	flags.BoolVar(&a.pr, "pr", false, "make the pull request")
	flags.BoolVar(&a.dry, "dry-run", false, "write nothing")
	p.jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for i, into := range []*string{&a.Target, &a.Role, &a.Scope} {
			if i < len(args) {
				*into = args[i]
			}
		}
		a.Asked = a.Normal()
		a.given, a.settings = a.Asked, p.config
		return requestCode(cmd.Context(), p.atDesk(cmd.Context(), &a, func(ctx context.Context, d *request.Desk) error {
			return p.request(ctx, d, &a)
		}))
	}
	cmd.AddCommand(p.requestListCommand())
	return cmd
}

// requestCode gives the errors of jit request their exit codes.
func requestCode(ctx context.Context, err error) error {
	var own codeError
	switch {
	case err == nil, errors.As(err, &own), ctx.Err() != nil, errors.Is(err, jit.ErrInvalid):
		return err
	}
	return notDone(err)
}

const firstSettings = `write for example:

  owner   = "payments"
  targets = {
    bastion = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
  }
`

const firstPolicy = `
A policy says who may be granted what. With this one, bob approves; ana is you. Apply it before the grant:

  resource "jit_policy" "bastion" {
    name     = "bastion"
    match    = [{ targets = ["bastion"] }]
    max_ttl  = "8h"
    approval = [{ required = 1, from = ["bob"] }]
  }

  resource "jit_person" "bob" {
    name         = "bob"
    signing_keys = ["ssh-ed25519 AAAA…"]
  }

  resource "jit_person" "ana" {
    name       = "ana"
    principals = ["ssh-ed25519 AAAA…"]
  }

`

// atDesk opens the desk for the folder of the arguments, and completes who asks.
func (p *program) atDesk(ctx context.Context, a *ask, do func(context.Context, *request.Desk) error) error {
	if p.timeout <= 0 {
		return usage(
			jit.Invalid("--timeout", "write for example --timeout 15m", "%s is not a positive duration", p.timeout),
		)
	}
	if err := a.check(); err != nil {
		return usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	path := p.settingsFile()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(p.err, "%s says which targets there are, and whose grants these are; %s", path, firstSettings)
		return jit.Invalid(
			"config",
			"write one, or name one with --config or "+config.EnvFile,
			"there is no file %s",
			path,
		)
	}
	s, err := config.LoadProvider(path)
	if err != nil {
		return err
	}
	me, err := config.LoadApprover(path)
	if err != nil {
		return err
	}
	var silence broker.Silence
	wrap := func(name string, inner jit.Platform) jit.Platform {
		if p.Wrap != nil {
			inner = p.Wrap(name, inner)
		}
		return silence.Wrap(name, inner)
	}
	rt, err := config.Open(
		ctx,
		s,
		config.Options{Now: p.Now, Source: jit.FromCLI, Run: rand.Text(), Wrap: wrap, Warn: p.warn,
			UserAgent: p.userAgent()},
	)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }()
	d := &request.Desk{Broker: rt.Broker, Silence: &silence, Dir: a.dir}
	if err := d.Open(ctx); err != nil {
		return err
	}
	notes, err := checkProvider(d.Folder(), s, a.dir)
	if err != nil {
		return err
	}
	d.Notes = append(d.Notes, notes...)
	d.SetRequester(&a.Asked, cmp.Or(os.Getenv(envRequester), os.Getenv(config.EnvApprover), me.Approver))
	return do(ctx, d)
}

// settingsFile returns the path of the settings file.
func (p *program) settingsFile() string {
	return cmp.Or(p.config, os.Getenv(config.EnvFile), config.DefaultFile)
}

// check refuses arguments that contradict each other.
func (a *ask) check() error {
	id := a.extend + a.renew
	switch {
	case a.extend != "" && a.renew != "":
		return jit.Invalid("--renew", "keep one of the two", "there are two ids, --extend and --renew")
	case a.TTL != "" && a.ExpiresAt != "":
		return jit.Invalid("--until", "keep one of the two", "there are two ends, --ttl and --until")
	case id != "" && a.given != request.Asked{TTL: a.TTL, ExpiresAt: a.ExpiresAt}:
		flag := "--extend"
		if a.renew != "" {
			flag = "--renew"
		}
		return jit.Invalid(flag, "keep the id and --ttl or --until", "the grant keeps everything but its length")
	case a.extend != "" && a.TTL+a.ExpiresAt == "":
		return jit.Invalid("--ttl", "add for example --ttl 4h, counted from the beginning of the access",
			"the new length is missing")
	case a.format != string(request.HCL) && a.format != string(request.TFVars):
		return invalidChoice("--format", a.format, []string{string(request.HCL), string(request.TFVars)})
	}
	prefixes, err := parsePrefixes(strings.Fields(id))
	if len(prefixes) == 1 && a.extend != "" {
		a.extend = prefixes[0]
	} else if len(prefixes) == 1 {
		a.renew = prefixes[0]
	}
	return err
}

// request judges what is asked, says so, and writes it.
func (p *program) request(ctx context.Context, d *request.Desk, a *ask) (err error) {
	r := &requested{kind: request.New}
	switch length := (request.Length{TTL: a.TTL, ExpiresAt: a.ExpiresAt}); {
	case a.extend != "":
		r.kind = request.Longer
		r.Verdict, r.edit, err = d.Extend(ctx, a.extend, length)
	case a.renew != "":
		r.kind = request.Again
		r.Verdict, r.edit, err = d.Renew(ctx, a.renew, length)
	default:
		if err = p.completeAsk(ctx, d, a, r); err == nil {
			r.Verdict, err = d.Judge(ctx, a.Asked)
		}
	}
	if err != nil {
		return usage(err)
	}
	return p.carryOut(ctx, d, a, r)
}

// completeAsk fills in what the command line leaves out: on a terminal from the person, else it is an error.
func (p *program) completeAsk(ctx context.Context, d *request.Desk, a *ask, r *requested) (err error) {
	if missing := a.missing(); len(missing) > 0 {
		if !p.Interactive || p.json {
			return jit.Invalid(
				missing[0],
				"write for example: jit request TARGET ROLE --ttl 2h --reason \"INC-4211: …\"",
				"the command line lacks %s",
				strings.Join(missing, ", "),
			)
		}
		if err := p.askFor(ctx, d, a); err != nil {
			return err
		}
		a.asked = true
	}
	if targets := d.Targets(); !slices.Contains(targets, a.Target) {
		return invalidChoice("TARGET", a.Target, targets)
	}
	home, _ := os.UserHomeDir()
	var said string
	if a.Asked, said, err = d.Who(a.Asked, home); err != nil {
		return renamed(err)
	}
	a.Asked = a.Normal()
	if said != "" {
		r.Notes = append(r.Notes, said)
	}
	if _, err := a.Request(); err != nil {
		return renamed(err)
	}
	return nil
}

// missing names the arguments that a new request needs and the command line leaves out.
func (a *ask) missing() (names []string) {
	for _, needed := range []struct{ name, text string }{
		{"TARGET", a.Target}, {"ROLE", a.Role}, {"--ttl", a.TTL + a.ExpiresAt}, {"--reason", a.Reason},
	} {
		if needed.text == "" {
			names = append(names, needed.name)
		}
	}
	return names
}

// renamed gives an error about an attribute the name of its argument.
func renamed(err error) error {
	wrong := (*jit.Error)(nil)
	if !errors.As(err, &wrong) {
		return err
	}
	named := *wrong
	named.Attribute = cmp.Or(request.Argument(wrong.Attribute), wrong.Attribute)
	return &named
}

// completeRequest offers targets, and the roles and scopes that policies name.
func (p *program) completeRequest(
	cmd *cobra.Command, args []string, _ string,
) (offers []cobra.Completion, _ cobra.ShellCompDirective) {
	a := ask{dir: ".", format: string(request.HCL)}
	_ = p.atDesk(cmd.Context(), &a, func(_ context.Context, d *request.Desk) error {
		switch len(args) {
		case 0:
			offers = d.Targets()
		case 1:
			offers = d.Roles(args[0])
		case 2:
			offers = d.Scopes(args[0])
		}
		return nil
	})
	return offers, cobra.ShellCompDirectiveNoFileComp
}
