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
	// grant is the grant when the notice is sent; nil if the event has none or the ledger does not know it.
	grant *jit.View
	// id is the same for every try, so that a receiver can detect repeats.
	id string
}

// body returns the notice in a format, and its content type.
func (n notice) body(f Format) (body []byte, contentType string, err error) {
	if f == Slack {
		body, err = json.Marshal(n.slack())
		return body, "application/json", err
	}
	c := n.event.CloudEvent(n.ledger)
	c.ID, c.Data = n.id, struct {
		Event jit.Event `json:"event"`
		Grant *jit.View `json:"grant,omitempty"`
	}{n.event, n.grant}
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
