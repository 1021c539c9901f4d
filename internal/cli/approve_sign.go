package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/approval"
	"github.com/jitaccess/terraform-provider-jit/internal/config"
	"github.com/jitaccess/terraform-provider-jit/internal/jit"
	"github.com/jitaccess/terraform-provider-jit/internal/plan"
)

// decidePlan signs a statement about each request of a plan that the user confirms, and writes it into the folder.
func (p *program) decidePlan(ctx context.Context, v verdict) error {
	v, err := p.complete(v)
	if err != nil {
		return err
	}
	asked, err := plan.Load("--plan", v.plan)
	if err != nil {
		return usage(err)
	}
	requests, unknown := asked.Requests()
	for _, why := range unknown {
		fmt.Fprintf(p.err, "note: %s\n", printable(why))
	}
	if len(requests) == 0 {
		fmt.Fprintln(p.err, "The plan has no request to decide on: no jit_grant in it begins or asks for more.")
		return undecided(len(unknown))
	}
	if _, err := p.statement(v, requests[0].Digest); err != nil { // before somebody types a passphrase
		return err
	}
	sign, done, err := p.signing(ctx, v, anyKey, "")
	if err != nil {
		return err
	}
	defer done()
	left := len(unknown)
	for _, r := range requests {
		switch agreed, err := p.decideOn(ctx, v, r, sign, p.keep); {
		case err != nil:
			return err
		case !agreed:
			left++
		}
	}
	if left < len(requests)+len(unknown) && !v.print {
		fmt.Fprintln(p.err, "Commit the files, then plan and apply again.")
	}
	return undecided(left)
}

// undecided is the error for requests on which nothing was decided.
func undecided(n int) error {
	if n == 0 {
		return nil
	}
	return notDone(fmt.Errorf("nothing was decided on %s", counted(n, "request")))
}

// keeper stores a signed statement and returns a message for the user.
type keeper func(v verdict, s approval.Statement, content []byte) (string, error)

// decideOn shows one request, asks, signs the statement about it and keeps it. agreed is false if the answer is no.
func (p *program) decideOn(
	ctx context.Context, v verdict, r plan.Request, sign signing, keep keeper,
) (agreed bool, err error) {
	s, err := p.statement(v, r.Digest)
	if err != nil {
		return false, err
	}
	text := s.Text(r.Fields)
	fmt.Fprintf(p.err, "%s\n%s\n", printable(r.Address), text)
	for _, name := range r.Sensitive {
		fmt.Fprintf(p.err, "warning: the plan marks %s as sensitive, and the statement shows it\n", name)
	}
	if !p.agrees(ctx, v) {
		return false, nil
	}
	content, err := sign(text)
	if err != nil {
		return false, notDone(err)
	}
	kept, err := keep(v, s, content)
	if err != nil {
		return false, notDone(err)
	}
	_, err = fmt.Fprintln(p.out, printable(kept))
	return true, err
}

// questions are the questions before a statement is signed.
var questions = map[jit.Choice]string{
	jit.Approve: "Approve this request?", jit.Deny: "Deny this request?", jit.SignOff: "Sign off this grant?",
}

// agrees asks whether to sign.
func (p *program) agrees(ctx context.Context, v verdict) bool {
	if v.yes || v.print {
		return true
	}
	fmt.Fprintf(p.err, "%s Type y: ", questions[v.choice])
	return p.typed(ctx) == "y"
}

// signing returns the content of the file with a text: with its signature, unless somebody else signs it.
type signing func(text []byte) ([]byte, error)

func anyKey(ssh.PublicKey) error { return nil }

// signing finds the key that signs. fault says why a key is not the approver's, whom whose names. Call done after the
// last signature.
func (p *program) signing(
	ctx context.Context, v verdict, fault func(ssh.PublicKey) error, whose string,
) (sign signing, done func(), err error) {
	if v.print {
		return func(text []byte) ([]byte, error) { return text, nil }, func() {}, nil
	}
	var signer ssh.Signer
	if v.key == "" {
		signer, done, err = onlySigner(ctx, "--key", fault, whose)
	} else {
		signer, done, err = p.signer(ctx, "--key", v.key)
	}
	switch {
	case ctx.Err() != nil:
		return nil, nil, errors.Join(err, ctx.Err())
	case err != nil:
		return nil, nil, usage(err)
	}
	if err := fault(signer.PublicKey()); err != nil {
		done()
		return nil, nil, usage(err)
	}
	return func(text []byte) ([]byte, error) {
		armored, err := approval.Sign(text, signer)
		return approval.Join(text, armored), err
	}, done, nil
}

// keep writes a statement into the folder and returns the path. It overwrites nothing. The file may be read by all: it
// belongs into the pull request.
func (p *program) keep(v verdict, s approval.Statement, content []byte) (path string, err error) {
	if err := os.MkdirAll(v.dir, 0o755); err != nil { // #nosec G301 -- it holds nothing secret
		return "", fmt.Errorf("write the statement: %w", err)
	}
	path = filepath.Join(v.dir, approval.FileName(s))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // #nosec G302,G304 -- see above
	if err != nil {
		return "", fmt.Errorf("write the statement: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write the statement: %w", err), os.Remove(path))
	}
	if v.print {
		fmt.Fprintf(p.err, "Sign it, and commit both files:\n  ssh-keygen -Y sign -n %s -f KEY %s\n",
			approval.Namespace, shellWord(path))
	}
	return path, nil
}

// decideRecorded signs a statement about a recorded request, or a grant that broke the glass, and records it.
func (p *program) decideRecorded(ctx context.Context, rt *config.Runtime, v verdict) error {
	g, err := p.toDecide(ctx, rt, v)
	if err != nil {
		return err
	}
	v, fault, err := p.approverOf(ctx, rt, v)
	if err != nil {
		return err
	}
	id, err := rt.Ledger.ID(ctx)
	if err != nil {
		return unreadable(err)
	}
	request := plan.Request{Address: "grant " + string(g.ID), Fields: g.RequestFields(), Digest: g.RequestDigest(id)}
	if _, err := p.statement(v, request.Digest); err != nil {
		return err
	}
	sign, done, err := p.signing(ctx, v, fault, " of "+v.approver)
	if err != nil {
		return err
	}
	defer done()
	keep := p.keep
	if !v.print {
		keep = func(v verdict, _ approval.Statement, content []byte) (string, error) {
			signed, err := approval.Split(content, "jit "+string(v.choice))
			if err == nil {
				err = rt.Broker.Decide(ctx, g, signed)
			}
			return fmt.Sprintf("%s of %s is recorded for grant %s.", nouns[v.choice], v.approver, g.ID), err
		}
	}
	agreed, err := p.decideOn(ctx, v, request, sign, keep)
	if err == nil && !agreed {
		err = undecided(1)
	}
	return err
}

var nouns = map[jit.Choice]string{
	jit.Approve: "The approval", jit.Deny: "The denial", jit.SignOff: "The sign-off",
}

// toDecide finds the grant with that id, which must wait for a decision.
func (p *program) toDecide(ctx context.Context, rt *config.Runtime, v verdict) (jit.Grant, error) {
	g, err := onlyWithPrefix(ctx, rt, v.id)
	if err != nil {
		return g, err
	}
	switch {
	case v.choice == jit.SignOff && !g.Unsigned():
		return g, notDone(jit.Errorf(jit.ErrDenied, "", "`jit list --unsigned` lists those that do",
			"grant %s needs no sign-off", g.ID))
	case v.choice != jit.SignOff && g.State(p.Now()) != jit.StateRequested:
		return g, notDone(jit.Errorf(jit.ErrDenied, "", "`jit list --state requested` lists those that do",
			"grant %s is %s and does not wait for approval", g.ID, g.State(p.Now())))
	}
	return g, nil
}

// approverOf fills in the name of the person who decides, as the ledger writes it. fault says why a key is not theirs.
func (p *program) approverOf(
	ctx context.Context, rt *config.Runtime, v verdict,
) (_ verdict, fault func(ssh.PublicKey) error, err error) {
	if v, err = p.complete(v); err != nil {
		return v, nil, err
	}
	persons, err := rt.Ledger.Persons(ctx)
	if err != nil {
		return v, nil, unreadable(err)
	}
	people, err := approval.NewPeople(persons)
	if err != nil {
		return v, nil, unreadable(fmt.Errorf("the persons of the ledger: %w", err))
	}
	person, known := people.Named(v.approver)
	if !known {
		return v, nil, jit.Errorf(jit.ErrUnknown, "--approver", "write the name of your jit_person",
			"the ledger has no person %q", v.approver)
	}
	v.approver = person.Name
	return v, func(key ssh.PublicKey) error {
		owner := people.Owner(key)
		switch owner {
		case person.Name:
			return nil
		case "":
			owner = "nobody"
		}
		return jit.Invalid("--key", "sign with one of the signing_keys of jit_person "+person.Name+
			", or first apply the change that adds this one", "the key %s belongs to %s, not to %s",
			ssh.FingerprintSHA256(key), owner, person.Name)
	}, nil
}

// shellWord returns a path as one word of a POSIX shell.
func shellWord(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !strings.ContainsRune("@%+=:,./-_", r) && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
