package jit

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// Sentinel errors, to be tested with errors.Is.
var (
	// ErrInvalid: a value cannot be accepted, whatever the state of the world.
	ErrInvalid = errors.New("invalid")
	// ErrOver: the grant has ended, and an ended grant is never changed.
	ErrOver = errors.New("the grant is over")
	// ErrUnknown: no record, policy or target has that name.
	ErrUnknown = errors.New("unknown")
	// ErrDenied: policy does not permit the grant.
	ErrDenied = errors.New("denied by policy")
	// ErrUnapproved: policy permits the grant with approval, which is missing. It is also an [ErrDenied].
	ErrUnapproved = fmt.Errorf("%w: approval is missing", ErrDenied)
	// ErrStale: somebody else has changed the record since it was read; read it again and retry.
	ErrStale = errors.New("the record changed meanwhile")
	// ErrDuplicate: an entry with the same deduplication key is recorded already.
	ErrDuplicate = errors.New("the record exists already")
	// ErrAltered: a record differs from its events; somebody has written into the ledger from outside.
	ErrAltered = errors.New("the record was altered")
	// ErrNewerLedger: the ledger was written by a newer version of this program.
	ErrNewerLedger = errors.New("the ledger is newer than this program")
	// ErrBehind: the ledger has gone back in time, for example because somebody restored a backup. Nothing is granted,
	// started, changed or repaired until somebody accepts it.
	ErrBehind = errors.New("the ledger has gone back in time")
	// ErrStateAhead: a Terraform state remembers an event that the ledger lacks. The state may belong to a copy of the
	// ledger, so only the run with that state grants nothing.
	ErrStateAhead = fmt.Errorf("the state remembers more than the ledger: %w", ErrBehind)
	// ErrOtherLedger: a head belongs to another ledger.
	ErrOtherLedger = errors.New("this is another ledger")
	// ErrSkew: the clocks of this machine and of the platform disagree by more than [MaxSkew].
	ErrSkew = errors.New("the clocks disagree")
	// ErrRefused: the target refused a change, and made no part of it.
	ErrRefused = errors.New("the target refused it")
	// ErrAnother: an Ensure would give the access of a live grant to another principal, or in another scope, than it
	// was made for: somebody has made it anew under the same name. The platform has begun to remove the grant, or holds
	// nothing of it. The grant is over.
	ErrAnother = errors.New("it is another one of the same name")
	// ErrRemains: a Remove ended the access, and the platform confirmed it. Something that gives no access, such as an
	// empty role, is left there.
	ErrRemains = errors.New("the access is over and remains are left")
)

// Error is an error for people: it names the value to blame, says what is wrong and what to do instead.
type Error struct {
	// Attribute is the user's name of the value to blame ("ttl", "principal"); it may be empty.
	Attribute string
	// Problem says what is wrong, with the value and the rule.
	Problem string
	// Hint says what to write or do instead, on one or more lines; it may be empty.
	Hint string
	// Err is the kind ([ErrInvalid], …) or the cause; it may be nil.
	Err error
}

// PartialError says that the records of some owners cannot be read, and why. Those of the others can.
type PartialError struct {
	Owners map[string]error
}

// Error joins the errors of the owners.
func (e *PartialError) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap returns the errors in the order of the owners' names.
func (e *PartialError) Unwrap() []error {
	var all []error
	for _, owner := range slices.Sorted(maps.Keys(e.Owners)) {
		all = append(all, e.Owners[owner])
	}
	return all
}

// Partial reports whether an error says no more than that records of other owners cannot be read.
func Partial(err error, owners Owners) bool {
	var partial *PartialError
	if !errors.As(err, &partial) {
		return false
	}
	for owner := range partial.Owners {
		if owners.Include(owner) {
			return false
		}
	}
	return true
}

var lineEnds = regexp.MustCompile(`\s*\n\s*`)

// Error joins the parts into one line.
func (e *Error) Error() string {
	s := e.Problem
	if e.Attribute != "" {
		s = e.Attribute + ": " + s
	}
	if e.Hint != "" {
		s += "; " + lineEnds.ReplaceAllString(e.Hint, " ")
	}
	return s
}

// Unwrap returns the kind or the cause.
func (e *Error) Unwrap() error { return e.Err }

// privateKey finds private keys in the formats of OpenSSH, PEM and PuTTY.
var privateKey = regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File-`)

// Errorf returns an [Error] of a kind about attribute. If the problem quotes a private key, it says that instead.
func Errorf(kind error, attribute, hint, format string, args ...any) *Error {
	problem := fmt.Sprintf(format, args...)
	if privateKey.MatchString(problem) {
		problem = "the value looks like a private key, so it is not printed"
		hint = "give the public key, the content of the .pub file; replace the private key if it was committed or printed"
	}
	return &Error{Attribute: attribute, Problem: problem, Hint: hint, Err: kind}
}

// Invalid returns an [Error] of the kind [ErrInvalid] about attribute.
func Invalid(attribute, hint, format string, args ...any) *Error {
	return Errorf(ErrInvalid, attribute, hint, format, args...)
}
