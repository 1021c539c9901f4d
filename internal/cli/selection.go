package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// selection selects grants by their facts; an empty field selects all.
type selection struct {
	target, principal, owner, state string
	// closed selects also grants that are over and gone from their target.
	closed bool
	// names are the other names of the principal, by target, which only the target knows; see [selection.resolve].
	names map[string][]string
	// unsigned selects only break-glass grants without a sign-off, live or over.
	unsigned bool
}

func stateNames() []string {
	var names []string
	for _, s := range jit.States() {
		names = append(names, string(s))
	}
	return names
}

// addFlags adds the flags --target and --principal to a command.
func (s *selection) addFlags(p *program, cmd *cobra.Command) {
	p.targetFlag(cmd, &s.target, "only grants on the target with this `name`, or a glob such as 'prod*'")
	cmd.Flags().Var((*filled)(&s.principal), "principal", "only grants to this `principal`, as jit list "+
		"--json or its target spells it, or its principal_name, or a glob such as 'user:*@example.com'")
	_ = cmd.RegisterFlagCompletionFunc("principal", cobra.NoFileCompletions)
}

// filled is the value of a flag that selects grants. It cannot be empty: a variable of a script that is not set would
// select every grant.
type filled string

func (f *filled) String() string { return string(*f) }
func (f *filled) Type() string   { return "string" }
func (f *filled) Set(s string) error {
	if s == "" {
		return errors.New("it is empty; leave the flag out to select all")
	}
	*f = filled(s)
	return nil
}

// targetFlag adds the flag --target to a command.
func (p *program) targetFlag(cmd *cobra.Command, target *string, help string) {
	cmd.Flags().Var((*filled)(target), "target", help)
	_ = cmd.RegisterFlagCompletionFunc("target", p.completeTargets)
}

// matcher returns the test that the selected grants pass now. The test is safe for concurrent use.
func (s *selection) matcher(rt *config.Runtime) (func(jit.Grant) bool, error) {
	target, targetErr := textMatcher("--target", s.target)
	principal, principalErr := textMatcher("--principal", s.principal)
	if err := cmp.Or(targetErr, principalErr); err != nil {
		return nil, err
	}
	now, spelled := rt.Broker.Now(), rt.Broker.SpelledAs(s.principal)
	return func(g jit.Grant) bool {
		named := principal(g.Principal) || g.PrincipalName != "" && principal(g.PrincipalName) || spelled(g) ||
			slices.Contains(s.names[g.Target], g.Principal)
		return target(g.Target) && named && (s.state == "" || string(g.State(now)) == s.state)
	}, nil
}

// resolve asks the targets of open grants for the other names of the principal, where only they know which name belongs
// to which id. The error says which target could not tell; the names of the others are known then. A target that no
// longer knows an id cannot tell either: the person may have been deleted before the access.
func (s *selection) resolve(ctx context.Context, rt *config.Runtime) error {
	if s.principal == "" || isGlob(s.principal) {
		return nil
	}
	names, untold, err := rt.Broker.NamesOf(ctx, "", s.principal)
	s.names = names
	if err != nil || len(untold) == 0 {
		return nil //nolint:nilerr // what follows says that the ledger cannot be read
	}
	return unreadable(errors.Join(slices.Collect(maps.Values(untold))...))
}

// ledgerMatcher is [selection.matcher] with the names in the ledger: a name in one record of a principal also selects
// the records of the same principal that lack a name, as older and rebuilt ones do. For a principal that no record has,
// the error is that of [selection.noPrincipal].
func (s *selection) ledgerMatcher(ctx context.Context, rt *config.Runtime) (func(jit.Grant) bool, error) {
	others := *s
	others.principal = ""
	matches, err := others.matcher(rt)
	if err != nil || s.principal == "" {
		return matches, err
	}
	named, err := (&selection{principal: s.principal, names: s.names}).matcher(rt)
	if err != nil {
		return nil, err
	}
	chosen, candidates := map[string]bool{}, map[string]bool{}
	_, err = recorded(ctx, rt, jit.Filter{}, func(g jit.Grant) bool {
		if named(g) {
			chosen[g.Principal] = true
		}
		if matches(g) {
			candidates[g.Principal], candidates[cmp.Or(g.PrincipalName, g.Principal)] = true, true
		}
		return false
	})
	switch {
	case err != nil:
		return nil, err
	case len(chosen) == 0 && !isGlob(s.principal):
		return nil, s.noPrincipal(ctx, rt, slices.Sorted(maps.Keys(candidates)))
	}
	return func(g jit.Grant) bool { return matches(g) && (chosen[g.Principal] || named(g)) }, nil
}

// errNoPrincipal: no grant in the ledger has the principal, or one that resembles it.
var errNoPrincipal = fmt.Errorf("no such principal: %w", jit.ErrUnknown)

// noPrincipal returns the error for a principal that no record has. Its kind is errNoPrincipal only if the ledger
// exists and no candidate resembles the principal, so that neither the wrong ledger nor a typo passes for a principal
// without grants.
func (s *selection) noPrincipal(ctx context.Context, rt *config.Runtime, candidates []string) error {
	id, err := rt.Ledger.ID(ctx)
	if err != nil {
		return unreadable(fmt.Errorf("read the ledger: %w", err))
	}
	if id == "" {
		return jit.Errorf(jit.ErrUnknown, "--principal",
			"the first apply creates it; check the working directory and which ledger the settings name",
			"no grant is to %q: there is no ledger yet", s.principal)
	}
	kind, similar := errNoPrincipal, didYouMean(s.principal, candidates)
	if similar != "" {
		kind = jit.ErrUnknown
	}
	return jit.Errorf(kind, "--principal", "write a principal or a principal_name from `jit list --all --json`; "+
		"some older records have no name"+similar, "no grant in the ledger is to %q", s.principal)
}

// vouched reports whether a selected target accepts the text of --principal as a principal. It makes no call.
func (s *selection) vouched(rt *config.Runtime) bool {
	wanted, err := textMatcher("--target", s.target)
	if err != nil {
		return false
	}
	for name, target := range rt.Broker.Targets {
		if !wanted(name) {
			continue
		}
		_, _, err := target.Check(jit.Binding{Principal: s.principal})
		var refused *jit.Error
		if !errors.As(err, &refused) || refused.Attribute != "principal" {
			return true
		}
	}
	return false
}

func isGlob(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

// textMatcher matches the pattern itself, and the texts that it matches as a glob. An empty pattern matches everything.
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

// targetMatcher is [textMatcher] for configured targets. It is an error if none matches.
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

// checkTarget refuses a --target that is neither configured nor on record.
func (s *selection) checkTarget(ctx context.Context, rt *config.Runtime) error {
	_, unknown := targetMatcher(rt, s.target)
	if unknown == nil {
		return nil
	}
	wanted, err := textMatcher("--target", s.target)
	if err != nil {
		return err
	}
	known := false
	_, err = recorded(ctx, rt, jit.Filter{}, func(g jit.Grant) bool {
		known = known || wanted(g.Target)
		return false
	})
	if err != nil || known {
		return err
	}
	return unknown
}

// grants reads the selected grants from the ledger, in the order of their end.
func (s *selection) grants(ctx context.Context, rt *config.Runtime) ([]jit.Grant, error) {
	matches, err := s.ledgerMatcher(ctx, rt)
	if err != nil {
		return nil, err
	}
	f := jit.Filter{Owner: s.owner, Open: !s.closed && s.state == "" && !s.unsigned, Unsigned: s.unsigned}
	if s.owner == jit.AllOwners {
		f.Owner = ""
	}
	found, err := recorded(ctx, rt, f, matches)
	if err == nil && len(found) == 0 {
		err = s.checkTarget(ctx, rt)
	}
	return found, err
}

// recorded reads the grants of the ledger that pass the filter and are wanted.
func recorded(
	ctx context.Context, rt *config.Runtime, f jit.Filter, wanted func(jit.Grant) bool,
) (found []jit.Grant, err error) {
	for g, err := range rt.Ledger.Grants(ctx, f) {
		if err != nil {
			return nil, unreadable(fmt.Errorf("read the ledger: %w", err))
		}
		if wanted(g) {
			found = append(found, g)
		}
	}
	return found, nil
}
