package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/broker"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/hcledit"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
	"github.com/jitaccess/terraform-provider-jit/internal/review"
)

// planReview holds the arguments of a review of a plan.
type planReview struct {
	file, format, base, key string
	// owners are separated by commas.
	owners string
}

// The formats of a review.
const (
	formatText     = "text"
	formatMarkdown = "markdown"
	formatJSON     = "json"
	formatSARIF    = "sarif"
)

var formats = []string{formatMarkdown, formatText, formatJSON, formatSARIF}

func (r *planReview) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&r.format, "format", "", "one of "+strings.Join(formats, ", ")+" (default text)")
	flags.StringVar(&r.base, "base", "", "a `folder` with the configuration of the base branch, to compare the provider block and jit.hcl")
	flags.StringVar(&r.key, "key", "", "with --format markdown, the `name` of this review among several on one change")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("key", cobra.NoFileCompletions)
	_ = cmd.MarkFlagDirname("base")
}

// check completes the arguments and refuses wrong ones.
func (r *planReview) check(asJSON bool) error {
	if asJSON {
		r.format = cmp.Or(r.format, formatJSON)
	}
	r.format = cmp.Or(r.format, formatText)
	switch {
	case !slices.Contains(formats, r.format):
		return jit.Invalid("--format", "write one of "+strings.Join(formats, ", "), "%q is not a format", r.format)
	case asJSON && r.format != formatJSON:
		return jit.Invalid("--json", "leave out --json or --format", "the format is %s", r.format)
	case r.key != "" && r.format != formatMarkdown:
		return jit.Invalid("--key", "leave it out, or add --format markdown", "only a comment has a key")
	}
	if _, err := review.Marker(r.key); err != nil {
		return err
	}
	if r.base == "" {
		return nil
	}
	if info, err := os.Stat(r.base); err != nil || !info.IsDir() {
		return jit.Invalid("--base", "name a folder, such as a worktree of the branch", "%q is not a folder", r.base)
	}
	return nil
}

// reviewPlan prints what a plan leaves to decide.
func (p *program) reviewPlan(ctx context.Context, r planReview) error {
	if err := cmp.Or(r.check(p.json), p.checkTimeout()); err != nil {
		return usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	asked, file, err := p.readPlan(r.file)
	if err != nil {
		return notDone(err)
	}
	o := review.Options{Now: p.Now, File: file, Base: r.base, Pull: pullFlag(), CI: config.InCI()}
	if r.owners != "" {
		o.Owners = strings.Split(r.owners, ",")
	}
	rt, err := p.quietRuntime(ctx)
	if err != nil {
		return err
	}
	if rt != nil {
		defer func() { _ = rt.Close() }() // only read
		o.Broker = rt.Broker
	}
	report, err := review.Judge(ctx, asked, o)
	if err == nil {
		err = p.printReport(report, r)
	}
	switch {
	case err != nil:
		return notDone(err)
	case report.Outcome == review.Refused:
		return codeError{exitRefused, errors.New("an apply refuses a part of the plan")}
	case report.Outcome == review.Decide:
		return codeError{exitUndecided, errors.New("somebody must decide about the plan")}
	}
	return nil
}

// readPlan reads a plan, and returns how commands name its file.
func (p *program) readPlan(file string) (*plan.Plan, string, error) {
	if file != "-" {
		asked, err := plan.Load("PLAN.json", file)
		return asked, shellWord(file), err
	}
	asked, err := plan.Read("PLAN.json", "stdin", p.in)
	return asked, "plan.json", err
}

// quietRuntime opens the ledger and the targets such that no target is ever called; nil if there are no settings.
func (p *program) quietRuntime(ctx context.Context) (*config.Runtime, error) {
	_, missing := os.Stat(config.DefaultFile)
	if p.config == "" && os.Getenv(config.EnvFile) == "" && os.Getenv(config.EnvLedger) == "" &&
		errors.Is(missing, os.ErrNotExist) {
		return nil, nil
	}
	s, err := config.Load(p.config)
	if err != nil {
		return nil, err
	}
	var silence broker.Silence
	silence.Doubt(true)
	return p.open(ctx, s, jit.FromCLI, silence.Wrap)
}

func (p *program) printReport(report review.Report, r planReview) error {
	out := p.out
	if through, ok := out.(*screen); ok {
		out = through.Writer // a report hides nothing, and a screen would escape its own emojis and colours
	}
	switch r.format {
	case formatMarkdown:
		return report.Markdown(out, r.key)
	case formatJSON:
		return report.JSON(out)
	case formatSARIF:
		return report.SARIF(out, p.Version, blocks())
	}
	return report.Text(out, p.colours(p.out))
}

// pullFlag returns the flag by which jit approve names the pull request that this CI run plans; empty if unknown.
func pullFlag() string {
	of, err := config.Planned()
	if err != nil || of.Repository == "" || of.Number == 0 {
		return ""
	}
	switch of.Forge {
	case approval.GitHub:
		return "--github " + shellWord(fmt.Sprintf("%s#%d", of.Repository, of.Number))
	case approval.GitLab:
		return "--gitlab " + shellWord(fmt.Sprintf("%s!%d", of.Repository, of.Number))
	}
	return ""
}

// blocks finds the block of an address in the root module, relative to the root of the repository.
func blocks() func(address string) (file string, line int) {
	folder, err := hcledit.Read(".")
	if err != nil {
		return nil
	}
	prefix := inRepository()
	return func(address string) (string, int) {
		name, _, _ := strings.Cut(address, "[")
		for _, b := range folder.Blocks {
			if b.Type+"."+b.Name == name {
				return filepath.ToSlash(filepath.Join(prefix, b.File)), b.Line
			}
		}
		return "", 0
	}
}

// inRepository returns the working directory relative to the root of its repository.
func inRepository() string {
	here, err := os.Getwd()
	if err != nil {
		return ""
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			prefix, err := filepath.Rel(dir, here)
			if err != nil {
				return ""
			}
			return prefix
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}
