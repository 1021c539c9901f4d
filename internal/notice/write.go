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

// notice is an event with its grant.
type notice struct {
	ledger string
	event  jit.Event
	// grant is nil if the event has none or the ledger does not know it.
	grant *jit.Grant
	// id is the same for every try, so that a receiver can detect repeats.
	id string
}

// facts are the grant of a notice and its state.
type facts struct {
	jit.Grant
	State jit.State `json:"state"`
}

// body returns the notice in a format, and its content type.
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
