package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// vote is a decision that an event proves.
type vote struct {
	jit.Vote
	digest string
	// recorded is when it was recorded.
	recorded time.Time
	// still reports whether its proof, a key or an account, belongs to the person as they are.
	still func(jit.Person) bool
}

// prove checks the event of a decision. g is the request as it was then, and digest its digest; empty if the record does
// not hold it. why says why the event proves nothing.
func (h *History) prove(e jit.Event, g jit.Grant, digest string) (v vote, why string) {
	read := proveSignature
	if e.Detail["evidence"] == string(jit.PullRequest) {
		read = proveReview
	}
	if v, why = read(e, digest); why != "" {
		return v, why
	}
	if first, ok := h.decided[v.digest]; ok && first.Grant != e.Grant {
		return v, "the decision was recorded for grant " + string(first.Grant) + " before"
	}
	was := h.between(v.Person, upTo(e, v.At, e.At), e.Detail[jit.RunDetail])
	if !slices.ContainsFunc(was, v.still) {
		return v, v.notTheirs(e)
	}
	if v.Choice == jit.Deny { // whoever it is about may say no
		return v, ""
	}
	return v, Ask{Principal: g.Principal, Role: g.Role, Requester: g.Requester}.unfitThroughout(was)
}

// notTheirs says that a proof did not belong to its person.
func (v vote) notTheirs(e jit.Event) string {
	if v.Evidence == jit.PullRequest {
		return fmt.Sprintf("the account %q was not that of %s then", e.Detail["login"], v.Person)
	}
	key, _ := Verify([]byte(e.Detail["text"]), []byte(e.Detail["signature"])) // which proveSignature has checked
	return fmt.Sprintf("the key %s did not belong to %s then", ssh.FingerprintSHA256(key), v.Person)
}

// proveSignature checks the signature of a recorded statement. A denial may be about what the run that met it asked for,
// which is not recorded.
func proveSignature(e jit.Event, digest string) (v vote, why string) {
	s, ok := FromEvent(e)
	if !ok {
		return v, "it holds no signed statement of its kind"
	}
	switch err := s.Check(); {
	case err != nil:
		return v, err.Error()
	case s.Digest != e.Detail["request_digest"],
		digest != "" && s.Digest != digest && s.Choice != jit.Deny:
		return v, "the statement is about another request"
	case !jit.SameName(e.Detail["person"], s.Approver):
		return v, fmt.Sprintf("it names %q, and the statement is of %q", e.Detail["person"], s.Approver)
	case s.Choice == jit.Approve && e.At.After(s.NotAfter.Add(race)):
		return v, "the approval was valid until " + jit.FormatTime(s.NotAfter) + " and recorded later"
	}
	key, err := Verify(s.Text, s.Signature)
	if err != nil {
		return v, err.Error()
	}
	return vote{
		Vote:   jit.Vote{Person: s.Approver, Choice: s.Choice, Evidence: jit.Signature, At: s.SignedAt, NotAfter: s.NotAfter},
		digest: s.Digest, recorded: e.At,
		still: func(p jit.Person) bool { return hasKey(p, key) },
	}, ""
}

// proveReview reads a review of a pull request, which cannot be checked offline. It is recorded before its request.
func proveReview(e jit.Event, _ string) (v vote, why string) {
	digest := e.Detail["request_digest"]
	review, ok := ReviewFromEvent(e, digest)
	if !ok {
		return v, "it holds no review"
	}
	return vote{review, digest, e.At,
		func(p jit.Person) bool { return isAccount(p, e.Detail["forge"], e.Detail["login"]) }}, ""
}

// isAccount reports whether a person has that login name on a forge.
func isAccount(p jit.Person, forge, login string) bool {
	own := map[string]string{GitHub: p.GitHub, GitLab: p.GitLab}[forge]
	return own != "" && strings.EqualFold(own, login)
}

func hasKey(p jit.Person, key ssh.PublicKey) bool {
	return slices.ContainsFunc(p.SigningKeys, func(line string) bool {
		own, err := ParseKey(line)
		return err == nil && string(own.Marshal()) == string(key.Marshal())
	})
}

// unfitThroughout says why nobody that the person was could decide; empty if they could.
func (a Ask) unfitThroughout(was []jit.Person) (why string) {
	for _, p := range was {
		if why = a.excluded(p); why == "" {
			return ""
		}
		why = p.Name + " " + why
	}
	return why
}
