package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// verdict holds the arguments of jit approve and jit deny.
type verdict struct {
	choice jit.Choice
	// id is the grant in the ledger, plan the file of a plan; one of them is set.
	id, plan string
	// key, approver and dir are empty for the default.
	key, approver, dir string
	comment, validFor  string
	valid              time.Duration
	yes, print         bool
	// github and gitlab name a pull request whose reviews decide.
	github, gitlab string
}

const signingHelp = `
The key is --key FILE: a private key, or a public key whose private half is in the SSH agent. Without --key, the agent
must have exactly one key that can be yours. Keys of a FIDO token sign through the agent. The key counts if it is
one of the signing_keys of your jit_person.

You are --approver NAME, or else JIT_APPROVER, or else the attribute approver of jit.hcl: the name of your jit_person.`

func (p *program) approveCommand() *cobra.Command {
	v := verdict{choice: jit.Approve}
	var signOff bool
	cmd := p.verdictCommand(&cobra.Command{
		Use:   "approve {ID | --plan FILE}",
		Short: "Approve requests that need a person",
		Long: `Approve what a plan asks for, or one request in the ledger.

With --plan, jit reads the output of terraform show -json, shows each request, asks, and writes a signed
statement for each into the approvals folder: --dir, or else approvals_dir of jit.hcl, or else approvals. Commit the
files, and plan and apply again. This needs neither the ledger nor the targets. A request that is changed afterwards
needs a new approval.

With an ID, jit shows a request that waits in the ledger, asks, and records the signed statement in the ledger.
--sign-off signs off a grant that broke the glass.

With --github or --gitlab, the reviews of a pull request that is open or merged decide: those of its last commit, by
persons whose login name the ledger knows. jit records them for each request of the plan whose policy takes a
pull_request as evidence, and asks nobody. The token is GITHUB_TOKEN or GITLAB_TOKEN. Run it in CI, on the plan of that
commit: jit refuses the reviews of another one, where the CI system says which it is.

--print signs nothing: it writes the text into the approvals folder and prints the command that signs it.
` + signingHelp + "\n\n" + exitCodes,
		Example: `  terraform show -json tfplan > plan.json
  jit approve --plan plan.json --approver bob@example.com
  jit approve 3f2b8c1e --key ~/.ssh/id_ed25519
  jit approve --plan plan.json --github acme/access#12
  jit approve 3f2b8c1e --sign-off --comment "INC-4211: reviewed"`,
	}, &v, func() {
		if signOff {
			v.choice = jit.SignOff
		}
	})
	cmd.Flags().StringVar(&v.validFor, "valid-for", "24h", "how long the approval lets access begin, such as 24h")
	cmd.Flags().StringVar(&v.github, "github", "", "record the reviews of this pull request, `OWNER/REPO#N`")
	cmd.Flags().StringVar(&v.gitlab, "gitlab", "", "record the approvals of this merge request, `GROUP/PROJECT!N`")
	for _, name := range []string{"valid-for", "github", "gitlab"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	cmd.Flags().BoolVar(&signOff, "sign-off", false, "sign off a grant that broke the glass")
	return cmd
}

func (p *program) denyCommand() *cobra.Command {
	v := verdict{choice: jit.Deny, validFor: "24h"}
	return p.verdictCommand(&cobra.Command{
		Use:   "deny {ID | --plan FILE} --comment TEXT",
		Short: "Deny requests that need a person",
		Long: `Deny what a plan asks for, or one request in the ledger. One denial of a person who could approve wins over all
approvals of the same request. It is signed, written and recorded as an approval is: see jit approve --help.
` + signingHelp + "\n\n" + exitCodes,
		Example: `  jit deny 3f2b8c1e --comment "use the read replica"
  jit deny --plan plan.json --comment "not before the freeze is over"`,
	}, &v, func() {})
}

// verdictCommand completes a command that decides on requests. complete is called once the flags are read.
func (p *program) verdictCommand(cmd *cobra.Command, v *verdict, complete func()) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.ValidArgsFunction = p.completeIDs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		complete()
		if err := v.check(args, p.Interactive); err != nil {
			return usage(err)
		}
		if v.byReview() {
			return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error {
				return p.decideByReview(ctx, rt, *v)
			})
		}
		if v.plan != "" {
			return p.decidePlan(cmd.Context(), *v)
		}
		return p.withRuntime(cmd.Context(), jit.FromCLI, func(ctx context.Context, rt *config.Runtime) error {
			return p.decideRecorded(ctx, rt, *v)
		})
	}
	flags := cmd.Flags()
	flags.StringVar(&v.plan, "plan", "", "the `file` with the output of terraform show -json")
	flags.StringVar(&v.key, "key", "", "sign with the SSH key in this `file` (default: the SSH agent)")
	flags.StringVar(&v.approver, "approver", "", "your `name` as a jit_person (default "+config.EnvApprover+")")
	flags.StringVar(&v.dir, "dir", "", "the `folder` of the statements (default approvals_dir of jit.hcl, or else "+
		config.DefaultApprovalsDir+")")
	flags.StringVar(&v.comment, "comment", "", "what the record should say, on one line")
	flags.BoolVar(&v.yes, "yes", false, "do not ask")
	flags.BoolVar(&v.print, "print", false, "write the text to sign, and print how to sign it with ssh-keygen")
	for _, name := range []string{"approver", "comment"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return leaf(cmd)
}

// byReview reports whether the reviews of a pull request decide.
func (v *verdict) byReview() bool { return v.github+v.gitlab != "" }

// checkReview refuses flags that mean nothing where reviews decide.
func (v *verdict) checkReview() error {
	switch {
	case v.github != "" && v.gitlab != "":
		return jit.Invalid("--gitlab", "keep one of the two", "there are two pull requests, --github and --gitlab")
	case v.plan == "":
		return jit.Invalid("--plan", "add --plan plan.json", "a review decides on the requests of a plan")
	case v.key+v.approver+v.comment+v.dir != "" || v.print:
		return jit.Invalid("--github", "leave out --key, --approver, --comment, --dir and --print",
			"the reviewers decide, and nothing is signed")
	}
	return nil
}

// check refuses arguments without a clear subject of the decision. interactive reports whether a person can be asked.
func (v *verdict) check(args []string, interactive bool) error {
	review := func() error { return nil }
	if v.byReview() {
		review = v.checkReview
	}
	for _, check := range []func() error{
		func() error { return v.checkSubject(args) }, v.checkFlags,
		func() error { return v.checkQuestion(interactive) }, review, v.parseValidFor,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	prefixes, err := parsePrefixes(args)
	if len(prefixes) > 0 {
		v.id = prefixes[0]
	}
	return err
}

// checkSubject requires one id or a plan.
func (v *verdict) checkSubject(args []string) error {
	switch {
	case len(args) == 0 && v.plan == "":
		return jit.Invalid("ID", "give an id from `jit list --state requested`, or --plan plan.json",
			"nothing says what to decide")
	case len(args) > 0 && v.plan != "", len(args) > 1:
		return jit.Invalid("ID", "give one id, or --plan", "it is not clear what to decide")
	}
	return nil
}

// checkFlags refuses flags that contradict each other.
func (v *verdict) checkFlags() error {
	switch {
	case v.choice == jit.SignOff && (v.plan != "" || v.print):
		return jit.Invalid("--sign-off", "give the id that `jit list --unsigned` prints",
			"a grant is signed off in the ledger")
	case v.choice == jit.Deny && v.comment == "":
		return jit.Invalid("--comment", `say why, for example --comment "use the read replica"`, "a denial needs a comment")
	case v.dir != "" && v.plan == "" && !v.print:
		return jit.Invalid("--dir", "leave it out", "the decision on an id goes into the ledger, not into a folder")
	case v.print && v.key != "":
		return jit.Invalid("--key", "leave out --key or --print", "--print signs nothing")
	}
	return nil
}

// checkQuestion refuses to decide where nobody can be asked.
func (v *verdict) checkQuestion(interactive bool) error {
	if v.yes || v.print || interactive || v.byReview() {
		return nil
	}
	return jit.Invalid("--yes", "run it on a terminal, or read the request first and add --yes",
		"there is no terminal to ask on")
}

// parseValidFor reads how long the approval is valid.
func (v *verdict) parseValidFor() (err error) {
	v.valid, err = jit.ParseDuration("--valid-for", v.validFor)
	if err == nil && (v.valid < time.Second || v.valid > approval.MaxValidity) {
		err = jit.Invalid("--valid-for", "write for example 24h", "%q is not between 1s and %s", v.validFor,
			jit.FormatDuration(approval.MaxValidity))
	}
	return err
}

// statement returns the statement about a request, to be signed now.
func (p *program) statement(v verdict, digest string) (approval.Statement, error) {
	now := jit.Second(p.Now())
	s := approval.Statement{
		Choice: v.choice, Approver: v.approver, SignedAt: now, NotAfter: now.Add(v.valid.Truncate(time.Second)),
		Comment: v.comment, Digest: digest,
	}
	err := s.Check()
	var invalid *jit.Error
	if errors.As(err, &invalid) && (invalid.Attribute == "comment" || invalid.Attribute == "approver") {
		named := *invalid
		named.Attribute = "--" + invalid.Attribute
		return s, usage(&named)
	}
	return s, err
}

// complete fills in what the command line leaves to the environment and to jit.hcl: the name of the person who decides,
// and the folder of the statements.
func (p *program) complete(v verdict) (verdict, error) {
	v.approver = cmp.Or(v.approver, os.Getenv(config.EnvApprover))
	if v.approver != "" && v.dir != "" {
		return v, nil
	}
	s, err := config.LoadApprover(p.config)
	if err != nil {
		return v, err
	}
	v.approver, v.dir = cmp.Or(v.approver, s.Approver), cmp.Or(v.dir, s.ApprovalsDir)
	if v.approver == "" {
		err = usage(jit.Invalid("--approver", "add --approver NAME, set "+config.EnvApprover+
			", or write approver = \"bob@example.com\" into jit.hcl", "nothing says who you are: the name of your jit_person"))
	}
	return v, err
}
