package notice

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
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

// sign returns the signature of a body, as https://www.standardwebhooks.com has it: HMAC-SHA256 over id, time and body. A secret that
// begins with whsec_ is base64, any other is taken as it is.
func sign(secret, id string, at time.Time, body []byte) string {
	key := []byte(secret)
	if coded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if decoded, err := base64.StdEncoding.DecodeString(coded); err == nil {
			key = decoded
		}
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, strconv.FormatInt(at.Unix(), 10))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// The bounds of Slack (https://docs.slack.dev/reference/block-kit/blocks/section-block).
const maxSlackText = 2900

type slackMessage struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// slack writes the notice for people.
func (n notice) slack() slackMessage {
	head := headline(n.event.Kind)
	lines := []string{"*" + head + "*"}
	add := func(label, value string) {
		if value != "" {
			lines = append(lines, label+": "+slackEscape(value))
		}
	}
	if g := n.grant; g != nil {
		add("Who", g.Principal)
		add("What", g.Role+" on "+g.Scope+", "+g.Target)
		add("Why", g.Reason)
		add("When", jit.FormatTime(g.Start)+" to "+jit.FormatTime(g.ActualEnd()))
	}
	add("Found", n.event.Detail["drift"])
	add("Error", n.event.Detail["error"])
	if n.event.Kind == jit.EventRevoked || n.event.Kind == jit.EventRevokeAsked {
		add("Revoked", n.event.Detail["reason"])
	}
	add("Policy", n.event.Policy)
	add("By", strings.TrimSpace(n.event.Name+" "+n.event.Change))
	text := strings.Join(lines, "\n")
	if len(text) > maxSlackText {
		text = strings.ToValidUTF8(text[:maxSlackText], "") + "…"
	}
	fallback := head
	if n.grant != nil {
		fallback += ": " + slackEscape(n.grant.Principal+", "+n.grant.Role+" on "+n.grant.Target)
	}
	return slackMessage{Text: fallback, Blocks: []slackBlock{{"section", slackText{"mrkdwn", text}}}}
}

// slackEscape keeps a text from being a mention, a link or a format
// (https://docs.slack.dev/messaging/formatting-message-text#escaping).
func slackEscape(s string) string {
	s = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
	// A character of no width keeps * _ ~ ` from beginning a format, and @ and # from being names.
	return strings.NewReplacer("*", "*\u200b", "_", "_\u200b", "~", "~\u200b", "`", "`\u200b", "@", "@\u200b").Replace(s)
}

var headlines = map[jit.EventKind]string{
	jit.EventGranted: "Access granted", jit.EventEndsSoon: "Access ends soon", jit.EventExpired: "Access ended", jit.EventRevoked: "Access revoked",
	jit.EventRevokeFailed: "Access could not be revoked", jit.EventDrift: "Access drifted", jit.EventRepaired: "Access repaired", jit.EventGrantFailed: "Access could not be granted",
	jit.EventExtended: "Access extended", jit.EventChanged: "Grant changed", jit.EventRequested: "Access requested", jit.EventDecided: "Policy decided",
	jit.EventRevokeAsked: "Revocation requested", jit.EventAdopted: "Grant taken over", jit.EventPolicyChanged: "Policy changed", jit.EventPolicyRemoved: "Policy removed",
	eventTest: "Test notice",
}

func headline(k jit.EventKind) string {
	if text, ok := headlines[k]; ok {
		return text
	}
	return string(k)
}
