package approval

import (
	"fmt"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// Details returns the details of the event that records a statement: whatever it takes to check it again.
func (s Signed) Details() map[string]string {
	return map[string]string{
		"person": s.Approver, "evidence": string(jit.Signature), "request_digest": s.Digest,
		"text": string(s.Text), "signature": string(s.Signature), "source": s.Source,
	}
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
	return Signed{statement, text, []byte(e.Detail["signature"]), fmt.Sprintf("event %d", e.Seq), true}, true
}
