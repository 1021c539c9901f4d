package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/request"
)

func (p *program) requestListCommand() *cobra.Command {
	a := ask{format: string(request.HCL)}
	var s selection
	cmd := leaf(&cobra.Command{
		Use:   "ls",
		Short: "List what the policies permit you, by target",
		Long: `List what each policy says about you on each target: roles, scopes, the longest time, whose approval you need,
and how the reason must look. A policy with the effect forbid wins over all others. If a policy names a role without
wildcards, jit also prints a command that you can copy.`,
		Example: `  jit request ls
  jit request ls --target 'prod*' --json
  jit request ls --for user:alice@example.com`,
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return requestCode(cmd.Context(), p.atDesk(cmd.Context(), &a, func(_ context.Context, d *request.Desk) error {
			wanted, err := textMatcher("--target", s.target)
			if err != nil {
				return err
			}
			return p.printPermits(d, d.Permits(a.Asked, wanted))
		}))
	}
	p.targetFlag(cmd, &s.target, "only the target with this `name`, or a glob such as 'prod*'")
	cmd.Flags().StringVar(&a.Principal, "for", "", "what this `principal` may have (default: you)")
	cmd.Flags().StringVar(&a.Requester, "requester", "", "your `name` as a jit_person (default "+envRequester+")")
	cmd.Flags().StringVar(&a.dir, "dir", ".", "the `folder` of the configuration")
	for _, name := range []string{"for", "requester"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	p.jsonFlag(cmd)
	return cmd
}

func (p *program) printPermits(d *request.Desk, all []request.Permit) error {
	if p.json {
		if all == nil {
			all = []request.Permit{}
		}
		return p.printJSON(all)
	}
	for _, note := range d.Notes {
		fmt.Fprintf(p.err, "note: %s\n", printable(note))
	}
	if len(all) == 0 {
		fmt.Fprintln(p.err, "No policy permits anything here.")
		return nil
	}
	t := p.table(p.out, "PLATFORM", "ENFORCEMENT")
	t.row("TARGET", "EFFECT", "POLICY", "ROLES", "SCOPES", "LONGEST", "APPROVAL", "ENFORCEMENT", "PLATFORM", "REASON")
	for _, l := range all {
		t.row(l.Target, string(l.Effect), orAll(l.Policy, "none governs"), orAll(strings.Join(l.Roles, ", "), "all"),
			orAll(strings.Join(l.Scopes, ", "), "all"), l.MaxTTL, approvalOf(l.Approval), l.Enforcement, l.Platform,
			l.ReasonPattern)
	}
	t.flush()
	first := true
	for _, l := range all {
		if l.Command == "" {
			continue
		}
		if first {
			fmt.Fprintln(p.out)
		}
		first = false
		fmt.Fprintln(p.out, printable(l.Command))
	}
	return nil
}

func orAll(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

// approvalOf says in a few words whose approval a policy asks for.
func approvalOf(required []jit.Requirement) string {
	texts := make([]string, len(required))
	for i, r := range required {
		texts[i] = fmt.Sprintf("%d of %s", r.Required, strings.Join(r.From, ", "))
		if r.Unless != "" {
			texts[i] += " unless " + r.Unless
		}
	}
	return strings.Join(texts, "; ")
}
