// Package cli is the command jit: it lists grants, ends them early, sweeps targets and checks the record.
package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Options are the options of [Run]. The zero value is usable.
type Options struct {
	// Now is the clock; nil is the clock of this machine.
	Now func() time.Time
	// Version is the version that "jit version" prints; empty is "dev".
	Version string
	// Commit is the commit that the program was built from; empty is unknown.
	Commit string
	// Terminal: stdout is a terminal, so colours may be used and tables fit its width.
	Terminal bool
	// Interactive: stdin is a terminal, so that somebody can answer a question.
	Interactive bool
	// Width is the number of columns of the terminal; 0 is unknown.
	Width int
	// Wrap, if not nil, wraps each platform.
	Wrap func(name string, p jit.Platform) jit.Platform
}

// Run executes one command line, without the program's name, and returns its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, o Options) int {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Version = cmp.Or(o.Version, "dev")
	output := &lasting{Writer: stdout}
	p := &program{in: stdin, out: output, err: &screen{Writer: stderr}, Options: o}
	if o.Terminal {
		p.out = &screen{Writer: output}
	}
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if lost := output.failed(); lost != nil && (err == nil || errors.Is(err, lost)) {
		fmt.Fprintf(p.err, "error: the output is incomplete: %v\n", lost)
		return exitNotDone
	}
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(p.err, "error: %s\n", indented(err.Error()))
	if !p.started || errors.As(err, &usageError{}) {
		fmt.Fprintf(p.err, "Usage: %s\nSee %s --help.\n", usageLine(cmd), cmd.CommandPath())
		return exitUsage
	}
	return code(ctx, err)
}

// program is one run of the command line.
type program struct {
	Options
	in       io.Reader
	out, err io.Writer
	lines    *bufio.Reader // of in; see typed

	config  string // the settings file that --config names
	timeout time.Duration
	json    bool
	// started: the command line was parsed, and later errors are not about its form.
	started bool

	warning sync.Mutex // held by warn
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "jit",
		Short: "Temporary access: list it, end it, check its record",
		Long: `jit works beside the Terraform provider, on the same targets and the same ledger. The ledger is the record
of all grants. jit lists temporary access, ends it early, removes access that is over, and checks the record.

jit reads its settings from jit.hcl in the working directory, or from the file that --config or JIT_CONFIG
names. The file takes the attributes of the provider block:

  ledger  = "postgres://jit@db.example.com/jit"
  owner   = "payments"
  targets = {
    bastion     = { ssh = { authorized_keys = "/home/deploy/.ssh/authorized_keys" } }
    payments-db = { postgresql = { url = env("ADMIN_URL") } }
  }

env("NAME") is the value of an environment variable. If jit.hcl does not set ledger, jit uses JIT_LEDGER, or else
` + config.DefaultLedger + `. The record names the user of the CI system or of this machine as the actor; JIT_ACTOR
and JIT_CHANGE override actor and change.

Wherever a command takes the ID of a grant, you may write only its beginning, with at least four characters.`,
		Version:       p.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(*cobra.Command, []string) {
			p.started = true
		},
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.SetVersionTemplate(p.versionLine())
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&p.config, "config", "",
		"settings `file` (default "+config.EnvFile+", or else "+config.DefaultFile+")")
	flags.DurationVar(&p.timeout, "timeout", 15*time.Minute, "give up after this time; the command then fails")
	_ = root.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions)
	root.AddCommand(
		p.listCommand(), p.showCommand(), p.reviewCommand(), p.requestCommand(), p.approveCommand(), p.denyCommand(),
		p.revokeCommand(), p.pruneCommand(), p.sweepCommand(), p.scanCommand(), p.adoptCommand(),
		p.reportCommand(), p.notifyCommand(), p.auditCommand(), p.ledgerCommand(),
		p.versionCommand(), p.exitCodesCommand(),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			group(cmd)
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error { return knownCommand(root, args) }
		}
	}
	return root
}

// group completes a command that only holds other commands.
func group(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.Args = noArguments
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(commands...)
	return cmd
}

// action is the work of a command, on the open ledger and targets.
type action func(context.Context, *config.Runtime) error

// command completes a command that works on the ledger and the targets. check, if not nil, reads the arguments before
// anything is opened.
func (p *program) command(cmd *cobra.Command, check func(args []string) error, do action) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if check != nil {
			if err := check(args); err != nil {
				return usage(err)
			}
		}
		return p.withRuntime(cmd.Context(), jit.FromCLI, do)
	}
	return leaf(cmd)
}

// leaf completes a command without subcommands. Unless it has Args, it takes no arguments.
func leaf(cmd *cobra.Command) *cobra.Command {
	if cmd.Args == nil {
		cmd.Args = noArguments
	}
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	return cmd
}

// open opens the ledger and the targets of the settings; around, if not nil, wraps each platform.
func (p *program) open(
	ctx context.Context, s config.Settings, source jit.Source, around func(name string, p jit.Platform) jit.Platform,
) (*config.Runtime, error) {
	wrap := func(name string, inner jit.Platform) jit.Platform {
		for _, outer := range []func(string, jit.Platform) jit.Platform{p.Wrap, around} {
			if outer != nil {
				inner = outer(name, inner)
			}
		}
		return inner
	}
	return config.Open(ctx, s, config.Options{Now: p.Now, Source: source, Wrap: wrap, Warn: p.warn,
		UserAgent: p.userAgent()})
}

// warn prints a warning of a target about a change that it made. It is safe for concurrent use.
func (p *program) warn(text string) {
	p.warning.Lock()
	defer p.warning.Unlock()
	fmt.Fprintf(p.err, "warning: %s\n", text)
}

// withRuntime opens the ledger and the targets of the settings and calls do, which gets at most --timeout.
func (p *program) withRuntime(ctx context.Context, source jit.Source, do action) error {
	return p.limited(ctx, func(ctx context.Context) error {
		s, err := config.Load(p.config)
		if err != nil {
			return err
		}
		rt, err := p.open(ctx, s, source, nil)
		if err != nil {
			return err
		}
		defer func() { _ = rt.Close() }() // every write is durable already
		if s.File == "" && !p.json {
			fmt.Fprintf(p.err, "note: without a %s, the owner is %q and the ledger is %s\n",
				config.DefaultFile, rt.Broker.Owner, printable(ledgerName(s.Ledger)))
		}
		return do(ctx, rt)
	})
}

// limited calls do, which gets at most --timeout.
func (p *program) limited(ctx context.Context, do func(context.Context) error) error {
	if err := p.checkTimeout(); err != nil {
		return usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return do(ctx)
}

func (p *program) checkTimeout() error {
	if p.timeout > 0 {
		return nil
	}
	return jit.Invalid("--timeout", "write for example --timeout 15m", "%s is not a positive duration", p.timeout)
}

// printErrors prints errors that do not end the command.
func (p *program) printErrors(errs []error) {
	for _, err := range errs {
		fmt.Fprintf(p.err, "error: %v\n", err)
	}
}

// typed returns the next line of stdin, without the space around it; empty if ctx ends before.
func (p *program) typed(ctx context.Context) string {
	if p.lines == nil {
		p.lines = bufio.NewReader(p.in)
	}
	typed := make(chan string, 1)
	go func() { // nothing interrupts a read from a terminal
		line, err := p.lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			line = ""
		}
		typed <- strings.TrimSpace(line)
	}()
	select {
	case line := <-typed:
		return line
	case <-ctx.Done():
		return ""
	}
}

// ledgerName returns the URL of a ledger without user, password and parameters.
func ledgerName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the one that " + config.EnvLedger + " names"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// jsonFlag gives a command that lists something the flag --json.
func (p *program) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
}
