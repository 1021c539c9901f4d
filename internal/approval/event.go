package approval

import (
	"strconv"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Details returns the details of the event that records a statement: whatever it takes to check it again.
func (s Signed) Details() map[string]string {
	d := map[string]string{
		"person": s.Approver, "evidence": string(jit.Signature), "request_digest": s.Digest,
		"text": string(s.Text), "signature": string(s.Signature), "source": s.Source,
	}
	if s.Comment != "" {
		d["comment"] = s.Comment
	}
	return d
}

// The forges of a [Reviewed].
const (
	GitHub = "github"
	GitLab = "gitlab"
)

// Reviewed is a review of a pull request that counts as an approval. Only the forge could prove it.
type Reviewed struct {
	// Person approved, known to the forge by Login.
	Person, Login string
	// Forge is [GitHub] or [GitLab], and Host its server.
	Forge, Host, Repository string
	Number                  int
	// Commit is the head commit that was reviewed, and Review the identifier of the review.
	Commit, Review string
	At, NotAfter   time.Time
	Digest         string
}

// Details returns the details of the event that records a review.
func (r Reviewed) Details() map[string]string {
	return map[string]string{
		"person": r.Person, "evidence": string(jit.PullRequest), "request_digest": r.Digest, "forge": r.Forge,
		"host": r.Host, "login": r.Login, "repository": r.Repository, "number": strconv.Itoa(r.Number), "commit": r.Commit,
		"review": r.Review, "reviewed_at": jit.FormatTime(r.At), "not_after": jit.FormatTime(r.NotAfter),
	}
}

// ReviewFromEvent returns the vote that an event about a review records, on the request of that digest; ok is false if
// it records none.
func ReviewFromEvent(e jit.Event, digest string) (v jit.Vote, ok bool) {
	d := e.Detail
	at, errAt := time.Parse(time.RFC3339, d["reviewed_at"])
	notAfter, errAfter := time.Parse(time.RFC3339, d["not_after"])
	if e.Kind != jit.EventApproved || d["evidence"] != string(jit.PullRequest) || d["request_digest"] != digest ||
		errAt != nil || errAfter != nil {
		return v, false
	}
	return jit.Vote{
		Person: d["person"], Choice: jit.Approve, Evidence: jit.PullRequest, At: at, NotAfter: notAfter,
		Source: "event " + e.Place(),
	}, true
}

// kinds are the events that record a statement, by its choice.
var kinds = map[jit.Choice]jit.EventKind{
	jit.Approve: jit.EventApproved, jit.Deny: jit.EventDenied, jit.SignOff: jit.EventSignedOff,
}

// Kind returns the kind of the event that records the statement.
func (s Signed) Kind() jit.EventKind { return kinds[s.Choice] }

// FromEvent returns the statement that an event records; ok is false if it records none.
func FromEvent(e jit.Event) (s Signed, ok bool) {
	if e.Detail["signature"] == "" {
		return Signed{}, false
	}
	text := []byte(e.Detail["text"])
	statement, err := Parse(text)
	if err != nil || kinds[statement.Choice] != e.Kind {
		return Signed{}, false
	}
	return Signed{statement, text, []byte(e.Detail["signature"]), "event " + e.Place(), true}, true
}
