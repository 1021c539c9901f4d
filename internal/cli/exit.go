package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// The exit codes, explained to users by exitCodes. jit review and jit request have codes of their own too.
const (
	exitDone        = 0
	exitNotDone     = 1
	exitUnreadable  = 2
	exitUsage       = 3
	exitUnknown     = 5
	exitInterrupted = 130
)

const exitCodes = `Every command of jit but jit review and jit request ends with one of these exit codes:

  0    done; nothing is left to do
  1    not done: something could not be revoked or recorded, was not confirmed, or needs your attention,
       such as a record that is not intact, or standing access
  2    could not read: the ledger or a target did not answer, or the listen address was unavailable
  3    the command line or the settings are wrong; nothing was called or changed
  5    unknown: no grant has that id or principal, or no target or receiver has that name
  130  interrupted`

func (p *program) exitCodesCommand() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "Explain the exit codes", Long: exitCodes}
}

// codeError is an error with its own exit code.
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

// code returns the exit code of an error: its own, or the one of its kind.
func code(ctx context.Context, err error) int {
	var own codeError
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, jit.ErrInvalid):
		return exitUsage
	case errors.Is(err, jit.ErrUnknown):
		return exitUnknown
	}
	return exitUnreadable
}
