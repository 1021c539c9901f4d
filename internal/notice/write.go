package notice

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jitaccess/terraform-provider-jit/internal/jit"
)

// notice is one event with what a person has to know of its grant.
type notice struct {
	ledger string
	event  jit.Event
	// grant is nil where the event is about none, or about one that the ledger does not know.
	grant *jit.Grant
	// id names the notice for ever, so that a repeat can be told.
	id string
}

// facts are what a notice tells of a grant.
type facts struct {
	jit.Grant
	State jit.State `json:"state"`
}

// body writes the notice in a format, and its content type.
func (n notice) body(f Format, now time.Time) (body []byte, contentType string, err error) {
	if f == Slack {
		body, err = json.Marshal(n.slack())
		return body, "application/json", err
	}
	c := n.event.CloudEvent(n.ledger)
	data := struct {
		Event jit.Event `json:"event"`
		Grant *facts    `json:"grant,omitempty"`
	}{Event: n.event}
	if n.grant != nil {
		data.Grant = &facts{*n.grant, n.grant.State(now)}
	}
	c.ID, c.Data = n.id, data
	body, err = json.Marshal(c)
	return body, jit.CloudEventMIME, err
}

// sign returns the signature of a body: HMAC-SHA256 over id, time and body
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
