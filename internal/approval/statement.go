package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Statement is one person's decision on one request.
type Statement struct {
	Choice jit.Choice
	// Approver is the name of the person.
	Approver string
	// SignedAt and NotAfter are whole UTC seconds: when the person decided, and until when an approval lets access begin.
	SignedAt, NotAfter time.Time
	// Comment is optional and stays on one line.
	Comment string
	// Digest is the request's digest.
	Digest string
}

// title is the first line of every statement. Its number changes with the form of the lines below it.
const title = "jit approval 1"

// maxComment bounds the comment, in bytes.
const maxComment = 500

// MaxValidity is the longest time from SignedAt to NotAfter.
const MaxValidity = 366 * 24 * time.Hour

// Text returns the statement about a request, a field a line, as an approver reads and signs it.
func (s Statement) Text(request []jit.Field) []byte {
	var b strings.Builder
	b.WriteString(title + "\n")
	for _, f := range append(s.head(), request...) {
		b.WriteString(strings.TrimRight(f.Name+": "+jit.Cell(f.Value), " ") + "\n")
	}
	return []byte(b.String())
}

// head returns the approver's lines.
func (s Statement) head() []jit.Field {
	return []jit.Field{
		{Name: "decision", Value: string(s.Choice)}, {Name: "approver", Value: s.Approver},
		{Name: "signed_at", Value: jit.FormatTime(s.SignedAt)}, {Name: "not_after", Value: jit.FormatTime(s.NotAfter)},
		{Name: "comment", Value: s.Comment}, {Name: "request_digest", Value: s.Digest},
	}
}

// Check validates a statement before it is signed and after it is read.
func (s Statement) Check() error {
	if !slices.Contains([]jit.Choice{jit.Approve, jit.Deny, jit.SignOff}, s.Choice) {
		return jit.Invalid("decision", `write "approve", "deny" or "sign_off"`, "%q is not a decision", s.Choice)
	}
	if err := jit.CheckPersonName("approver", s.Approver); err != nil {
		return err
	}
	if len(s.Comment) > maxComment {
		return jit.Invalid(
			"comment",
			"shorten it and link to the rest",
			"the comment has %d bytes; at most %d are allowed",
			len(s.Comment),
			maxComment,
		)
	}
	if err := jit.CheckText("comment", s.Comment); err != nil {
		return err
	}
	if jit.Cell(s.Comment) != s.Comment {
		return jit.Invalid(
			"comment",
			"use single spaces and characters that people see",
			"%q would not be read as it is",
			s.Comment,
		)
	}
	if !digestForm.MatchString(s.Digest) {
		return jit.Invalid(
			"request_digest",
			"copy it from the plan",
			"%q is not a request digest: 64 hexadecimal digits",
			s.Digest,
		)
	}
	switch valid := s.NotAfter.Sub(s.SignedAt); {
	case valid <= 0:
		return jit.Invalid(
			"not_after",
			"write a time after signed_at",
			"%s is not after signed_at, %s",
			jit.FormatTime(s.NotAfter),
			jit.FormatTime(s.SignedAt),
		)
	case valid > MaxValidity:
		return jit.Invalid(
			"not_after",
			"approve for a shorter time",
			"the approval would be valid for %s; at most %s are allowed",
			jit.FormatDuration(valid),
			jit.FormatDuration(MaxValidity),
		)
	}
	return nil
}

// Parse reads the approver's lines of a text. [Statement.Text] compares the other lines.
func Parse(text []byte) (Statement, error) {
	lines := strings.Split(string(text), "\n")
	if lines[0] != title {
		return Statement{}, fmt.Errorf("the first line is not %q", title)
	}
	var s Statement
	for i, f := range s.head() {
		if i+1 >= len(lines) {
			return Statement{}, fmt.Errorf("the line %q is missing", f.Name)
		}
		name, value, _ := strings.Cut(lines[i+1], ":")
		if name != f.Name {
			return Statement{}, fmt.Errorf("line %d is not %q", i+2, f.Name)
		}
		if err := s.set(f.Name, strings.TrimPrefix(value, " ")); err != nil {
			return Statement{}, err
		}
	}
	return s, s.Check()
}

// set reads one of the approver's lines.
func (s *Statement) set(name, value string) (err error) {
	switch name {
	case "decision":
		s.Choice = jit.Choice(value)
	case "approver":
		s.Approver = value
	case "signed_at":
		s.SignedAt, err = time.Parse(time.RFC3339, value)
	case "not_after":
		s.NotAfter, err = time.Parse(time.RFC3339, value)
	case "comment":
		s.Comment = value
	case "request_digest":
		s.Digest = value
	}
	if err != nil {
		return fmt.Errorf("%s: %q is not a time in RFC 3339", name, value)
	}
	return nil
}
