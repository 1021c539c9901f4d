// Package cli is the command jit: what is granted, to whom and until when; ending
// it early; sweeping; and the record.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The exit codes, explained to users by exitCodes.
const (
	exitDone        = 0
	exitNotDone     = 1
	exitUnreadable  = 2
	exitUsage       = 3
	exitInterrupted = 130
)

const exitCodes = `Every command of jit ends with one of these exit codes:

  0    done; nothing is left to do
  1    not done: something could not be revoked or recorded, or was not confirmed, the record is not intact, or there is standing access
  2    could not read: the ledger or a target did not answer; or the address to listen on was not to be had
  3    the command line or the settings are wrong; nothing was called or changed
  130  interrupted`

// Options are what the caller of [Run] decides. The zero value is usable.
type Options struct {
	// Now is the clock; nil is the clock of this machine.
	Now func() time.Time
	// Version is what "jit version" prints.
	Version string
	// Terminal: stdout is a terminal, so that colours may be used.
	Terminal bool
	// Wrap, when not nil, goes around each platform.
	Wrap func(name string, p jit.Platform) jit.Platform
}

// Run executes one command line, without the program's name, and returns its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, o Options) int {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &program{in: stdin, out: stdout, err: &screen{Writer: stderr}, Options: o}
	if o.Terminal {
		p.out = &screen{Writer: stdout}
	}
	root := p.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(p.out)
	root.SetErr(p.err)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return exitDone
	case !p.started:
		fmt.Fprintf(p.err, "error: %s\nSee %s --help.\n", indented(err.Error()), cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(p.err, "error: %s\n", indented(err.Error()))
	return code(ctx, err)
}

// program is one run of the command line.
type program struct {
	Options
	in       io.Reader
	out, err io.Writer

	config  string // the settings file asked for
	timeout time.Duration
	json    bool
	// started: the command line was understood; errors from here on are not about its form.
	started bool

	telling sync.Mutex // of warn
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "jit",
		Short: "Temporary access: what is granted, until when, and the end of it",
		Long: `jit works beside the Terraform provider on the same ledger and the same targets: it
lists temporary access, ends it early, removes what is over and checks the record.

The settings are read from jit.hcl in the working directory, or from the file that --config or
JIT_CONFIG names. It takes the attributes of the provider block:

  ledger  = "postgres://jit@db.example.com/jit"
  owner   = "payments"
  targets = {
    bastion     = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
    payments-db = { postgresql = { url = env("ADMIN_URL") } }
  }

env("NAME") is the value of an environment variable. Without ledger, JIT_LEDGER counts, then
` + config.DefaultLedger + `. Who acts is recorded from the CI system or the user of this machine;
JIT_ACTOR and JIT_CHANGE say otherwise.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			p.started = true
		},
	}
	root.PersistentFlags().StringVar(&p.config, "config", "", "settings `file` (default "+config.DefaultFile+", or what "+config.EnvFile+" names)")
	root.PersistentFlags().DurationVar(&p.timeout, "timeout", 15*time.Minute, "give up after this time; what has not been reached then fails")
	_ = root.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		p.listCommand(), p.showCommand(), p.revokeCommand(), p.sweepCommand(), p.scanCommand(), p.adoptCommand(), p.reportCommand(), p.notifyCommand(), p.auditCommand(), p.versionCommand(),
		&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodes},
	)
	return root
}

// open reads the settings and opens what they describe.
func (p *program) open(ctx context.Context, source jit.Source) (*config.Runtime, error) {
	return p.openWrapped(ctx, source, func(_ string, p jit.Platform) jit.Platform { return p })
}

// openWrapped is open with something around each platform.
func (p *program) openWrapped(ctx context.Context, source jit.Source, around func(name string, p jit.Platform) jit.Platform) (*config.Runtime, error) {
	s, err := config.Load(p.config)
	if err != nil {
		return nil, err
	}
	wrap := around
	if p.Wrap != nil {
		wrap = func(name string, inner jit.Platform) jit.Platform { return around(name, p.Wrap(name, inner)) }
	}
	return config.Open(ctx, s, config.Options{Now: p.Now, Source: source, Wrap: wrap, Warn: p.warn})
}

// warn tells what a target has to say about a change that was made.
func (p *program) warn(text string) {
	p.telling.Lock()
	defer p.telling.Unlock()
	fmt.Fprintf(p.err, "warning: %s\n", text)
}

// withRuntime opens what the settings describe for the time of f, which --timeout bounds.
func (p *program) withRuntime(ctx context.Context, source jit.Source, f func(context.Context, *config.Runtime) error) error {
	if p.timeout <= 0 {
		return jit.Invalid("--timeout", "write for example --timeout 15m", "%s is no time to do anything in", p.timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	rt, err := p.open(ctx, source)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }() // whatever was written is durable already
	return f(ctx, rt)
}

// jsonFlag gives a command that lists something the flag --json.
func (p *program) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
}

// codeError is an error that has its own exit code.
type codeError struct {
	code int
	error
}

func (e codeError) Unwrap() error { return e.error }

// notDone and unreadable give an error its exit code; nil stays nil.
func notDone(err error) error { return withCode(exitNotDone, err) }

func unreadable(err error) error { return withCode(exitUnreadable, err) }

func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return codeError{code, err}
}

// code tells the exit code of an error: its own, else whether a person's input or something else is to blame.
func code(ctx context.Context, err error) int {
	var own codeError
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, jit.ErrInvalid), errors.Is(err, jit.ErrUnknown):
		return exitUsage
	}
	return exitUnreadable
}
