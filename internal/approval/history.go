package approval

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// History is who the persons of a ledger were at each time, according to its events. Pass it all events in order, then
// ask. The zero History knows nobody.
type History struct {
	// byName has lower-case names.
	byName map[string][]version
	first  time.Time
}

// version is a person as they were for some time; a zero until means that they still are.
type version struct {
	person       jit.Person
	since, until time.Time
}

// Add takes in an event; only those about persons matter.
func (h *History) Add(e jit.Event) {
	if e.Kind != jit.EventPersonChanged && e.Kind != jit.EventPersonRemoved {
		return
	}
	if h.byName == nil {
		h.byName, h.first = map[string][]version{}, e.At
	}
	name := strings.ToLower(e.Person())
	versions := h.byName[name]
	if n := len(versions); n > 0 && versions[n-1].until.IsZero() {
		versions[n-1].until = e.At
	}
	if person, err := jit.PersonOf(e); err == nil && e.Kind == jit.EventPersonChanged {
		versions = append(versions, version{person: person, since: e.At})
	}
	h.byName[name] = versions
}

// firstRun is how long the first run on a ledger may take, which records persons and grants in any order.
const firstRun = time.Hour

// between returns who a person was from one time to another.
func (h *History) between(name string, from, to time.Time) (was []jit.Person) {
	if to.Before(h.first.Add(firstRun)) {
		to = h.first.Add(firstRun)
	}
	for _, v := range h.byName[strings.ToLower(name)] {
		if !v.since.After(to) && (v.until.IsZero() || !v.until.Before(from)) {
			was = append(was, v.person)
		}
	}
	return was
}

// Fault says why the event of a decision does not prove it; empty if it does, and for other events. g is the request as
// it was then, and digest its digest; empty if the record does not hold it.
func (h *History) Fault(e jit.Event, g jit.Grant, digest string) string {
	switch {
	case e.Detail["evidence"] == string(jit.PullRequest):
		return h.reviewFault(e, g, digest)
	case !decides(e.Kind):
		return ""
	}
	s, ok := FromEvent(e)
	if !ok {
		return "it holds no signed statement of its kind"
	}
	switch err := s.Check(); {
	case err != nil:
		return err.Error()
	case digest != "" && s.Digest != digest:
		return "the statement is about another request"
	case !jit.SameName(e.Detail["person"], s.Approver):
		return fmt.Sprintf("it names %q, and the statement is of %q", e.Detail["person"], s.Approver)
	}
	key, err := Verify(s.Text, s.Signature)
	if err != nil {
		return err.Error()
	}
	was := h.between(s.Approver, s.SignedAt, e.At)
	if !slices.ContainsFunc(was, func(p jit.Person) bool { return hasKey(p, key) }) {
		return fmt.Sprintf("the key %s did not belong to %s then", ssh.FingerprintSHA256(key), s.Approver)
	}
	return unfitThroughout(was, g)
}

// decides reports whether events of a kind record decisions of people.
func decides(k jit.EventKind) bool {
	return k == jit.EventApproved || k == jit.EventDenied || k == jit.EventSignedOff
}

// reviewFault is Fault for a review of a pull request, which cannot be checked offline any further.
func (h *History) reviewFault(e jit.Event, g jit.Grant, digest string) string {
	v, ok := ReviewFromEvent(e, e.Detail["request_digest"])
	switch {
	case !ok:
		return "it holds no review"
	case digest != "" && e.Detail["request_digest"] != digest:
		return "the review is about another request"
	}
	was := h.between(v.Person, v.At, e.At)
	account := func(p jit.Person) bool { return isAccount(p, e.Detail["forge"], e.Detail["login"]) }
	if !slices.ContainsFunc(was, account) {
		return fmt.Sprintf("the account %q was not that of %s then", e.Detail["login"], v.Person)
	}
	return unfitThroughout(was, g)
}

// isAccount reports whether a person has that login name on a forge.
func isAccount(p jit.Person, forge, login string) bool {
	own := map[string]string{GitHub: p.GitHub, GitLab: p.GitLab}[forge]
	return own != "" && strings.EqualFold(own, login)
}

// unfitThroughout says why nobody that the person was in that time could decide; empty if they could.
func unfitThroughout(was []jit.Person, g jit.Grant) (why string) {
	for _, p := range was {
		if why = (Ask{Principal: g.Principal, Requester: g.Requester}).excluded(p); why == "" {
			return ""
		}
		why = p.Name + " " + why
	}
	return why
}

func hasKey(p jit.Person, key ssh.PublicKey) bool {
	return slices.ContainsFunc(p.SigningKeys, func(line string) bool {
		own, err := ParseKey(line)
		return err == nil && string(own.Marshal()) == string(key.Marshal())
	})
}

// Trial checks the decisions on one grant again, from its events alone.
type Trial struct {
	History *History
	// Ledger is the id of the ledger.
	Ledger string
	// Faults says what is wrong, in the order of the events.
	Faults []string

	// approved are the lower-case names of those who approved, by the digest of the request.
	approved map[string]map[string]bool
}

// Add takes in the next event of the grant; account has taken it in already.
func (t *Trial) Add(e jit.Event, account *jit.Account) {
	if !decides(e.Kind) && e.Kind != jit.EventDecided {
		return
	}
	g, whole := account.Request()
	digest := ""
	if whole {
		digest = g.RequestDigest(t.Ledger)
	}
	if e.Kind == jit.EventDecided {
		t.checkApprovers(e, digest)
		return
	}
	if why := t.History.Fault(e, g, digest); why != "" {
		t.fault(e, why)
		return
	}
	if e.Kind == jit.EventApproved {
		if t.approved == nil {
			t.approved = map[string]map[string]bool{}
		}
		of := e.Detail["request_digest"] // a review may be recorded before the request
		if t.approved[of] == nil {
			t.approved[of] = map[string]bool{}
		}
		t.approved[of][strings.ToLower(e.Detail["person"])] = true
	}
}

func (t *Trial) fault(e jit.Event, why string) {
	who := e.Detail["person"]
	if who == "" {
		who = "nobody"
	}
	t.Faults = append(t.Faults, fmt.Sprintf("event %d, %s by %s, proves nothing: %s", e.Seq, e.Kind, who, why))
}

// checkApprovers checks that the people whom a decision names have approved, each once.
func (t *Trial) checkApprovers(e jit.Event, digest string) {
	names := e.Detail["approved_by"]
	if names == "" || digest == "" {
		return
	}
	seen := map[string]bool{}
	for name := range strings.SplitSeq(names, ", ") {
		key := strings.ToLower(name)
		switch {
		case seen[key]:
			t.Faults = append(t.Faults, fmt.Sprintf("event %d counts %s twice", e.Seq, name))
		case !t.approved[digest][key]:
			t.Faults = append(t.Faults, fmt.Sprintf("event %d says that %s approved, and no event proves it", e.Seq, name))
		}
		seen[key] = true
	}
}
