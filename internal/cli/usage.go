package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// usageError is a fault of the command line. It is shown with the usage line of its command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usage marks an invalid value as a fault of the command line and returns other errors unchanged.
func usage(err error) error {
	if errors.Is(err, jit.ErrInvalid) {
		return usageError{err}
	}
	return err
}

// usageLine returns how to call a command.
func usageLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() && !strings.Contains(cmd.Use, " ") {
		return cmd.CommandPath() + " COMMAND [flags]"
	}
	return cmd.UseLine()
}

// knownCommand refuses the names of an unknown command.
func knownCommand(root *cobra.Command, names []string) error {
	cmd, rest, err := root.Find(names)
	if err == nil {
		err = noArguments(cmd, rest)
	}
	return err
}

// noArguments accepts no argument. For a group of commands it suggests commands with a similar name.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !cmd.HasAvailableSubCommands():
		return fmt.Errorf("%s takes no arguments, not %q", cmd.CommandPath(), args[0])
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), didYouMean(args[0], names))
}

// oneArgument accepts one argument; about explains it.
func oneArgument(name, about string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing: %s", name, about)
		case 1:
			return nil
		}
		return fmt.Errorf("give one %s, not %d", name, len(args))
	}
}

// flagError suggests flags with a similar name for an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return fmt.Errorf("%w%s", err, didYouMean("--"+unknown.GetSpecifiedName(), names))
}

// maxSuggestions is how many candidates didYouMean names at most.
const maxSuggestions = 3

// didYouMean returns a question that names the candidates that resemble word; empty if there are none.
func didYouMean(word string, candidates []string) string {
	similar := slices.DeleteFunc(slices.Clone(candidates), func(c string) bool {
		_, name, hasKind := strings.Cut(c, ":")
		return !resembles(word, c) && !(hasKind && resembles(word, name))
	})
	if len(similar) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(similar[:min(len(similar), maxSuggestions)], " or ") + "?"
}

// resembles reports whether word is the beginning of the candidate, differs from it by at most two letters, or adds
// words to it. Case does not count.
func resembles(word, candidate string) bool {
	word, candidate = strings.ToLower(word), strings.ToLower(candidate)
	return strings.HasPrefix(candidate, word) || strings.HasPrefix(word, candidate+" ") ||
		levenshtein.Distance(candidate, word, nil) <= 2
}

// invalidChoice refuses a value that is not a choice of a flag.
func invalidChoice(flag, value string, choices []string) error {
	return jit.Invalid(flag, "write one of "+strings.Join(choices, ", ")+didYouMean(value, choices),
		"%q is not one of its values", value)
}
