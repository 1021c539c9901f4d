package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// selection chooses grants by their facts.
type selection struct {
	target, principal, owner string
	state                    string
	// closed: also grants that are over and gone from their target.
	closed bool
}

func stateNames() []string {
	var names []string
	for _, s := range jit.States() {
		names = append(names, string(s))
	}
	return names
}

// addFlags gives a command the flags that choose by target and principal.
func (s *selection) addFlags(p *program, cmd *cobra.Command) {
	p.targetFlag(cmd, &s.target, "only grants on the target of this `name`, or glob such as 'prod*'")
	cmd.Flags().StringVar(&s.principal, "principal", "",
		"only grants to this `principal`, as jit list --json writes it, or its principal_name, or glob such as 'user:*@example.com'")
	_ = cmd.RegisterFlagCompletionFunc("principal", cobra.NoFileCompletions)
}

// targetFlag gives a command the flag --target.
func (p *program) targetFlag(cmd *cobra.Command, target *string, help string) {
	cmd.Flags().StringVar(target, "target", "", help)
	_ = cmd.RegisterFlagCompletionFunc("target", p.completeTargets)
}

// matcher returns the test that the chosen grants pass at now.
func (s *selection) matcher(now time.Time) (func(jit.Grant) bool, error) {
	if s.state != "" && !slices.Contains(stateNames(), s.state) {
		return nil, usage(invalidChoice("--state", s.state, stateNames()))
	}
	target, err := textMatcher("--target", s.target)
	if err != nil {
		return nil, err
	}
	principal, err := textMatcher("--principal", s.principal)
	if err != nil {
		return nil, err
	}
	return func(g jit.Grant) bool {
		named := principal(g.Principal) || g.PrincipalName != "" && principal(g.PrincipalName)
		return target(g.Target) && named && (s.state == "" || string(g.State(now)) == s.state)
	}, nil
}

// ledgerMatcher is [selection.matcher] with what the ledger knows: a name in one record of a principal also chooses the
// records of the same principal that lack a name, as older ones and those rebuilt from markers do. It refuses a
// principal that no record has.
func (s *selection) ledgerMatcher(ctx context.Context, rt *config.Runtime) (func(jit.Grant) bool, error) {
	now, others := rt.Broker.Now(), *s
	others.principal = ""
	matches, err := others.matcher(now)
	if err != nil || s.principal == "" {
		return matches, err
	}
	named, err := (&selection{principal: s.principal}).matcher(now)
	if err != nil {
		return nil, err
	}
	known, all := map[string]bool{}, map[string]bool{}
	for g, err := range rt.Ledger.Grants(ctx, jit.Filter{}) {
		if err != nil {
			return nil, unreadLedger(err)
		}
		if named(g) {
			known[g.Principal] = true
		}
		all[g.Principal], all[cmp.Or(g.PrincipalName, g.Principal)] = true, true
	}
	if len(known) == 0 && !isGlob(s.principal) {
		return nil, noPrincipal(s.principal, slices.Sorted(maps.Keys(all)))
	}
	return func(g jit.Grant) bool { return matches(g) && (known[g.Principal] || named(g)) }, nil
}

// errNoPrincipal is the error for a principal that no grant in the ledger is to.
var errNoPrincipal = fmt.Errorf("no such principal: %w", jit.ErrUnknown)

// noPrincipal returns an error of the kind errNoPrincipal that suggests similar ones among the recorded principals.
func noPrincipal(principal string, recorded []string) error {
	return &jit.Error{
		Attribute: "--principal", Err: errNoPrincipal,
		Problem: fmt.Sprintf("no grant in the ledger is to %q", principal),
		Hint: "write a principal or a principal_name from `jit list --all --json`; some older records have no name" +
			didYouMean(principal, recorded),
	}
}

// mayBePrincipal reports whether a configured target accepts the text as a principal. It makes no call.
func mayBePrincipal(rt *config.Runtime, principal string) bool {
	for _, target := range rt.Broker.Targets {
		_, _, err := target.Check(jit.Binding{Principal: principal})
		var refused *jit.Error
		if !errors.As(err, &refused) || refused.Attribute != "principal" {
			return true
		}
	}
	return false
}

func isGlob(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

// textMatcher matches the pattern itself and, as a glob, what it stands for. An empty pattern matches everything.
func textMatcher(flag, pattern string) (func(string) bool, error) {
	if pattern == "" {
		return func(string) bool { return true }, nil
	}
	glob, err := jit.ParseGlob(flag, pattern)
	if err != nil {
		return nil, usage(err)
	}
	return func(s string) bool { return s == pattern || glob.Match(s) }, nil
}

// targetMatcher is [textMatcher] for configured targets. It is an error if no target matches.
func targetMatcher(rt *config.Runtime, pattern string) (func(string) bool, error) {
	wanted, err := textMatcher("--target", pattern)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(rt.Broker.Targets))
	if pattern == "" || slices.ContainsFunc(names, wanted) {
		return wanted, nil
	}
	hint := "add it to targets in jit.hcl"
	if len(names) > 0 {
		hint = "the targets are " + strings.Join(names, ", ") + didYouMean(pattern, names)
	}
	return nil, &jit.Error{
		Attribute: "--target", Err: jit.ErrUnknown, Hint: hint,
		Problem: fmt.Sprintf("no target matches %q", pattern),
	}
}

// checkTarget refuses a --target that neither a configured target nor any grant in the ledger has.
func (s *selection) checkTarget(ctx context.Context, rt *config.Runtime) error {
	_, unknown := targetMatcher(rt, s.target)
	if unknown == nil {
		return nil
	}
	wanted, err := textMatcher("--target", s.target)
	if err != nil {
		return err
	}
	for g, err := range rt.Ledger.Grants(ctx, jit.Filter{}) {
		if err != nil {
			return unreadLedger(err)
		}
		if wanted(g.Target) {
			return nil
		}
	}
	return unknown
}

// grants reads the chosen grants from the ledger, in the order of their end.
func (s *selection) grants(ctx context.Context, rt *config.Runtime) ([]jit.Grant, error) {
	matches, err := s.ledgerMatcher(ctx, rt)
	if err != nil {
		return nil, err
	}
	f := jit.Filter{Owner: s.owner, Open: !s.closed && s.state == ""}
	if s.owner == jit.AllOwners {
		f.Owner = ""
	}
	var found []jit.Grant
	for g, err := range rt.Ledger.Grants(ctx, f) {
		if err != nil {
			return nil, unreadLedger(err)
		}
		if matches(g) {
			found = append(found, g)
		}
	}
	if len(found) == 0 {
		return nil, s.checkTarget(ctx, rt)
	}
	return found, nil
}

func unreadLedger(err error) error { return unreadable(fmt.Errorf("read the ledger: %w", err)) }
